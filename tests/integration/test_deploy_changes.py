"""What may change between two deploys, and what has to outlast them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.integration.app.tls import self_signed
from tests.rig import Host, Rig


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.deploy("v1")
    return made


def test_routes_follow_the_configuration_and_the_rollback(project: Project) -> None:
    first = project.hosts[0]

    def seen(path: str, name: str) -> str:
        answer = project.ask(first, path, name)
        return answer.text.strip() if answer.status == 200 else str(answer.status)

    # Other routes mean that Caddy reloads, there and back, which ends connections that are kept open but
    # idle, as HTTP allows.
    with project.traffic(reloads=2 * len(project.hosts), websocket=False, fresh_every=1):
        assert seen("/version", "other.test") == "404"
        project.config["proxy"] |= {"host": "shop.test,other.test"}
        project.save()
        project.deploy("v2")
        assert seen("/version", "other.test") == seen("/version", "shop.test") == "v2"
        assert project.environment(first)["APP_VERSION"] == "v2"

        project.rollback("v1")
        assert seen("/version", "shop.test") == "v1"
        assert seen("/version", "other.test") == "404"
    project.config["proxy"] |= {"host": "shop.test", "path_prefix": "/shop", "redirect_from": "www.shop.test"}
    project.config["proxy"] |= {"forward_headers": False}
    project.save()
    project.deploy("v3")
    led = project.ask(first, "/a?b=c", "www.shop.test", method="POST", body=b"x")
    assert (led.status, led.headers["location"]) == (308, "//shop.test/a?b=c")
    assert seen("/shop/version", "shop.test") == "v3"
    assert seen("/version", "shop.test") == "404"
    headers = project.ask(first, "/shop/request", headers={"X-Forwarded-For": "203.0.113.9"}).json()[
        "headers"
    ]
    assert "203.0.113.9" not in headers["x-forwarded-for"]
    assert headers["x-forwarded-prefix"] == "/shop"
    assert headers["x-forwarded-host"] == "shop.test"
    del project.config["proxy"]["path_prefix"]
    project.config["proxy"] |= {"path_prefixes": ["/version", "/request"], "strip_path_prefix": False}
    project.save()
    project.deploy("v4")
    assert (seen("/version", "shop.test"), seen("/environment", "shop.test")) == ("v4", "404")
    assert project.ask(first, "/request").json()["path"] == "/request"


def test_a_name_that_another_service_has_claimed(project: Project) -> None:
    """A rollback does not take it back, and a third service does not change how it has HTTPS."""
    first = project.hosts[0]
    project.config["proxy"]["host"] = "moved.test"
    project.save()
    project.deploy("v2")

    def other(service: str, **proxy: Any) -> Project:
        directory = project.directory / service
        directory.mkdir()
        made = Project(project.rig, project.hosts, directory)
        made.config |= {"service": service, "servers": {"web": {"hosts": ["web-1"]}}}
        made.config["proxy"] |= proxy
        pair = self_signed("shop.test")
        made.secrets |= {"CERT": pair[0], "PRIVATE": pair[1]}
        made.save()
        return made

    other("blog").deploy("v1")
    before = project.state()
    refused = squeezed(project.rollback(expect=1))
    assert "web-1: nobody else has its routes: blog-web serves shop.test on this host already" in refused
    assert "another proxy.host or path_prefix" in refused
    own = {"certificate_pem": "CERT", "private_key_pem": "PRIVATE"}
    refused = squeezed(other("docs", path_prefix="/docs", ssl=own).deploy("v1", expect=1))
    assert (
        "web-1:" in refused and "proxy.ssl: blog-web serves shop.test on this host by HTTP alone" in refused
    )
    assert "leave ssl out of the one" in refused
    other("wiki", path_prefix="/wiki").deploy("v1")
    assert project.ask(first, "/wiki/version").text == project.ask(first, "/version").text
    assert project.ask(first, "/version", "moved.test").text.strip() == "v2"
    wiki = "routes/shop.test/wiki-web.caddy", "targets/wiki-web"
    after = project.state()["web-1"].splitlines()
    assert [line for line in after if not line.startswith(wiki)] == before["web-1"].splitlines() + [
        line for line in after if "rollback to v1 failed" in line
    ]


def test_a_rollback_restores_environment_and_secrets(project: Project) -> None:
    key = "-----BEGIN KEY-----\nab$c'd\n-----END KEY-----"
    project.config["env"] = {"clear": {"GREETING": "it's $HOME #1"}, "secret": ["TOKEN", "KEY"]}
    (project.directory / ".freehold" / "secrets").write_text(
        f'TOKEN=new\nKEY="{key.replace("$", chr(92) + "$")}"\n'
    )
    (project.directory / "config" / "deploy.yml").write_text(dumped(project.config))
    project.deploy("v2", "-v")
    for host in project.hosts:
        found = project.environment(host)
        assert found["TOKEN"] == "new" and found["GREETING"] == "it's $HOME #1"
        assert found["KEY"] == key
        assert found["KAMAL_VERSION"] == "v2" and found["KAMAL_HOST"] == host.name
        listed = host.exec("find /var/lib/freehold/apps -name '*.env*' -not -perm 600").stdout
        assert listed == ""
    project.rollback()
    for host in project.hosts:
        found = project.environment(host)
        assert found["TOKEN"] == "s3cret-of-the-test" and found["GREETING"] == "hello"
        assert "KEY" not in found


def test_a_host_fills_in_its_variables_and_leaves_out_what_has_no_value(project: Project) -> None:
    clear = {
        "NAMED": "on ${HOSTNAME} for $USER",
        "NOTHING": None,
        "LANG": "",
        "GREETING": "it's\n${HOSTNAME}",
    }
    project.config["env"]["clear"] = clear
    project.config["labels"] = {"machine": "${HOSTNAME}"}
    project.config["volumes"] = ["${HOME}/kept:/kept:ro"]
    project.save()
    project.deploy("v2")
    shown = (
        "docker inspect --format '{{.Config.Labels.machine}} {{range .Mounts}}{{.Source}}{{end}}' shop-web-v2"
    )
    for host in project.hosts:
        found = project.environment(host)
        assert found["NAMED"] == f"on {host.name} for $USER"
        assert found["GREETING"] == f"it's\n{host.name}"
        assert not {"NOTHING", "LANG"} & set(found)
        home = host.exec("getent passwd deploy | cut -d: -f6").stdout.strip()
        assert host.exec(shown).stdout.strip() == f"{host.name} {home}/kept"
    assert "nothing" in project.freehold("diff").stdout
    line = 'echo "$NAMED ${LANG-none}"; [ -d /kept ] && echo kept'
    said = project.freehold(
        "app", "exec", "-p", "--raw", "-e", "LATE:${HOSTNAME}", f"{line}; echo $LATE"
    ).stdout
    assert said.splitlines() == ["on web-1 for $USER none", "kept", "${HOSTNAME}"]


def dumped(config: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False)


def test_the_same_version_again(project: Project) -> None:
    project.config["env"]["clear"]["GREETING"] = "changed"
    project.save()
    with project.traffic(websocket=False) as traffic:
        project.send("v1")
        traffic.seen(10)
    assert project.settled("v1")
    for host in project.hosts:
        assert list(project.containers(host)) == ["shop-web-v1"]
        assert project.environment(host)["GREETING"] == "changed"
    # And when it fails, the one that served has its name again, with its routes and environment.
    before = project.state()
    project.config["env"]["clear"]["GREETING"] = "changed again"
    project.config["proxy"] |= {"host": "shop.test,other.test"}
    project.config["proxy"]["healthcheck"] |= {"path": "/nowhere", "max_attempts": 3}
    project.save()
    project.send("v1", expect=1)
    project.same_as(before)
    assert project.settled("v1")
    assert project.ask(project.hosts[0], name="other.test").status == 404


def test_a_second_service_beside_the_first(project: Project, rig: Rig, tmp_path_factory: Any) -> None:
    other = Project(rig, project.hosts, tmp_path_factory.mktemp("blog"))
    other.config |= {"service": "blog", "image": "freehold/blog"}
    other.save()
    # It would have the first one's name, and visitors would see whichever comes first by the alphabet.
    before = project.state()
    said = squeezed(other.deploy("b0", expect=1))
    assert "shop-web serves shop.test on this host already" in said and "another proxy.host" in said, said
    project.same_as(before)
    assert other.containers(project.hosts[0]) == {}
    other.config["proxy"]["host"] = "blog.test"
    other.save()
    # The first deploy and the removal have the proxies load other routes.
    with project.traffic(reloads=2 * len(project.hosts), websocket=False, fresh_every=1) as traffic:
        other.deploy("b1")
        assert other.ask(project.hosts[1], name="blog.test").text.strip() == "b1"
        other.deploy("b2")
        other.rollback()
        assert other.ask(project.hosts[1], name="blog.test").text.strip() == "b1"
        traffic.seen(10)
        other.freehold("app", "remove", "-y")
        traffic.seen(10)
    for host in project.hosts:
        assert other.containers(host) == {}
        assert project.ask(host, name="blog.test").status == 404
    assert project.settled("v1")


def test_old_versions_are_kept_and_pruned(project: Project) -> None:
    project.config["retain_containers"] = 2
    project.save()
    project.image("sick", "crash")
    for version in ("v2", "v3", "v4"):
        project.deploy(version)
    project.send("sick", expect=1)
    for host in project.hosts:
        assert set(project.containers(host)) == {"shop-web-v2", "shop-web-v3", "shop-web-v4"}
        listed = host.exec("docker images freehold/shop --format '{{.Tag}}'").stdout.split()
        assert set(listed) >= {"v2", "v3", "v4"} and "v1" not in listed
    project.rollback("v2")
    assert project.settled("v2")
    refused = squeezed(project.rollback("v1", expect=2))
    assert "kept there: v2, v3, v4" in refused, refused


def test_workers_and_web_in_one_service(project: Project) -> None:
    project.config["servers"]["jobs"] = {
        "hosts": ["web-2"],
        "cmd": images.worker('"working"'),
    }
    project.save()
    project.deploy("v2")
    first, second = project.hosts
    assert set(project.containers(first, everything=False)) == {"shop-web-v2"}
    assert set(project.containers(second, everything=False)) == {"shop-web-v2", "shop-jobs-v2"}
    project.config["servers"]["jobs"]["cmd"] = "python3 -c 'raise SystemExit(4)'"
    project.save()
    failed = squeezed(project.deploy("v3", expect=1))
    assert "web-2" in failed and "exit code 4" in failed, failed
    assert set(project.containers(second, everything=False)) == {"shop-web-v2", "shop-jobs-v2"}
    assert project.serving() == ("v2", "v2")
    logs = project.freehold("app", "logs", "-r", "jobs", "-T").stdout
    assert "working" in logs


def test_a_role_that_is_deployed_alone_has_a_version_of_its_own(project: Project) -> None:
    """Also when a later deploy of all goes back, and for every command that asks what serves."""
    second = project.hosts[1]
    project.config["servers"]["jobs"] = {"hosts": ["web-2"], "cmd": images.worker('"working"')}
    project.save()
    project.deploy("v2")
    project.image("v4", "unhealthy")
    running = {"shop-web-v2", "shop-jobs-v3"}
    with project.traffic() as traffic:
        project.deploy("v3", "-r", "jobs")
        assert set(project.containers(second, everything=False)) == running
        versions = json.loads(project.freehold("app", "version", "-h", "web-2", "--json").stdout)
        assert [(row["role"], row["version"]) for row in versions] == [("web", "v2"), ("jobs", "v3")]
        before = project.state()
        with project.impatient():
            project.send("v4", expect=1)
        project.same_as(before)
        traffic.seen(10)
        assert json.loads(project.freehold("app", "stale_containers", "--json").stdout) == []
        for role, version in (("web", "v2"), ("jobs", "v3")):
            done = project.freehold("app", "exec", "-h", "web-2", "-r", role, "--", "echo $KAMAL_VERSION")
            assert version in done.stdout
        project.rollback("-r", "jobs")
        assert set(project.containers(second, everything=False)) == {"shop-web-v2", "shop-jobs-v2"}
        project.rollback("v3", "-r", "jobs")
        traffic.seen(10)
    project.freehold("app", "stop", "-h", "web-2")
    project.freehold("app", "start", "-h", "web-2")
    assert set(project.containers(second, everything=False)) == running
    refused = squeezed(project.freehold("app", "boot", expect=2))
    assert "the roles are at different versions: web at v2, jobs at v3" in refused, refused
    assert project.serving() == ("v2", "v2")


def test_everything_comes_back_after_a_power_cut_and_a_reboot(project: Project) -> None:
    first, second = project.hosts
    targets = "cat /var/lib/freehold/proxy/targets/shop-web"
    before = [host.exec(targets).stdout for host in project.hosts]
    first.kill()
    first.start()
    second.reboot()
    project.until(lambda: project.answered() == ("v1", "v1"), "both hosts after the reboot")
    assert [host.exec(targets).stdout for host in project.hosts] == before
    project.deploy("v2")
    assert project.settled("v2")


def test_looking_inside(project: Project) -> None:
    first = project.hosts[0]
    for _ in range(3):
        project.ask(first, "/version")
    logs = project.freehold("app", "logs", "-n", "50").stdout
    assert "shop v1 starts" in logs and "web-2" in logs
    grep = project.freehold("app", "logs", "--grep", "starts", "-h", "web-1").stdout
    assert grep.count("\n") == 1 and "shop v1 starts" in grep
    details = project.freehold("app", "details", "--json").stdout
    assert details.count('"shop-web-v1"') == 2
    assert project.freehold("app", "version", "--json").stdout.count("v1") == 2
    done = project.freehold("app", "exec", "--reuse", "-h", "web-1", "--", "cat", "/etc/hostname")
    assert done.stdout.strip()
    done = project.freehold("app", "exec", "-h", "web-2", "--", "echo $KAMAL_VERSION $TOKEN")
    assert "v1 s3cret-of-the-test" in done.stdout
    audit = project.freehold("audit").stdout
    assert "deployed v1" in audit and "root@" in audit
