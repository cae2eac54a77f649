"""Builders of buildx: whose they are, how they are made, and what they know of registries."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from deployer.engine import Engine
from deployer.engine.engine import parse_info
from deployer.engine.registries import Registries
from deployer.images.build import make_builder, remove_builders, run_build
from deployer.images.builder import Builder, Node, buildkit_settings, certificates_below, create_argvs, listed
from deployer.images.dockerfile import refuse_bases
from deployer.images.request import BuildRequest
from deployer.images.wanted import beside, builds_remotely, place
from freehold.console import Console
from freehold.errors import BuildError
from freehold.process import LocalRunner
from tests.unit.deployer import samples

ENGINE = Engine("unix:///e.sock", "28.0", "amd64", "overlay2", "graph", Path("/d"))
HERE = Builder("docker-container", "unix:///e.sock", "builder.cache")


def test_each_engine_has_a_builder_of_its_own() -> None:
    """buildx keeps to the engine that a builder was made on, whichever the client reaches later."""
    far = dataclasses.replace(HERE, engine="ssh://far")
    told = dataclasses.replace(HERE, settings="[registry]\n")
    other = dataclasses.replace(HERE, driver="kubernetes")
    assert len({made.name for made in (HERE, far, told, other)}) == 4
    assert HERE.owns(told.name) and told.owns(HERE.name) and not HERE.owns(far.name)
    cloud = Builder("cloud org/fast", "", "builder.driver")
    assert cloud.name == "cloud-org-fast" and not cloud.owns("cloud-org-faster")


def test_the_commands_that_make_a_builder() -> None:
    create = ("docker", "buildx", "create")
    assert create_argvs(Builder("cloud org/fast", "", ""), None) == (
        (*create, "--driver", "cloud", "org/fast"),
    )
    private = dataclasses.replace(HERE, nodes=(Node(network="host"),))
    assert create_argvs(private, Path("/t/buildkitd.toml")) == (
        (
            *(*create, "--name", private.name, "--driver", "docker-container"),
            *("--driver-opt", "network=host", "--config", "/t/buildkitd.toml"),
        ),
    )


def test_two_computers_build_each_for_its_own_processor(tmp_path: Path) -> None:
    keys = {"context": ".", "remote": "ssh://far", "arch": ["amd64", "arm64"]}
    config = samples.config(tmp_path, builder=keys)
    assert not builds_remotely(config, "amd64", ("amd64", "arm64"))
    # Over SSH each image by itself.
    assert not builds_remotely(config, "amd64", ("amd64",)) and builds_remotely(config, "amd64", ("arm64",))
    made = beside(config, ENGINE, arches=("amd64", "arm64"))
    assert made is not None
    named = ("--name", made.name)
    assert create_argvs(made, None) == (
        ("docker", "buildx", "create", *named, "--driver", "docker-container", "--platform", "linux/amd64"),
        (
            *("docker", "buildx", "create", *named, "--append", "--driver", "docker-container"),
            *("--platform", "linux/arm64", "ssh://far"),
        ),
    )
    away = samples.config(tmp_path, builder={**keys, "local": False})
    assert builds_remotely(away, "amd64", ("amd64", "arm64"))
    alone = beside(away, dataclasses.replace(ENGINE, host="ssh://far"), arches=("amd64", "arm64"))
    assert alone is not None and alone.nodes == (Node(),)


def test_what_an_engine_tells_of_registries() -> None:
    index = {"docker.io": {"Secure": True}, "plain:5000": {"Secure": False}}
    networks = ["127.0.0.0/8", "198.18.0.0/15"]
    told = {"IndexConfigs": index, "InsecureRegistryCIDRs": networks, "Mirrors": ["http://mirror:5001/"]}
    text = '{"ServerVersion": "28", "ClientInfo": {"Context": "far"}, "RegistryConfig": %s}'
    engine = parse_info(text % str(told).replace("'", '"').replace("T", "t").replace("F", "f"), host="")
    assert engine.context == "far"
    assert engine.registries == Registries(("plain:5000", *networks), ("http://mirror:5001/",))
    assert parse_info('{"ServerVersion": "28"}', host="").registries == Registries()
    for host, trusted in (
        ("plain:5000", True),
        ("198.18.3.2:5000", True),
        ("198.18.3.2", True),
        ("198.51.100.1:5000", False),
        ("ghcr.io", False),
    ):
        assert engine.registries.trusts(host) is trusted


def test_buildkit_in_a_container_knows_the_registries_of_its_engine(tmp_path: Path) -> None:
    for name in ("own:5000/ca.crt", "own:5000/client.cert", "own:5000/client.key", "empty/readme"):
        path = tmp_path / "certs.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    certificates = certificates_below(tmp_path / "none", tmp_path / "certs.d")
    known = Registries(("plain:5000", "198.18.0.0/15"), ("http://mirror:5001/", "https://other.io/path/"))
    found = tomllib.loads(buildkit_settings(known, "198.18.3.2:5000", certificates))["registry"]
    plain = {"http": True, "insecure": True}
    own = tmp_path / "certs.d" / "own:5000"
    assert found == {
        "docker.io": {"mirrors": ["mirror:5001", "other.io/path"]},
        "mirror:5001": plain,
        "plain:5000": plain,
        "198.18.3.2:5000": plain,
        "own:5000": {
            "ca": [str(own / "ca.crt")],
            "keypair": [{"key": str(own / "client.key"), "cert": str(own / "client.cert")}],
        },
    }
    assert buildkit_settings(Registries(("127.0.0.0/8",)), "ghcr.io", {}) == ""


def test_what_the_user_tells_every_builder_stands(tmp_path: Path) -> None:
    config = samples.config(tmp_path, builder={"context": ".", "driver": "docker-container"})
    engine = dataclasses.replace(ENGINE, registries=Registries(("plain:5000",)))
    environ = {"HOME": str(tmp_path)}
    made = beside(config, engine, environ=environ)
    assert made is not None and "plain:5000" in made.settings
    (tmp_path / ".docker" / "buildx").mkdir(parents=True)
    (tmp_path / ".docker" / "buildx" / "buildkitd.default.toml").write_text("debug = true\n")
    made = beside(config, engine, environ=environ)
    assert made is not None and made.settings == ""


@pytest.mark.parametrize(
    ("keys", "graph", "containerd"),
    [
        ({}, "docker", "docker"),
        ({"driver": "docker"}, "docker", "docker"),
        ({"driver": "docker-container"}, "registry", "registry"),
        ({"cache": {"type": "registry"}}, "registry", "docker"),
        ({"provenance": True}, "registry", "registry"),
        ({"pack": {"builder": "b"}}, "docker", "docker"),
    ],
)
def test_what_the_build_itself_pushes(
    tmp_path: Path, keys: dict[str, object], graph: str, containerd: str
) -> None:
    config = samples.config(tmp_path, builder={"context": ".", **keys})
    for engine, output in ((ENGINE, graph), (dataclasses.replace(ENGINE, store="containerd"), containerd)):
        assert place(config, engine, arches=(), environ={}) == output


LS = """\
NAME/NODE                        DRIVER/ENDPOINT     STATUS    BUILDKIT   PLATFORMS
{one}*       docker-container
 \\_ {one}0   \\_ unix:///e.sock   running   v0.26.0    linux/amd64
