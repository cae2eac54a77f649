"""From the keys of `builder` to the command that builds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from deployer.config import DeployConfig
from deployer.engine import Engine
from deployer.images.builder import Builder
from deployer.images.context import exposed_secrets
from deployer.images.pack import build_by_pack, pack_argv
from deployer.images.request import BuildRequest, Tool, build_argv
from deployer.images.wanted import (
    beside,
    builds_remotely,
    cache_words,
    latest_name,
    left_out,
    make_request,
)
from freehold.errors import BuildError, ConfigError
from freehold.process import LocalRunner
from freehold.secret import Secret
from tests.unit.deployer import samples

ENGINE = Engine("unix:///e.sock", "28.0", "amd64", "overlay2", "graph", Path("/d"))
CONTAINERD = dataclasses.replace(ENGINE, driver="overlayfs", store="containerd")
NAMED = Builder("docker-container", ENGINE.host, "").name


def config(root: Path, builder: dict[str, Any] | None = None, **changes: Any) -> DeployConfig:
    return samples.config(root, {"NPM": "npm-token"}, builder=builder or {"context": "."}, **changes)


def served(root: Path, builder: dict[str, Any] | None = None) -> DeployConfig:
    """A configuration with a registry."""
    return config(root, builder, registry={"server": "ghcr.io", "username": "me", "password": "x"})


def request(root: Path, builder: dict[str, Any] | None = None, **more: Any) -> BuildRequest:
    return make_request(served(root, builder), "v1", root, more.pop("engine", ENGINE), **more)


def argv(root: Path, builder: dict[str, Any], tool: Tool = "buildx", **more: Any) -> str:
    wanted = request(root, builder, **more)
    return " ".join(build_argv(wanted, tool, secret_files={name: Path("/t/0") for name in wanted.secrets}))


def test_every_key_reaches_the_command(tmp_path: Path) -> None:
    builder = {
        "context": ".",
        "dockerfile": "docker/Dockerfile",
        "target": "run",
        "args": {"RUBY": 3.4, "NODE": None},
        "secrets": ["NPM"],
        "ssh": "default=$SSH_AUTH_SOCK",
        "cache": {"type": "registry", "options": "mode=max", "image": "own/cache"},
        "driver": "docker-container",
    }
    environ = {"SSH_AUTH_SOCK": "/run/agent"}
    text = argv(tmp_path, builder, environ=environ, arches=("amd64",), no_cache=True, registry=True)
    for words in (
        f"docker buildx build --builder {NAMED} --load",
        "--tag ghcr.io/own/shop:v1 --tag ghcr.io/own/shop:latest --file docker/Dockerfile --target run",
        "--label service=shop --build-arg NODE --build-arg RUBY=3.4",
        "--secret id=NPM,src=/t/0 --ssh default=/run/agent",
        "--cache-from type=registry,ref=ghcr.io/own/cache",
        "--cache-to type=registry,ref=ghcr.io/own/cache,mode=max",
        "--no-cache",
        "--provenance=false",
    ):
        assert words in text
    assert "--platform" not in text and "npm-token" not in text


def test_several_architectures_are_pushed_together(tmp_path: Path) -> None:
    builder = {"context": ".", "arch": ["amd64", "arm64"], "provenance": "mode=max", "sbom": True}
    text = argv(tmp_path, builder, arches=("amd64", "arm64"), output="registry", registry=True)
    assert f"--builder {NAMED} --output type=registry" in text and "--load" not in text
    assert "--platform linux/amd64,linux/arm64" in text
    assert "--tag ghcr.io/own/shop:v1 --tag ghcr.io/own/shop:latest" in text
    assert "--provenance=mode=max --sbom=true" in text


def test_podman_builds_with_secrets_too(tmp_path: Path) -> None:
    text = argv(
        tmp_path, {"context": ".", "secrets": ["NPM"], "ssh": "default", "driver": "podman"}, "podman"
    )
    assert text.startswith("podman build --format docker --tag ghcr.io/own/shop:v1 --file Dockerfile")
    assert "--secret id=NPM,src=/t/0 --ssh default ." in text
    with pytest.raises(ConfigError, match="the driver podman knows no remote builders"):
        request(tmp_path, {"context": ".", "driver": "podman", "remote": "ssh://far"})
    with pytest.raises(BuildError, match=r"builder\.sbom needs docker's plugin buildx, which podman is not"):
        build_argv(BuildRequest(tmp_path, ("a",), sbom="true"), "podman", secret_files={})


@pytest.mark.parametrize(
    ("builder", "tool", "key"),
    [
        ({"secrets": ["NPM"]}, "classic", "builder.secrets needs BuildKit"),
        ({"ssh": "default"}, "classic", "builder.ssh needs BuildKit"),
        ({"cache": {"type": "gha"}}, "buildkit", "builder.cache needs docker's plugin buildx"),
        ({"driver": "docker-container"}, "classic", "builder.driver needs docker's plugin buildx"),
        ({"provenance": True}, "buildkit", "builder.provenance needs docker's plugin buildx"),
        ({"sbom": True}, "buildkit", "builder.sbom needs docker's plugin buildx"),
    ],
)
def test_what_a_builder_cannot_do_is_refused_by_name(
    tmp_path: Path, builder: dict[str, Any], tool: Tool, key: str
) -> None:
    with pytest.raises(BuildError, match=key) as caught:
        argv(tmp_path, {"context": ".", **builder}, tool, registry=True, environ=GITHUB)
    assert caught.value.hint


def test_what_only_a_registry_keeps(tmp_path: Path) -> None:
    """Where the file has none it contradicts itself, and no command could do what it says."""
    wanted = make_request(config(tmp_path, {"context": ".", "provenance": True}), "v1", tmp_path, ENGINE)
    with pytest.raises(BuildError, match=r"builder\.provenance makes an attestation"):
        build_argv(wanted, "buildx", secret_files={})
    with pytest.raises(ConfigError, match="the driver docker makes no attestation") as caught:
        request(tmp_path, {"context": ".", "driver": "docker", "sbom": True}, registry=True)
    assert "builder.sbom" in str(caught.value)
    kept = {"context": ".", "driver": "docker", "provenance": True}
    assert request(tmp_path, kept, registry=True, engine=CONTAINERD).builder is None


def test_a_secret_or_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no directory nowhere") as caught:
        request(tmp_path, {"context": "nowhere"})
    assert "builder.context" in str(caught.value)
    for address in (
        "https://git.example/own.git#main",
        "git@git.example:own/shop.git",
        "github.com/own/shop",
    ):
        assert argv(tmp_path, {"context": address}).endswith(f" {address}")


@pytest.mark.parametrize(
    ("builder", "what"),
    [
        ({"remote": "ssh://far"}, "remote builders"),
        ({"cache": {"type": "gha"}}, "cache"),
        ({"arch": ["amd64", "arm64"]}, "several architectures"),
    ],
)
def test_the_docker_driver_knows_less(tmp_path: Path, builder: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        request(tmp_path, {"context": ".", "driver": "docker", **builder})


OWN, CONTAINER = None, "docker-container"
GITHUB = {"ACTIONS_RUNTIME_TOKEN": "x"}


@pytest.mark.parametrize(
    ("builder", "arches", "graph", "containerd"),
    [
        ({}, (), OWN, OWN),
        ({"driver": "docker"}, (), OWN, OWN),
        ({"driver": "podman"}, (), OWN, OWN),
        ({"driver": "docker-container"}, (), CONTAINER, CONTAINER),
        ({"driver": "kubernetes"}, (), "kubernetes", "kubernetes"),
        ({"cache": {"type": "gha"}}, (), CONTAINER, OWN),
        ({"cache": {"type": "registry"}}, (), CONTAINER, OWN),
        ({"provenance": "mode=max"}, (), CONTAINER, OWN),
        ({"sbom": True}, (), CONTAINER, OWN),
        ({"provenance": False, "sbom": False}, (), OWN, OWN),
        # What runs foreign programs comes with the image of BuildKit, not with the engine.
        ({}, ("amd64", "arm64"), CONTAINER, CONTAINER),
        ({"pack": {"builder": "b"}, "cache": {"type": "gha"}}, (), OWN, OWN),
    ],
)
def test_the_builder_beside_the_engines_own(
    tmp_path: Path,
    builder: dict[str, Any],
    arches: tuple[str, ...],
    graph: str | None,
    containerd: str | None,
) -> None:
    found = config(tmp_path, {"context": ".", **builder})
    for engine, driver in ((ENGINE, graph), (CONTAINERD, containerd)):
        made = beside(found, engine, arches=arches)
        assert (made.driver if made else None) == driver


def test_a_form_that_the_engine_does_not_write(tmp_path: Path) -> None:
    found = config(tmp_path)
    for output, driver in (
        ("oci,dest=x.tar", CONTAINER),
        ("docker,dest=x.tar", CONTAINER),
        ("docker", OWN),
        ("local,dest=x", OWN),
        ("registry", OWN),
    ):
        made = beside(found, ENGINE, output=output)
        assert (made.driver if made else None) == driver
        assert beside(found, CONTAINERD, output=output) is None


def test_what_a_command_does_without(tmp_path: Path) -> None:
    """What lies in a registry that the image does not go through, and GitHub's cache elsewhere."""
    keys = {"cache": {"type": "registry"}, "provenance": "mode=max", "sbom": True}
    assert set(left_out(served(tmp_path, keys), registry=False, environ={})) == set(keys)
    assert left_out(served(tmp_path, keys), registry=True, environ={}) == {}
    text = argv(tmp_path, keys, environ={})
    assert " --cache-" not in text and "--sbom" not in text and "--provenance=false" in text
    github = {"context": ".", "cache": {"type": "gha"}}
    assert "--cache-from" not in argv(tmp_path, github, environ={})
    assert "--cache-from type=gha" in argv(tmp_path, github, environ=GITHUB)
    told = {"context": ".", "cache": {"type": "gha", "options": "token=x,url=http://c"}}
    assert "--cache-from type=gha,token=x,url=http://c" in argv(tmp_path, told, environ={})
    # Kamal's own registry beside the application is none here.
    local = config(
        tmp_path, {"context": ".", "cache": {"type": "registry"}}, registry={"server": "localhost:5555"}
    )
    assert set(left_out(local, registry=False, environ={})) == {"cache"}


