"""The keys of `builder` that need more of BuildKit: what they leave in a registry, and what hosts get."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Control, cannot_run, program
from tests.integration.app import images
from tests.integration.app.project import Project, basic, shown, squeezed
from tests.integration.app.registry import PASSWORD, USER, Registry
from tests.rig import Host, Rig

NPM = "npm-of-the-$test"
DOCKERFILE = f"""FROM {{server}}/base/app:1 AS run
ARG NAME
ENV APP_VERSION=$NAME APP_MODE=ok
RUN --mount=type=secret,id=NPM python3 -c 'import hashlib, os; \\
    found = hashlib.sha256(open("/run/secrets/NPM", "rb").read()).hexdigest(); \\
    assert found == "{hashlib.sha256(NPM.encode()).hexdigest()}", found; \\
    open("/srv/made", "wb").write(os.urandom(16))'
FROM run AS never
RUN python3 -c 'raise SystemExit(1)'
"""
SCAN = """import json, os
statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document"}
with open(os.environ["BUILDKIT_SCAN_DESTINATION"] + "/app.spdx.json", "w") as file:
    json.dump({**statement, "predicate": {"name": "app"}}, file)
"""
SLSA, SPDX = "https://slsa.dev/provenance/", "https://spdx.dev/Document"


@contextmanager
def containerd(rig: Rig, trixie: Host, registry: Registry, socket: Path) -> Iterator[None]:
    """The engine of a Debian 13 host, which keeps images in containerd, as the operator's own.

    Through one connection, and not as `builder.remote`, for which the client makes many at once.
    """
    path = "/etc/docker/daemon.json"
    before = trixie.read(path)
    more = {"features": {"containerd-snapshotter": True}, "insecure-registries": [registry.server]}
    trixie.write(path, json.dumps({**json.loads(before), **more}))
    trixie.restart_service("docker")
    try:
        with rig.control_start(("ssh", "-N", "-L", f"{socket}:/run/docker.sock", trixie.name)):
            yield
    finally:
        forget_builds(trixie)
        trixie.write(path, before)
        trixie.restart_service("docker")


def forget_builds(host: Host) -> None:
    """Neither images nor anything of the build cache is left on a host."""
    host.reset(images=True)
    host.exec("docker builder prune --all --force", timeout=300)


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control, registry: Registry) -> Iterator[Project]:
    """A project whose operator has docker's plugin buildx."""
    if not program("docker-buildx").exists():
        cannot_run("integration", "`make setup` did not leave .venv/bin/docker-buildx")
    config: dict[str, Any] = basic() | {
        "image": "own/shop",
        "registry": {"server": registry.server, "username": USER, "password": ["REGISTRY_PASSWORD"]},
        "builder": {"context": ".", "target": "run", "secrets": ["NPM"]},
    }
    secrets = {"TOKEN": "s3cret-of-the-test", "REGISTRY_PASSWORD": PASSWORD, "NPM": NPM}
    made = Project(rig, hosts, control.directory, config, secrets)
    (made.directory / "Dockerfile").write_text(DOCKERFILE.format(server=registry.server))
    plugin = rig.home / ".docker" / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.symlink_to(program("docker-buildx"))
    yield made
    plugin.unlink()


def scanner(host: Host, registry: Registry) -> str:
    """An image that makes the bill of materials, in the place of the one from Docker Hub."""
    reference = f"{registry.server}/base/scanner:1"
    text = f"FROM {images.APP}\nENTRYPOINT {json.dumps(['python3', '-c', SCAN])}\n"
    host.exec(f"DOCKER_BUILDKIT=0 docker build --quiet --tag {reference} -", stdin=text, timeout=120)
    host.exec(
        f"docker login --username {USER} --password-stdin {registry.server} && "
        f"docker push --quiet {reference} && docker image rm {reference} && docker logout {registry.server}",
        stdin=PASSWORD,
        timeout=120,
    )
    return reference


def test_cache_and_attestations_through_a_registry(
    project: Project, registry: Registry, trixie: Host
) -> None:
    socket = project.rig.home / "run" / "docker-13"
    with containerd(project.rig, trixie, registry, socket):
        project.until(socket.exists, "the engine's socket")
        project.environ["DOCKER_HOST"] = f"unix://{socket}"
        cache_and_attestations(project, registry, trixie)


