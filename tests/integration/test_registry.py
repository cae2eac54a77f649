"""Images built by the real command and brought to the hosts through a real registry that wants a password."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.commands.registry import Access
from deployer.images.push import logged_in
from freehold.secret import Secret
from tests.conftest import Control, program, required
from tests.integration.app.project import Project, basic, shown, squeezed
from tests.integration.app.registry import PASSWORD, USER, Registry
from tests.rig import Host, Rig

DOCKERFILE = """FROM {server}/base/app:1
ARG NAME
ENV APP_VERSION=$NAME APP_MODE=ok
"""


WITH_MOUNTS = """FROM {server}/base/app:1 AS run
ARG NAME
ENV APP_VERSION=$NAME APP_MODE=ok
RUN --mount=type=secret,id=NPM --mount=type=ssh python3 -c 'import hashlib, os, stat; \\
    found = hashlib.sha256(open("/run/secrets/NPM", "rb").read()).hexdigest(); \\
    assert found == "{digest}", found; \\
    assert stat.S_ISSOCK(os.stat(os.environ["SSH_AUTH_SOCK"]).st_mode)'
FROM run AS never
RUN python3 -c 'raise SystemExit(1)'
"""
DEBIAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


@contextmanager
def nothing_in_argv(*words: str) -> Iterator[None]:
    """No process of this machine, and so none of the hosts', shows one of the words in its argv."""
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                seen.extend(text for word in words if word in text)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert seen == []


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control, registry: Registry) -> Project:
    config: dict[str, Any] = basic() | {
        "image": "own/shop",
        "registry": {"server": registry.server, "username": USER, "password": ["REGISTRY_PASSWORD"]},
        "builder": {"context": ".", "args": {"NAME": "r1"}},
    }
    secrets = {"TOKEN": "s3cret-of-the-test", "REGISTRY_PASSWORD": PASSWORD}
    project = Project(rig, hosts, control.directory, config, secrets)
    (project.directory / "Dockerfile").write_text(DOCKERFILE.format(server=registry.server))
    return project


def credentials(project: Project) -> list[str]:
    """Files on operator's and hosts' side that hold a login."""
    look = "find /home /root /tmp -name config.json -exec grep -l '\"auth\":' {} + 2>/dev/null; true"
    found = [f"{host.name}:{line}" for host in project.hosts for line in host.exec(look).stdout.split()]
    own = project.rig.home / ".docker" / "config.json"
    return found + (["operator"] if own.exists() and '"auth"' in own.read_text() else [])


