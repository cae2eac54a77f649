from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.environment import user_name
from freehold.errors import ProcessError, ProcessTimeout, ProgramMissing
from freehold.process import LocalRunner, paste
from freehold.secret import Secret

DEADLINE = 60.0


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Callable[[], object]) -> None:
    """Wait for something that comes by itself."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_output_streams_and_is_kept() -> None:
    seen: list[str] = []
    done = LocalRunner().run(["sh", "-c", "echo a; echo b >&2; printf c"], on_line=seen.append)
    assert (done.stdout, done.stderr, sorted(seen)) == ("a\nc", "b\n", ["a", "b", "c"])


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")
    out = LocalRunner().run(["env"], env={"GIVEN": Secret("s3cret")}).stdout
    assert "GIVEN=s3cret" in out and "LEAKED" not in out and "LC_ALL=C.UTF-8" in out


def test_clients_see_what_leads_them_to_their_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        "ACTIONS_RUNTIME_TOKEN",
        "AWS_PROFILE",
        "DOCKER_CERT_PATH",
        "DOCKER_TLS_VERIFY",
        "GIT_SSH_COMMAND",
    }
    for name in (*names, "GIT_DIR", "ACTION", "HTTPS_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "x")
    for program in ("docker", "git", "printenv"):
        (tmp_path / program).write_text("#!/bin/sh\nenv\n")
        (tmp_path / program).chmod(0o755)
        lines = LocalRunner().run([tmp_path / program], env={"AWS_PROFILE": "given"}).stdout.splitlines()
        seen = {line.partition("=")[0] for line in lines}
        assert seen & names == ({"AWS_PROFILE"} if program == "printenv" else names)
        assert "AWS_PROFILE=given" in lines and {"HTTPS_PROXY", "no_proxy"} <= seen
        assert not seen & {"GIT_DIR", "ACTION"}


def test_who_runs_this_needs_no_entry_among_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_name({"USER": "anna"}) == "anna"
    monkeypatch.setattr(os, "getuid", lambda: 2_000_000_011)
    assert user_name({"USER": ""}) == "2000000011"


def test_stdin_is_closed_or_given() -> None:
    runner = LocalRunner()
    assert runner.run(["cat"], timeout=10).stdout == ""
    assert runner.run(["cat"], stdin="text").stdout == "text"
    assert runner.run(["true"], stdin=b"x" * 1_000_000).returncode == 0


def test_failure_carries_the_tail() -> None:
    with pytest.raises(ProcessError) as caught:
        LocalRunner().run(["sh", "-c", "echo why >&2; exit 7"])
    assert caught.value.returncode == 7
    assert caught.value.details == ("why",)
    assert "exit code 7" in caught.value.message


def test_missing_program_and_directory(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program"):
        LocalRunner().run(["no-such-program"])
    with pytest.raises(ProcessError, match="not a directory"):
        LocalRunner().run(["true"], cwd=tmp_path / "none")


def test_deadline_ends_the_whole_tree(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with pytest.raises(ProcessTimeout):
        LocalRunner().run(["sh", "-c", f"sleep 300 & echo $! > {pidfile}; wait"], timeout=5)
    child = int(pidfile.read_text())
    until(lambda: not alive(child))


def test_interrupt_ends_the_child(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    code = (
        "from freehold.process import LocalRunner\n"
        f"LocalRunner().run(['sh', '-c', 'echo $$ > {pidfile}; exec sleep 300'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    until(lambda: pidfile.exists() and pidfile.read_text().strip())
    os.kill(process.pid, 2)
    process.wait(20)
    assert not alive(int(pidfile.read_text()))


@pytest.mark.parametrize("background", [False, True])
def test_interrupt_right_after_the_fork_ends_the_child(
    background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python has not noted the child's number yet when the signal comes."""
    pids = []
    fork = subprocess._fork_exec  # type: ignore[attr-defined]

    def interrupted(*args: object) -> int:
        pids.append(fork(*args))
        signal.raise_signal(signal.SIGINT)
        return int(pids[-1])

    monkeypatch.setattr(subprocess, "_fork_exec", interrupted)
    runner = LocalRunner()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        (runner.start if background else runner.run)(["sleep", "300"])
    assert len(pids) == 1 and not alive(pids[0])
    assert signal.getsignal(signal.SIGINT) is handler


def test_background_process_stops(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with LocalRunner().start(["sh", "-c", "echo up; exec sleep 300"], stdout=log) as process:
        until(lambda: "up" in log.read_text())
        assert process.poll() is None
        pid = process.pid
    assert not alive(pid)


def test_secrets_stay_out_of_argv() -> None:
    with pytest.raises(TypeError, match="argv"):
        LocalRunner().run(["echo", Secret("x")])
    assert paste(["docker", "run", "a b"], {"TOKEN": Secret("hush")}) == "TOKEN='[redacted]' docker run 'a b'"


def test_callback_failure_reaches_the_caller() -> None:
    def broken(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="boom"):
        LocalRunner().run(["echo", "boom"], on_line=broken)


def test_stdout_to_takes_bytes(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as stream:
        done = LocalRunner().run(["printf", "\\377"], stdout_to=stream)
    assert (tmp_path / "f").read_bytes() == b"\xff" and done.stdout == ""