def cache_and_attestations(project: Project, registry: Registry, builds: Host) -> None:
    generator = scanner(project.hosts[0], registry)
    project.config["builder"] |= {
        "arch": "amd64",
        "args": {"NAME": "k1"},
        "cache": {"type": "registry", "image": "own/cache", "options": "mode=max"},
        "provenance": "mode=max",
        "sbom": f"generator={generator}",
    }
    project.save()
    details = project.result(project.freehold("build", "details", "--json"))
    assert (details["tool"], details["builder"], details["way"]) == ("buildx", "the engine's own", "registry")
    project.freehold("build", "push", "--version", "k1", timeout=300)

    image, attestation = registry.manifest("own/shop", "k1")["manifests"]
    assert image["platform"] == {"architecture": "amd64", "os": "linux"}
    marks = attestation["annotations"]
    assert marks["vnd.docker.reference.type"] == "attestation-manifest"
    assert marks["vnd.docker.reference.digest"] == image["digest"]
    layers = registry.manifest("own/shop", attestation["digest"])["layers"]
    predicates = sorted(layer["annotations"]["in-toto.io/predicate-type"] for layer in layers)
    assert predicates[0].startswith(SLSA) and predicates[1:] == [SPDX]
    assert registry.tags("own/shop") == {"k1", "latest", "foreign"}
    assert registry.tags("own/cache") == {"latest"}

    # With nothing left where it was built, the random bytes of the build can come from the cache only.
    first = registry.manifest("own/shop", image["digest"])["layers"]
    forget_builds(builds)
    done = project.freehold("deploy", "--version", "k1", "-v", timeout=300)
    assert project.settled("k1") and "importing cache manifest" in shown(done)
    again = registry.manifest("own/shop", "k1")["manifests"][0]
    assert registry.manifest("own/shop", again["digest"])["layers"] == first
    for host in project.hosts:
        assert NPM not in host.exec(f"docker history --no-trunc {registry.server}/own/shop:k1").stdout

    # To a file of the operator's, of what is there, and of every layer made anew; the registry has no part.
    made = [made_bytes(project, *words) for words in ((), ("--no-cache",))]
    assert made[0] != made[1] and [len(found) for found in made] == [16, 16]
    assert registry.manifest("own/shop", "k1")["manifests"][0] == again

    # The same file without the registry, as in a lab; its base image is the operator's own to pull.
    project.config["builder"]["args"] = {"NAME": "k2"}
    project.save()
    project.freehold("registry", "login")
    text = squeezed(project.freehold("deploy", "--version", "k2", "--no-registry", timeout=300))
    for key in ("cache", "provenance", "sbom"):
        assert f"without builder.{key}:" in text
    project.freehold("registry", "logout")
    assert project.settled("k2") and "k2" not in registry.tags("own/shop")


def made_bytes(project: Project, *words: str) -> bytes:
    """The random bytes of a build that goes to a file."""
    path = project.directory / "made.tar"
    project.freehold("build", "push", "--version", "k1", "--output", f"tar,dest={path}", *words, timeout=300)
    with tarfile.open(path) as archive:
        found = archive.extractfile("srv/made")
        assert found is not None
        return found.read()


def test_a_builder_that_cannot_start(project: Project) -> None:
    """Images in a graph driver: attestations need BuildKit's own image, which nobody can pull here."""
    project.config["builder"] |= {"remote": "ssh://web-1", "local": False, "provenance": True}
    project.save()
    name = project.result(project.freehold("build", "details", "--json"))["builder"]
    assert name.startswith("freehold-docker-container-")
    text = squeezed(project.freehold("deploy", "--version", "x", expect=1, timeout=300))
    assert "builder.provenance needs BuildKit in a container of its own, which does not start" in text
    # It was made with the login of the registry, and outlives it.
    assert f"the builder {name} is there" in squeezed(project.freehold("build", "create"))
    assert f"removed {name}" in squeezed(project.freehold("build", "remove"))
    assert f"there is no builder {name}" in squeezed(project.freehold("build", "remove"))