freehold-docker-container-1234   docker-container
default                          docker
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the client: it notes what it is asked, and its second node cannot be reached."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "ls").write_text(LS.format(one=HERE.name))
    program = tmp_path / "bin" / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/seen\n'
        f'case "$*" in *inspect*|*--append*) echo "no route" >&2; exit 1;; *" ls") cat {tmp_path}/ls;; esac\n'
        f'case "$*" in *--config*) cat "${{@: -1}}" >{tmp_path}/settings;; esac\n'.replace("${@: -1}", "$8")
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def test_half_a_builder_does_not_stay(docker: Path) -> None:
    settings = '[registry."plain:5000"]\nhttp = true\n'
    both = dataclasses.replace(HERE, nodes=(Node(), Node("ssh://far")), settings=settings)
    with pytest.raises(BuildError, match=r"which builder\.cache needs, could not be made") as caught:
        make_builder(both, engine=ENGINE, runner=LocalRunner(), console=Console(quiet=True))
    assert "no route" in caught.value.details
    assert (docker / "seen").read_text().splitlines()[-1] == f"buildx rm {both.name}"
    assert (docker / "settings").read_text() == settings


def test_what_a_builder_was_before_is_removed_with_it(docker: Path) -> None:
    told = dataclasses.replace(HERE, settings="[registry]\n")
    assert listed((docker / "ls").read_text())[0] == HERE.name
    assert remove_builders(told, engine=ENGINE, runner=LocalRunner()) == (HERE.name,)
    assert (docker / "seen").read_text().splitlines()[-1] == f"buildx rm {HERE.name}"


def test_a_base_image_that_only_an_engine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "deployer.images.dockerfile.own_base", lambda name: tmp_path if "own" in name else None
    )
    dockerfile = tmp_path / "Dockerfile"
    refuse_bases(dockerfile, HERE)
    dockerfile.write_text("FROM debian:12\n")
    refuse_bases(dockerfile, HERE)
    dockerfile.write_text("FROM own-base:1\n")
    with pytest.raises(
        BuildError, match=r"builder\.cache needs a builder .* own-base:1 was made on this computer"
    ):
        refuse_bases(dockerfile, HERE)


CANNOT_PUSH = "ERROR: failed to push own/shop:v1: unexpected status from HEAD request: 401 Unauthorized"


@pytest.mark.parametrize(
    ("said", "changes", "hint"),
    [
        ("> [internal] booting buildkit:", {"builder": HERE}, "builder.cache needs BuildKit in a container"),
        (CANNOT_PUSH, {"output": "registry"}, "are `registry.username` and `registry.password` right"),
        ("> exporting cache to registry: 401 Unauthorized", {}, "are `registry.username` and"),
        ("exec /app: exec format error", {"platform": "linux/arm64"}, "runs no programs for linux/arm64"),
        # Programs of the image that fail are no concern of the registry or the engine.
        ("401 Unauthorized", {"output": "registry"}, "the same by hand: cd "),
        (
            "exec /app: exec format error",
            {"platform": "linux/arm64", "builder": HERE},
            "the same by hand: cd ",
        ),
    ],
)
def test_what_to_do_about_a_build_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, changes: dict[str, Any], hint: str
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker"
    program.write_text(f'#!/bin/sh\ncase "$*" in "buildx build"*) echo "{said}" >&2; exit 1;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    request = BuildRequest(tmp_path, ("own/shop:v1",), **changes)
    with pytest.raises(BuildError, match="building own/shop:v1 failed") as caught:
        run_build(request, engine=ENGINE, runner=LocalRunner(), on_line=lambda _: None)
    assert hint in caught.value.hint
