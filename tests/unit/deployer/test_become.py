"""Becoming root with a password on standard input, against programs that stand in for sudo."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployer.become import Become
from freehold.secret import Secret

# It reads its password line byte by byte, as sudo does, and leaves the rest to the command.
ASKS = '#!/bin/sh\n[ "$*" = "${*#-k -S}" ] && exit 9\nread -r given\n[ "$given" = "right one" ] || exit 1\n'
ASKS_NOT = "#!/bin/sh\n"
RUN = 'while [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'


def run(tmp_path: Path, sudo: str, become: Become, words: str, data: str) -> subprocess.CompletedProcess[str]:
    program = tmp_path / "sudo"
    program.write_text(sudo + RUN)
    program.chmod(0o755)
    return subprocess.run(
        ["sh", "-c", become.command(words)],
        input=become.head + data,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("words", ["bash -s", "sh -c 'sh -s'"])
def test_the_command_reads_what_comes_after_the_password(tmp_path: Path, words: str) -> None:
    become = Become(sudo=True, password=Secret("right one"))
    done = run(tmp_path, ASKS, become, words, "echo \"it's\" $((1 + 1))\ncat <<'END'\n$x\nEND\n")
    assert (done.stdout, done.stderr, done.returncode) == ("it's 2\n$x\n", "", 0)


def test_a_wrong_password_runs_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, ASKS, Become(sudo=True, password=Secret("wrong")), "bash -s", "echo ran\n")
    assert (done.stdout, done.returncode) == ("", 1)


def test_a_sudo_that_does_not_ask_never_hands_the_password_to_the_command(tmp_path: Path) -> None:
    become = Become(sudo=True, password=Secret("echo leaked"))
    done = run(tmp_path, ASKS_NOT, become, "bash -s", "echo ran\n")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 97)


def test_root_and_a_sudo_without_a_password_need_no_head() -> None:
    assert (Become().command("bash -s"), Become().head) == ("bash -s", "")
    assert (Become(sudo=True).command("bash -s"), Become(sudo=True).head) == ("sudo -n -- bash -s", "")
    become = Become(sudo=True, password=Secret("hunter2"))
    assert "hunter2" not in become.command("bash -s")
    assert "hunter2" not in repr(become)
