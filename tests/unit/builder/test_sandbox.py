"""The sandbox for real: what it isolates, what it reports, what it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.assemble import check_foreign, check_programs, check_space
from builder.sandbox import Sandbox, argv, explain, telling
from freehold.errors import BuildError


def test_is_root_in_its_own_process_tree(sandbox: Sandbox) -> None:
    done = sandbox.run('id -u; echo $$; echo "$1"; echo "$SOURCE_DATE_EPOCH"', "a b", epoch=7, what="x")
    assert done.stdout.splitlines() == ["0", "1", "a b", "7"]


def test_mounts_are_not_seen_outside(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.run('mount -t tmpfs tmpfs "$1" && touch "$1/inside"', tmp_path, epoch=0, what="x")
    assert list(tmp_path.iterdir()) == []


def test_overlay_records_only_what_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "kept").write_text("kept")
    (lower / "gone").write_text("gone")
    script = """
overlay "$1" "$2/upper" "$2/work" "$2/root"
rm "$2/root/gone"
echo new > "$2/root/new"
umount "$2/root"
both "$1" "$2/upper" "$2/both"
ls "$2/both"
"""
    done = sandbox.run(script, lower, tmp_path, epoch=0, what="x")
    assert done.stdout.split() == ["kept", "new"]
    assert sorted(path.name for path in (tmp_path / "upper").iterdir()) == ["gone", "new"]
    assert (lower / "gone").exists()


def test_failure_names_what_failed_and_shows_why(sandbox: Sandbox) -> None:
    with pytest.raises(BuildError) as caught:
        sandbox.run("echo some words >&2; false", epoch=0, what="cooking")
    assert "cooking failed" in str(caught.value)
    assert caught.value.details == ("some words",)


def test_deadline_ends_everything(sandbox: Sandbox) -> None:
    with pytest.raises(BuildError, match="sleeping failed"):
        sandbox.run("sleep 600", epoch=0, what="sleeping", timeout=0.5)


def test_remove(sandbox: Sandbox, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(tmp_path)
    sandbox.remove(tree)
    assert list(tmp_path.iterdir()) == []


def test_other_users_get_a_user_namespace() -> None:
    assert "--user" not in argv(privileged=True)
    assert {"--user", "--map-root-user", "--map-auto"} <= set(argv(privileged=False))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("E: Unable to locate package foo", "package name"),
        ("tar: x: No space left on device", "disk space"),
        ("  Temporary failure resolving 'mirror'", "network"),
        ("unshare: write failed /proc/self/uid_map: Operation not permitted", "user namespaces"),
        ("something else", ""),
    ],
)
def test_causes_are_explained(line: str, word: str) -> None:
    assert word in explain(("a line", line))
    assert bool(word) == bool(explain((line,)))


def test_errors_of_apt_stand_alone() -> None:
    lines = [
        "I: running apt",
        "E: Unable to locate package foo",
        "E: setup failed: E: apt-get ...",
        "E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> failed",
        "E: apt download failed: E: apt-get --yes install foo -oDpkg::Use-Pty=false failed",
        "I: main() received",
    ]
    assert telling(lines) == ("E: Unable to locate package foo",)
    assert telling([str(number) for number in range(30)]) == tuple(str(number) for number in range(10, 30))


def test_missing_programs_are_named_by_package() -> None:
    with pytest.raises(BuildError) as caught:
        check_programs(find=lambda _: None)
    assert "mmdebstrap" in str(caught.value)
    assert "apt-get install" in caught.value.hint
    check_programs(find=lambda name: Path("/usr/bin") / name)


def test_too_little_space(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(BuildError, match="free, and the build needs"):
        check_space(tmp_path, 1 << 60)


def test_a_foreign_architecture_needs_an_interpreter(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="programs of arm64 do not run on this machine"):
        check_foreign("arm64", "x86_64", tmp_path)
    (tmp_path / "qemu-aarch64").touch()
    check_foreign("arm64", "x86_64", tmp_path, lambda name: Path("/usr/bin") / name)
    with pytest.raises(BuildError, match="needs arch-test"):
        check_foreign("arm64", "x86_64", tmp_path, lambda _: None)
    check_foreign("amd64", "x86_64", tmp_path / "missing")
