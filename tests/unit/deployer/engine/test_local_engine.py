from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployer.engine import connect
from deployer.engine.connect import local_engine
from deployer.engine.engine import parse_info
from deployer.engine.podman import parse_podman
from deployer.engine.private import dockerd_argv
from deployer.engine.rootless import obstacle
from freehold.console import Console
from freehold.errors import BuildError
from freehold.process import LocalRunner

INFO = {
    "ServerVersion": "26.1.5",
    "Architecture": "aarch64",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "DockerRootDir": "/srv/docker",
}


def test_an_engine_as_a_value() -> None:
    engine = parse_info(json.dumps(INFO), host="unix:///run/x.sock")
    assert (engine.version, engine.arch, engine.store) == ("26.1.5", "arm64", "graph")
    assert engine.data_root == Path("/srv/docker")
    # No TLS on a socket, though the caller's environment may ask for it of an engine elsewhere.
    assert engine.env["DOCKER_HOST"] == "unix:///run/x.sock"
    assert {engine.env[name] for name in ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")} == {""}
    far = parse_info(json.dumps(INFO), host="tcp://builder:2376")
    assert far.env == {"DOCKER_HOST": "tcp://builder:2376"}
    assert not engine.remote


def test_containerd_and_remote() -> None:
    status = [["driver-type", "io.containerd.snapshotter.v1"]]
    engine = parse_info(json.dumps({**INFO, "DriverStatus": status}), host="tcp://127.0.0.1:1")
    assert engine.store == "containerd" and engine.remote


def test_a_client_without_an_engine_says_why() -> None:
    text = json.dumps({"ServerErrors": ["Cannot connect to the Docker daemon"], "Architecture": ""})
    with pytest.raises(BuildError, match="does not answer") as caught:
        parse_info(text, host="")
    assert caught.value.details == ("Cannot connect to the Docker daemon",)


def test_an_engine_that_was_asked_for_is_not_replaced(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock", "FREEHOLD_CACHE": str(tmp_path)}
    with (
        pytest.raises(BuildError, match=r"DOCKER_HOST=unix://.* does not answer") as caught,
        local_engine(runner=LocalRunner(), console=Console(quiet=True), environ=environ),
    ):
        pass
    assert "unset DOCKER_HOST" in caught.value.hint
    assert not (tmp_path / "engine").exists()


def test_the_private_engine_leaves_the_network_alone() -> None:
    argv = dockerd_argv(Path("/c"), Path("/r"))
    assert {"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"} <= set(argv)
    assert "--ip-forward=false" in argv
    assert {a for a in argv if "=/" in a or "unix:" in a} >= {
        "--data-root=/c/data",
        "--pidfile=/r/docker.pid",
    }


def test_what_a_user_lacks_for_an_engine_of_their_own() -> None:
    def all_there(name: str) -> Path:
        return Path("/usr/bin") / name

    assert obstacle(all_there, "ada", "ada:100000:65536\n") == ""
    assert "ada has no subordinate ids" in obstacle(all_there, "ada", "adam:100000:65536\n")
    assert obstacle(lambda name: None if name == "pasta" else all_there(name), "ada", "") == (
        "pasta not installed"
    )


def test_what_podman_tells_of_itself() -> None:
    text = json.dumps(
        {
            "host": {"arch": "arm64"},
            "version": {"Version": "4.3.1"},
            "store": {"graphDriverName": "overlay", "graphRoot": "/var/lib/containers/storage"},
        }
    )
    found = parse_podman(text)
    assert (found.program, found.version, found.arch, found.store) == ("podman", "4.3.1", "arm64", "graph")
    assert found.driver == "podman overlay" and found.env == {}
    for wrong in ("", "[]", "{}"):
        with pytest.raises(BuildError, match="podman told nothing"):
            parse_podman(wrong)


@pytest.mark.parametrize(
    ("podman", "message", "hint"),
    [
        (True, "'podman' is not installed", "driver: podman"),
        (False, "'docker' is not installed", "podman would do"),
    ],
)
def test_a_computer_without_either(
    monkeypatch: pytest.MonkeyPatch, podman: bool, message: str, hint: str
) -> None:
    monkeypatch.setattr(connect, "which", lambda name, environ: None)
    with (
        pytest.raises(BuildError, match=message) as caught,
        local_engine(runner=LocalRunner(), console=Console(quiet=True), environ={}, podman=podman),
    ):
        pass
    assert hint in caught.value.hint