@pytest.mark.parametrize(
    ("builder", "far"),
    [
        ({}, False),
        ({"remote": "ssh://far"}, True),
        ({"remote": "ssh://far", "arch": "amd64"}, False),
        ({"remote": "ssh://far", "arch": "arm64"}, True),
        # Each for its own: arm64 is built far away, of which the next test tells.
        ({"remote": "ssh://far", "arch": ["amd64", "arm64"]}, False),
        ({"remote": "ssh://far", "arch": ["amd64", "arm64"], "local": False}, True),
        ({"remote": "ssh://far", "arch": "amd64", "local": False}, True),
    ],
)
def test_what_is_built_far_away(tmp_path: Path, builder: dict[str, Any], far: bool) -> None:
    assert builds_remotely(config(tmp_path, {"context": ".", **builder}), "amd64") is far


def test_the_cache_of_github(tmp_path: Path) -> None:
    found = config(tmp_path, {"context": ".", "cache": {"type": "gha", "options": "mode=max,scope=x"}})
    assert cache_words(found) == (("type=gha,scope=x",), ("type=gha,mode=max,scope=x",))


def test_the_latest_tag(tmp_path: Path) -> None:
    found = config(tmp_path)
    assert latest_name(found) == "own/shop:latest"
    assert latest_name(dataclasses.replace(found, destination="staging")) == "own/shop:latest-staging"