def test_through_a_registry(project: Project, registry: Registry) -> None:
    hook = project.directory / ".freehold" / "hooks" / "pre-build"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\necho $KAMAL_COMMAND $KAMAL_SUBCOMMAND >>built\n")
    hook.chmod(0o755)
    # Another name and place than the usual one; its context is the project still.
    (project.directory / "docker").mkdir()
    (project.directory / "Dockerfile").rename(project.directory / "docker" / "Shop")
    project.config["builder"]["dockerfile"] = "docker/Shop"
    project.save()
    with nothing_in_argv(PASSWORD, project.secrets["TOKEN"]):
        done = project.freehold("build", "push", "--version", "r1", "--json", timeout=300)
        assert project.result(done)["result"] == "pushed"
        assert registry.tags("own/shop") == {"r1", "latest", "foreign"}
        done = project.freehold("deploy", "--version", "r1", "-v", timeout=300)
    assert project.settled("r1")
    assert f"Pulling {registry.server}" in shown(done) and f"Sending {registry.server}" not in shown(done)
    assert PASSWORD not in shown(done)
    assert (project.directory / "built").read_text() == "build push\ndeploy\n"
    assert credentials(project) == []

    done = project.freehold("deploy", "--version", "r2", "--dry-run")
    assert f"pull    {registry.server}/own/shop:r2" in shown(done) and "docker pull --quiet" in shown(done)
    assert f"docker push {registry.server}/own/shop:latest" in squeezed(done)
    assert "[secret REGISTRY_PASSWORD]" in shown(done) and PASSWORD not in shown(done)

    # Kamal's `deploy --skip-push` pulls; and what cannot be pulled changes nothing.
    project.send("r1")
    before = project.state()
    text = squeezed(project.send("never", expect=1))
    assert "manifest unknown" in text and "freehold build push" in text
    text = squeezed(project.send("foreign", expect=1))
    assert "has no label service=shop" in text
    project.secrets["REGISTRY_PASSWORD"] = "something-else"
    project.save()
    done = project.freehold("deploy", "--version", "r2", expect=1)
    assert "unauthorized" in squeezed(done).lower() and "registry.password" in squeezed(done)
    assert "something-else" not in shown(done)
    del project.secrets["REGISTRY_PASSWORD"]
    project.save()
    text = squeezed(project.freehold("deploy", "--version", "r2", expect=2))
    assert "REGISTRY_PASSWORD" in text and "config/deploy.yml registry" in text
    assert project.serving() == ("r1", "r1")
    project.same_as(before)

    # Without credentials at hand the image travels over SSH, for the processors that the hosts have.
    project.config["builder"] |= {"args": {"NAME": "r3"}, "arch": ["amd64", "arm64"]}
    project.save()
    done = project.freehold("deploy", "--version", "r3", "--no-registry", timeout=300)
    assert f"Sending {registry.server}" in shown(done) and project.settled("r3")
    assert "r3" not in registry.tags("own/shop")
    project.secrets["REGISTRY_PASSWORD"] = PASSWORD
    project.save()
    # An accessory comes by the login of its own registry, of which nothing stays on the host.
    own = project.config["registry"] | {"password": ["OTHER"]}
    side = {"image": "base/app:1", "registry": own, "host": "web-1", "cmd": "sleep 600"}
    project.config["accessories"] = {"side": side}
    project.secrets |= {"OTHER": PASSWORD, "REGISTRY_PASSWORD": "unused"}
    project.save()
    with nothing_in_argv(PASSWORD):
        project.freehold("accessory", "boot", "side")
    look = "docker inspect --format '{{.Config.Image}} {{.State.Status}}' shop-side"
    assert project.hosts[0].exec(look).stdout == f"{registry.server}/base/app:1 running\n"
    assert credentials(project) == []
    project.secrets["REGISTRY_PASSWORD"] = PASSWORD
    project.save()

    project.freehold("registry", "login", "--skip-local")
    assert {entry.partition(":")[0] for entry in credentials(project)} == {"web-1", "web-2"}
    project.freehold("registry", "logout")
    project.freehold("registry", "login", "--skip-remote")
    assert credentials(project) == ["operator"]
    # Kamal's `setup` and `remove` are the same with a registry that somebody else runs.
    project.freehold("registry", "setup", "--skip-local")
    assert {entry.partition(":")[0] for entry in credentials(project)} == {"operator", "web-1", "web-2"}
    project.freehold("registry", "logout", "--skip-local")
    assert credentials(project) == ["operator"]
    project.freehold("registry", "setup", "--skip-local")
    project.freehold("registry", "remove", "--skip-remote")
    assert {entry.partition(":")[0] for entry in credentials(project)} == {"web-1", "web-2"}
    project.freehold("registry", "remove")
    assert credentials(project) == []


HELPER = """\
#!/bin/sh
read -r server
case "$1 $server" in
    "get 127.0.0.1:5001") echo '{{"Username": "{user}", "Secret": "{password}"}}' ;;
    *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"""


