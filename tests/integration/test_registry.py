"""Images built by the real command and brought to the hosts through a real registry that wants a password."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from tests.conftest import Control, program, required
from tests.integration.app import images
from tests.integration.app.project import Project, basic, shown, squeezed
from tests.rig import Host, Rig
from tests.rig.request import Response

USER, PASSWORD = "deployer", "pass-of-the-$registry"
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


@dataclass
class Registry:
    """Debian's docker-registry in the operator's namespace."""

    rig: Rig
    folder: Path
    server: str

    @contextmanager
    def running(self) -> Iterator[None]:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (self.folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
        (self.folder / "config.json").write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "error"},
                    "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
                    "http": {"addr": self.server},
                    "auth": {"htpasswd": {"realm": "rig", "path": str(self.folder / "htpasswd")}},
                }
            )
        )
        argv = (program("docker-registry"), "serve", self.folder / "config.json")
        with self.rig.control_start(argv, stdout=self.folder / "log") as process:
            end = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < end:
                try:
                    assert self.get("/v2/").status == 200
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail((self.folder / "log").read_text())
            yield

    def get(self, path: str) -> Response:
        address, _, port = self.server.partition(":")
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return self.rig.http(address, path, port=int(port), headers={"Authorization": f"Basic {pair}"})

    def tags(self, repository: str) -> set[str]:
        answer = self.get(f"/v2/{repository}/tags/list")
        return set(answer.json()["tags"]) if answer.status == 200 else set()


@contextmanager
def trusting(host: Host, server: str) -> Iterator[None]:
    """The host's engine takes a registry without TLS."""
    path = "/etc/docker/daemon.json"
    before = host.read(path)
    host.write(path, json.dumps({**json.loads(before), "insecure-registries": [server]}))
    host.exec("systemctl reload docker")
    try:
        yield
    finally:
        host.write(path, before)
        host.exec("systemctl reload docker")


@pytest.fixture
def registry(
    rig: Rig, hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """The registry, trusted by hosts and operator, with the base image of the application in it."""
    if not program("docker-registry").exists():
        if required("integration"):
            pytest.fail("`make setup` did not leave .venv/bin/docker-registry")
        pytest.skip("no docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    made = Registry(rig, folder, f"{rig.subnet[2]}:5000")
    settings = rig.home / ".config" / "docker" / "daemon.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"insecure-registries": [made.server]}))
    first, second = hosts
    with made.running(), trusting(first, made.server), trusting(second, made.server):
        images.build(first, "v1")
        login = f"docker login --username {USER} --password-stdin {made.server}"
        base = f"{made.server}/base/app:1"
        first.exec(
            f"{login} && docker tag {images.APP} {base} && docker push --quiet {base} && "
            f"docker tag {images.APP} {made.server}/own/shop:foreign && "
            f"docker push --quiet {made.server}/own/shop:foreign && "
            f"docker image rm {base} {made.server}/own/shop:foreign && docker logout {made.server}",
            stdin=PASSWORD,
            timeout=120,
        )
        yield made
    settings.unlink()


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
    assert "[secret REGISTRY_PASSWORD]" in shown(done) and PASSWORD not in shown(done)

    # Kamal's `deploy --skip-push` pulls; and what cannot be pulled changes nothing.
    before = project.state()
    project.send("r1")
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
    assert [line for line in before["web-2"].splitlines() if "targets" in line]

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

    project.freehold("registry", "login")
    assert {entry.partition(":")[0] for entry in credentials(project)} == {"operator", "web-1", "web-2"}
    project.freehold("registry", "logout")
    assert credentials(project) == []


def test_a_remote_builder_and_the_other_ways_of_building(project: Project, registry: Registry) -> None:
    first = project.hosts[0]
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
    done = project.freehold("build", "deliver", "--version", "sent", "--no-registry", timeout=300)
    assert "web-2" in shown(done)
    project.freehold("build", "pull", "--version", "sent", "--no-registry")
    project.send("sent", "--no-registry")
    assert project.settled("sent")
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
    if version != "mounts" or int(client.partition(".")[0]) < 23:
        assert done.returncode == 0, shown(done)
        assert project.settled(version)
        image = f"{registry.server}/own/shop:{version}"
        look = f"docker history --no-trunc {image}; docker image inspect {image}"
        assert secret not in project.hosts[1].exec(look).stdout
        project.send("sent", "--no-registry")
    elif done.returncode:
        assert "builder.secrets needs BuildKit" in squeezed(done)
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
