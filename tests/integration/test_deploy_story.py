"""The main story on real hosts: deploy, deploy under load, rollback, a broken version; two destinations."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.conftest import Control, program
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

MOST_EXECS = 6


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def test_deploy_rollback_and_a_broken_version_under_load(project: Project) -> None:
    project.deploy("v1")
    assert project.settled("v1")
    project.image("v2")
    project.image("v3", "unhealthy")
    with project.traffic() as traffic:
        done = project.result(project.send("v2", "--json"))
        assert max(done["execs"].values()) <= MOST_EXECS, done
        assert done["version"] == "v2"
        traffic.seen(20)
        assert project.settled("v2")

        done = project.result(project.rollback("--json"))
        assert max(done["execs"].values()) <= MOST_EXECS, done
        assert done["version"] == "v1"
        traffic.seen(20)
        assert project.settled("v1")

        before = project.state()
        with project.impatient():
            failed = squeezed(project.send("v3", expect=1))
        assert "web-1" in failed and "answered 503" in failed
        project.same_as(before)
        traffic.seen(20)
    report = traffic.load.report()
    assert set(report.versions) == {"v1", "v2"}
    assert traffic.streams >= 2
    assert report.messages > 0


STATE = "/var/lib/freehold"


def lay_out_destinations(project: Project) -> None:
    """What both have in common stands in the base, and nothing else: no hosts, no name of a site."""
    project.config |= {"servers": {"web": {}}, "require_destination": True, "retain_containers": 1}
    project.config["env"] = {"clear": {"GREETING": "hello", "COMMON": "base"}, "secret": ["TOKEN", "SHARED"]}
    del project.config["proxy"]["host"]
    project.save()
    secrets = project.directory / ".freehold"
    # Of no use to a destination: it must not come through.
    (secrets / "secrets").write_text("TOKEN=plain\nSHARED=plain\n")
    (secrets / "secrets-common").write_text("TOKEN=common\nSHARED=for-both\n")
    for name in ("staging", "production"):
        over = {
            "servers": {"web": {"hosts": ["web-1"]}},
            "proxy": {"host": f"{name}.test"},
            "env": {"clear": {"GREETING": name}},
        }
        (project.directory / "config" / f"deploy.{name}.yml").write_text(yaml.safe_dump(over))
        (secrets / f"secrets.{name}").write_text(f"TOKEN=of-{name}\n")


def test_two_destinations_of_one_service_on_one_host(project: Project) -> None:
    host = project.hosts[0]
    lay_out_destinations(project)
    assert "a destination is required" in squeezed(project.send("v1", expect=2))
    for version in ("v1", "v2", "v3"):
        project.image(version, "ok", host)

    # While the one is being deployed, the other one can be, and itself cannot.
    hook = project.directory / ".freehold" / "hooks" / "pre-deploy"
    hook.parent.mkdir()
    command = f"'{program('freehold')}'"
    hook.write_text(f"""#!/bin/sh
[ "$KAMAL_DESTINATION" = staging ] || exit 0
{command} deploy --skip-push --version v1 -d production >production 2>&1 || exit 8
{command} lock status -d production --json >free
{command} lock status -d staging --json >held
{command} lock acquire -m again -d staging >again 2>&1 && exit 9
exit 0
""")
    hook.chmod(0o755)
    project.send("v1", "-d", "staging")
    hook.unlink()
    free, held = (json.loads((project.directory / name).read_text()) for name in ("free", "held"))
    assert free == [] and [(lock["kind"], lock["why"]) for lock in held] == [("running", "deploy v1")]
    assert "locked already" in (project.directory / "again").read_text()

    assert set(project.containers(host)) == {"shop-web-staging-v1", "shop-web-production-v1"}
    targets = host.exec(f"cd {STATE}/proxy/targets; cat shop-web-staging shop-web-production").stdout.split()
    assert len(set(targets)) == 2
    for name in ("staging", "production"):
        told = project.ask(host, "/environment", f"{name}.test").json()
        seen = [told[key] for key in ("GREETING", "COMMON", "TOKEN", "SHARED", "KAMAL_DESTINATION")]
        assert seen == [name, "base", f"of-{name}", "for-both", name]
        assert project.ask(host, name=f"{name}.test").text.strip() == "v1"

    def untouched() -> str:
        """All that there is of the other destination."""
        return host.exec(
            f"cd {STATE}; docker ps --all --no-trunc --format '{{{{.ID}}}} {{{{.Names}}}}' "
            "--filter label=destination=production; cat proxy/targets/shop-web-production "
            "apps/shop-production/history; find apps/shop-production/versions -type f -exec cksum {} +"
        ).stdout

    before = untouched()
    assert "shop-web-production-v1" in before
    for version in ("v2", "v3"):
        project.send(version, "-d", "staging")
    # The oldest one of staging has gone; its image has not, as production has it.
    assert set(project.containers(host)) == {
        *(f"shop-web-staging-{version}" for version in ("v2", "v3")),
        "shop-web-production-v1",
    }
    project.rollback("-d", "staging")
    assert project.ask(host, name="staging.test").text.strip() == "v2"
    rows = json.loads(project.freehold("app", "containers", "-d", "production", "--json").stdout)
    assert [row["name"] for row in rows] == ["shop-web-production-v1"]
    assert untouched() == before
    project.freehold("app", "remove", "-y", "-d", "staging")
    assert untouched() == before
    assert project.ask(host, name="production.test").text.strip() == "v1"
    assert project.ask(host, name="staging.test").status == 404
    project.freehold("app", "stop", "-d", "production")
    project.freehold("app", "start", "-d", "production")
    assert project.ask(host, name="production.test").text.strip() == "v1"