def test_a_store_of_credentials_is_asked_for_the_other_registries(rig: Rig, tmp_path: Path) -> None:
    """One registry under two names: the client's store knows the one, and the login is for the other."""
    helper = tmp_path / "bin" / "docker-credential-test"
    (tmp_path / ".docker").mkdir()
    helper.parent.mkdir()
    helper.write_text(HELPER.format(user=USER, password=PASSWORD))
    helper.chmod(0o755)
    (tmp_path / ".docker" / "config.json").write_text('{"credsStore": "test"}')
    environ = {**DEBIAN, "HOME": str(tmp_path)}
    environ["PATH"] = f"{helper.parent}:{environ['PATH']}"
    login = Access("localhost:5001", Secret(USER), Secret(PASSWORD))
    with Registry(rig, tmp_path, "127.0.0.1:5001").running(), logged_in(login, environ) as env:
        for server in ("127.0.0.1:5001", "localhost:5001"):
            # The first asks as `docker pull` and `push` do, the second as a build does; both need no engine.
            for argv, let_in in (
                (("docker", "manifest", "inspect", "--insecure"), "no such manifest"),
                ((program("docker-buildx"), "imagetools", "inspect"), "not found"),
            ):
                done = rig.control_run((*argv, f"{server}/base/app:1"), env={**environ, **env}, check=False)
                assert let_in in shown(done), (server, shown(done))
        known = rig.control_run(
            ("podman", "login", "--get-login", "localhost:5001"), env={**environ, **env}
        ).stdout
        assert known.strip() == USER


def test_a_remote_builder_and_the_other_ways_of_building(project: Project, registry: Registry) -> None:
    first, second = project.hosts
    project.config["builder"] |= {"remote": "ssh://web-1", "local": False, "args": {"NAME": "far"}}
    project.save()
    details = project.result(project.freehold("build", "details", "--json"))
    assert details["where"] == "ssh://web-1" and details["way"] == "registry"
    assert "builds by itself" in squeezed(project.freehold("build", "create"))
    assert "nothing to remove" in squeezed(project.freehold("build", "remove"))
    project.freehold("deploy", "--version", "far", timeout=300)
    assert project.settled("far") and "far" in registry.tags("own/shop")
    assert "far" in first.exec(f"docker images {registry.server}/own/shop --format '{{{{.Tag}}}}'").stdout
    # From the remote engine over SSH to the hosts: the second has to be sent the new layers.
    project.config["builder"]["args"]["NAME"] = "sent"
    project.save()
    look = f"docker images --quiet {registry.server}/own/shop:sent"
    assert second.exec(look).stdout == ""
    project.freehold("build", "deliver", "--version", "sent", "--no-registry", timeout=300)
    assert second.exec(look).stdout != ""
    project.freehold("build", "pull", "--version", "sent", "--no-registry")
    project.send("sent", "--no-registry")
    assert project.settled("sent")
    # An image that has not changed: nothing travels, and the hosts know it by its new name.
    for words in (("deliver", "--version", "same"), ("pull", "--version", "same")):
        done = project.freehold("build", *words, "--no-registry", timeout=300)
        assert "every host has" in shown(done)
        project.hosts[1].exec(f"docker image rm {registry.server}/own/shop:same")
    assert "dirty" in shown(project.freehold("build", "dev", "--version", "sent"))

    assert details["tool"] != "buildx"
    with_mounts(project, registry)
    by_buildx(project, registry)
    project.config["builder"]["remote"] = "ssh://nobody@web-1"
    project.save()
    text = squeezed(project.freehold("deploy", "--version", "x", expect=1))
    assert "the remote builder ssh://nobody@web-1 does not answer" in text
    del project.config["builder"]["remote"], project.config["builder"]["local"]
    project.config["builder"]["pack"] = {"builder": "some/builder", "buildpacks": ["a"]}
    project.save()
    text = squeezed(project.freehold("deploy", "--version", "x", expect=1))
    assert "builder.pack needs the program 'pack'" in text
    del project.config["builder"]["pack"]
    project.config["registry"] = {"server": "localhost:5555"}
    project.save()
    by_podman(project)
    assert "images travel over SSH" in squeezed(project.freehold("registry", "setup"))
    assert "none is removed" in squeezed(project.freehold("registry", "remove"))
    assert "needs no login" in squeezed(project.freehold("registry", "login", expect=2))
    assert "names none" in squeezed(project.freehold("deploy", "--version", "x", "--registry", expect=2))
    assert project.settled("sent")


