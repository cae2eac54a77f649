from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deployer.engine import Engine
from deployer.images import code_version
from deployer.images.base import tar_layers
from deployer.images.build import run_build
from deployer.images.clone import clean_clone
from deployer.images.push import push_image
from deployer.images.request import BuildRequest, build_argv, build_environment, build_tool
from deployer.images.version import make_version
from freehold.console import Console
from freehold.errors import BuildError, InputError
from freehold.process import Argument, Completed, LocalRunner
from freehold.secret import Secret
from tests.tarball import tarball

RUNNER = LocalRunner()
QUIET = Console(quiet=True)


def git(root: Path, *words: str) -> str:
    settings = ("-c", "user.name=x", "-c", "user.email=x@example.invalid", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", root, *settings, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "site").mkdir(parents=True)
    (root / "site" / "Dockerfile").write_text("FROM scratch\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    return root


def test_a_commit_is_the_version(project: Path) -> None:
    found = code_version(project, runner=RUNNER)
    assert found.version == found.revision == git(project, "rev-parse", "HEAD")
    assert found.warning == ""


def test_a_clone_leaves_changes_out_and_says_so(project: Path) -> None:
    (project / "new.py").write_text("x")
    found = code_version(project, runner=RUNNER, clone=True)
    assert found.version == found.revision
    assert found.warning == "uncommitted changes are not deployed: new.py"


def test_the_same_changes_are_the_same_version(project: Path) -> None:
    (project / "new.py").write_text("x")
    first = code_version(project, runner=RUNNER, clone=False)
    again = code_version(project, runner=RUNNER, clone=False)
    (project / "new.py").write_text("y")
    other = code_version(project, runner=RUNNER, clone=False)
    (project / "site" / "Dockerfile").write_text("FROM other\n")
    third = code_version(project, runner=RUNNER, clone=False)
    assert first.version == again.version
    assert first.version.startswith(f"{first.revision}_uncommitted_")
    assert len({first.version, other.version, third.version}) == 3
    assert "are deployed as" in first.warning


def test_ignored_files_change_nothing(project: Path) -> None:
    (project / "debug.log").write_text("x")
    assert code_version(project, runner=RUNNER, clone=False).uncommitted == ()


def test_no_repository_has_no_version(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no version") as caught:
        code_version(tmp_path, runner=RUNNER)
    assert "--version" in caught.value.hint and caught.value.exit_code == 2


def test_long_lists_are_cut() -> None:
    status = "".join(f"?? file{n}\n" for n in range(9))
    assert make_version("abc", status, b"", cloned=True).warning.endswith("file4 …")


def test_a_clean_clone_holds_what_is_committed(project: Path, tmp_path: Path) -> None:
    (project / "site" / "Dockerfile").write_text("FROM changed\n")
    (project / "junk").write_text("x")
    revision = git(project, "rev-parse", "HEAD")
    cache = tmp_path / "cache"
    place = clean_clone(project / "site", revision, cache=cache, runner=RUNNER, console=QUIET)
    assert (place / "Dockerfile").read_text() == "FROM scratch\n"
    assert not (place.parent / "junk").exists()

    git(project, "commit", "-qam", "two")
    (place.parent / "left over").write_text("x")
    again = clean_clone(
        project / "site", git(project, "rev-parse", "HEAD"), cache=cache, runner=RUNNER, console=QUIET
    )
    assert again == place
    assert (place / "Dockerfile").read_text() == "FROM changed\n"
    assert not (place.parent / "left over").exists()


def test_a_broken_clone_is_made_again(project: Path, tmp_path: Path) -> None:
    revision = git(project, "rev-parse", "HEAD")
    place = clean_clone(project, revision, cache=tmp_path / "c", runner=RUNNER, console=QUIET)
    (place / ".git" / "HEAD").write_text("nonsense")
    again = clean_clone(project, revision, cache=tmp_path / "c", runner=RUNNER, console=QUIET)
    assert (again / "site" / "Dockerfile").exists()


@pytest.mark.parametrize(
    ("buildx", "version", "tool"),
    [
        (True, "20.10.24+dfsg1", "buildx"),
        (False, "20.10.24+dfsg1", "buildkit"),
        (False, "26.1.5", "classic"),
        (False, "18.03.1", "classic"),
        (False, "", "classic"),
    ],
)
def test_the_builder_of_a_client(buildx: bool, version: str, tool: str) -> None:
    assert build_tool(buildx, version) == tool


REQUEST = BuildRequest(
    Path("/p"),
    ("app:v1",),
    target="run",
    platform="linux/arm64",
    args={"B": "2", "A": "one two"},
    labels={"service": "app"},
    network="host",
)


def test_the_command_of_each_builder() -> None:
    common = (
        *("--tag", "app:v1", "--file", "Dockerfile", "--target", "run", "--platform", "linux/arm64"),
        *(
            "--network",
            "host",
            "--label",
            "service=app",
            "--build-arg",
            "A=one two",
            "--build-arg",
            "B=2",
            ".",
        ),
    )
    assert build_argv(REQUEST, "classic", secret_files={}) == ("docker", "build", *common)
    assert build_argv(REQUEST, "buildkit", secret_files={}) == (
        *("docker", "build", "--progress", "plain"),
        *common,
    )
    assert build_argv(REQUEST, "buildx", secret_files={}) == (
        *("docker", "buildx", "build", "--load", "--progress", "plain", "--provenance=false"),
        *common,
    )
    assert build_environment("buildkit") == {"DOCKER_BUILDKIT": "1"}


def test_secrets_never_stand_on_the_command_line() -> None:
    request = BuildRequest(Path("/p"), ("app:v1",), secrets={"TOKEN": Secret("very-secret")})
    argv = build_argv(request, "buildx", secret_files={"TOKEN": Path("/t/0")})
    assert "id=TOKEN,src=/t/0" in argv
    assert "very-secret" not in " ".join(argv)
    with pytest.raises(BuildError, match=r"builder\.secrets needs BuildKit"):
        build_argv(request, "classic", secret_files={})


def test_what_is_in_a_base_image(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    config = {"rootfs": {"diff_ids": ["sha256:a"]}}
    manifest = [{"Config": "c", "RepoTags": ["base:latest"]}]
    path.write_bytes(
        tarball({"c": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()})
    )
    assert tar_layers(path, "base:latest") == ("sha256:a",)
    with pytest.raises(BuildError, match="holds no image other:latest") as caught:
        tar_layers(path, "other:latest")
    assert "base:latest" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 10240])
def test_something_else_than_an_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(BuildError, match="is not an image archive"):
        tar_layers(path, "base:latest")


class Clock(LocalRunner):
    """Starts nothing; keeps how long each command may take."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, float | None] = {}

    def run(self, argv: Sequence[Argument], **how: Any) -> Completed:
        words = tuple(str(word) for word in argv)
        self.limits[" ".join(words[:3])] = how.get("timeout")
        return Completed(words, 0, "Docker version 28.0.1, build x", "", 0.0)


def test_builds_and_pushes_take_as_long_as_they_take(project: Path) -> None:
    engine = Engine("unix:///e.sock", "28.0", "amd64", "overlay2", "graph", Path("/d"))
    request = BuildRequest(directory=project / "site", dockerfile="Dockerfile", tags=("own/shop:v1",))
    clock = Clock()
    run_build(request, engine=engine, runner=clock, on_line=lambda _: None)
    push_image(("own/shop:v1",), engine=engine, runner=clock, env={}, on_line=lambda _: None)
    assert clock.limits["docker buildx version"] == 20
    assert clock.limits["docker buildx build"] is None
    assert clock.limits["docker push own/shop:v1"] is None