def test_buildpacks_see_secrets_by_name_only(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        {
            "context": ".",
            "secrets": ["NPM"],
            "args": {"A": "1"},
            "pack": {"builder": "heroku/builder:24", "buildpacks": ["heroku/ruby"]},
        },
    )
    pack = found.builder.pack
    assert pack is not None
    wanted = make_request(found, "v1", tmp_path, ENGINE, registry=True)
    words = pack_argv(found, pack, wanted, "amd64")
    assert words[:3] == ("pack", "build", "own/shop:v1") and words[-2:] == ("--path", ".")
    text = " ".join(words)
    assert "--platform linux/amd64" in text and "--tag own/shop:latest" in text
    assert "--buildpack heroku/ruby --buildpack paketo-buildpacks/image-labels" in text
    assert "--env A=1 --env NPM --path" in text and "npm-token" not in text


def test_a_program_pack_is_called_with_the_secret_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = config(tmp_path, {"context": ".", "secrets": ["NPM"], "pack": {"builder": "b", "buildpacks": []}})
    assert found.builder.pack is not None
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "pack"
    stand_in.write_text('#!/bin/sh\necho "$NPM $DOCKER_HOST $*" >seen\n')
    stand_in.chmod(0o755)
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    monkeypatch.setenv("PATH", environ["PATH"])
    build_by_pack(
        found,
        found.builder.pack,
        make_request(found, "v1", tmp_path, ENGINE),
        engine=ENGINE,
        runner=LocalRunner(),
        environ=environ,
        on_line=lambda _: None,
    )
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith("npm-token unix:///e.sock build own/shop:v1 ")
    assert Secret("npm-token").reveal() not in seen.removeprefix("npm-token")


@pytest.mark.parametrize(
    ("patterns", "seen"),
    [
        ("", True),
        (".freehold\n", False),
        ("# .freehold\n", True),
        ("/.freehold/\n", False),
        (".freehold/secrets*\n", False),
        ("**/secrets\n", False),
        (".*\n", False),
        ("*\n!app\n", False),
        ("*\n!.freehold\n", True),
        ("secrets\n", True),
        (".git\nnode_modules\n", True),
    ],
)
def test_secrets_that_a_build_would_see(tmp_path: Path, patterns: str, seen: bool) -> None:
    (tmp_path / ".freehold" / "hooks").mkdir(parents=True)
    (tmp_path / ".freehold" / "secrets").write_text("A=1\n")
    (tmp_path / ".dockerignore").write_text(patterns)
    assert exposed_secrets(tmp_path) == ([".freehold/secrets"] if seen else [])


def test_a_dockerfile_may_have_its_own_list(tmp_path: Path) -> None:
    (tmp_path / ".kamal").mkdir()
    (tmp_path / ".kamal" / "secrets-common").write_text("A=1\n")
    (tmp_path / ".dockerignore").write_text(".kamal\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("tmp\n")
    assert exposed_secrets(tmp_path) == [".kamal/secrets-common"]
    assert exposed_secrets(tmp_path, "Other") == []