def with_mounts(project: Project, registry: Registry, version: str = "mounts") -> None:
    """Secrets, the SSH agent and a stage reach a build far away, where the client has BuildKit."""
    agent = project.rig.home / "agent"
    secret = "npm-of-the-$test"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    (project.directory / "Dockerfile").write_text(WITH_MOUNTS.format(server=registry.server, digest=digest))
    before = dict(project.config["builder"])
    more = {"target": "run", "secrets": ["NPM"], "ssh": "default=$AGENT", "args": {"NAME": version}}
    project.config["builder"] |= more
    project.secrets["NPM"] = secret
    project.save()
    argv = (program("freehold"), "deploy", "--version", version, "--no-registry")
    with project.rig.control_start(("ssh-agent", "-D", "-a", agent)), nothing_in_argv(secret):
        project.until(agent.exists, "the agent")
        env = {**DEBIAN, "AGENT": str(agent)}
        done = project.rig.control_run(argv, cwd=project.directory, env=env, timeout=300, check=False)
    client = project.rig.control_run(("docker", "--version"), env=DEBIAN).stdout.split()[2]
    if done.returncode and version == "mounts" and int(client.partition(".")[0]) >= 23:
        # Since then the client leaves BuildKit to the plugin.
        assert "builder.secrets needs BuildKit" in squeezed(done)
    else:
        assert done.returncode == 0, shown(done)
        assert project.settled(version)
        image = f"{registry.server}/own/shop:{version}"
        look = f"docker history --no-trunc {image}; docker image inspect {image}"
        assert secret not in project.hosts[1].exec(look).stdout
        project.send("sent", "--no-registry")
    project.config["builder"] = before
    (project.directory / "Dockerfile").write_text(DOCKERFILE.format(server=registry.server))
    project.save()


def by_buildx(project: Project, registry: Registry) -> None:
    """The same mounts by docker's plugin, out of the operator's own directory; and an image as a file."""
    if not program("docker-buildx").exists():
        assert not required("integration"), "docker-buildx is missing: `make setup` unpacks it"
        return
    plugins = project.rig.home / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    link = plugins / "docker-buildx"
    link.symlink_to(program("docker-buildx"))
    try:
        details = project.result(project.freehold("build", "details", "--json"))
        assert (details["tool"], details["builder"]) == ("buildx", "the engine's own")
        with_mounts(project, registry, "plugged")
        project.config["builder"]["args"]["NAME"] = "as-file"
        project.save()
        project.freehold("build", "dev", "--version", "file", "--output", "tar,dest=image.tar", timeout=300)
        names = project.rig.control_run(("tar", "-tf", project.directory / "image.tar")).stdout.split()
        assert "srv/server.py" in names
    finally:
        link.unlink()


def by_podman(project: Project) -> None:
    """What podman built is what the hosts' engines have, layer by layer; Kamal's local registry means SSH."""
    storage = project.directory / "storage.conf"
    places = {name: project.rig.home / f"podman-{name}" for name in ("graphroot", "runroot")}
    lines = [f'{name} = "{path}"' for name, path in places.items()]
    storage.write_text("\n".join(["[storage]", 'driver = "vfs"', *lines, ""]))
    (project.directory / "Dockerfile").write_text(
        'FROM scratch\nARG NAME\nLABEL name=$NAME\nCOPY Dockerfile /\nCMD ["/none"]\n'
    )
    before = dict(project.config["builder"])
    project.config["builder"] |= {"driver": "podman", "args": {"NAME": "by-podman"}}
    project.save()
    env = {"CONTAINERS_STORAGE_CONF": str(storage)}
    for words, seen in ((("deliver",), "delivered own/shop:pod"), (("details",), "podman")):
        argv = (program("freehold"), "build", *words, "--version", "pod")
        done = project.rig.control_run(argv, cwd=project.directory, env=env, timeout=300)
        assert seen in shown(done)
    look = "docker image inspect own/shop:pod --format '{{.Config.Labels.name}} {{.Config.Labels.service}}'"
    for host in project.hosts:
        assert host.exec(look).stdout.strip() == "by-podman shop"
    project.config["builder"] = before
    project.save()
