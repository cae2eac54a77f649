"""The deploy lock, held by a real bash as a host would."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployer import lock
from deployer.commands import layout
from deployer.commands import lock as commands
from deployer.lock import _await_taken
from freehold.errors import FreeholdError, HostError, LockedError

OWNER = commands.owner_line("me@here", "deploy v2; it's $HOME", "2026-01-31T12:00:00Z")


class Host:
    """The lock's places, in a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.locks = directory / "locks"
        self.state = directory / "state"

    def own(self, text: str) -> str:
        return text.replace(layout.LOCKS, str(self.locks)).replace(layout.STATE, str(self.state))

    @contextmanager
    def holder(self, owner: str = OWNER, wait: int = 0) -> Iterator[subprocess.Popen[str]]:
        script = self.own(commands.hold_script("shop", owner, wait=wait))
        with subprocess.Popen(
            ["bash", "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            assert process.stdin is not None
            process.stdin.write(script)
            process.stdin.flush()
            yield process
            process.stdin.close()

    def run(self, fragment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", self.own(fragment)], capture_output=True, text=True)

    def status(self) -> str:
        return self.run(commands.status_fragment("shop")).stdout


def said(process: subprocess.Popen[str]) -> tuple[str, dict[str, str]]:
    """What is said of the lock, without how long nobody had it."""
    line = answer(process)
    if line.startswith(f"{commands.IDLE} "):
        line = answer(process)
    state, _, owner = line.partition(" ")
    return state, commands.parse_owner(owner)


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    mark, _, line = process.stdout.readline().partition(" ")
    assert mark == "@@lock"
    return line


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_is_held_while_somebody_is_there_and_free_afterwards(host: Host) -> None:
    with host.holder() as first:
        state, owner = said(first)
        assert state == commands.TAKEN
        assert owner == {"by": "me@here", "why": "deploy v2; it's $HOME", "since": "2026-01-31T12:00:00Z"}
        assert host.status().startswith("running\t")
        with host.holder("{}") as second:
            assert said(second) == (commands.HELD, owner)
            assert second.wait(10) == 75
    assert first.wait(10) == 0
    assert host.status() == ""


def test_somebody_who_looks_is_not_in_the_way(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    # How soon they look away is not what is tried here.
    monkeypatch.setattr(commands, "GLANCE", 30)
    host.locks.mkdir()
    file = host.locks / "shop.lock"
    file.touch()
    look = ["flock", "--shared", str(file), "sh", "-c", "echo; read _"]
    with subprocess.Popen(look, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as glance:
        assert glance.stdin is not None and glance.stdout is not None
        glance.stdout.readline()
        assert host.status() == ""
        with host.holder() as process:
            timer = threading.Timer(0.3, glance.stdin.close)
            timer.start()
            assert said(process)[0] == commands.TAKEN
            timer.join()


def test_whoever_is_killed_leaves_nothing(host: Host) -> None:
    with host.holder() as first:
        said(first)
        first.kill()
        first.wait(10)
    with host.holder() as second:
        assert said(second)[0] == commands.TAKEN


def test_it_can_be_waited_for(host: Host) -> None:
    with host.holder() as first:
        said(first)
        with host.holder(wait=60) as second:
            assert said(second)[0] == commands.HELD
            assert first.stdin is not None
            first.stdin.close()
            assert said(second)[0] == commands.TAKEN


def test_who_takes_it_is_told_for_how_long_nobody_had_it(host: Host) -> None:
    """In time that no clock can change which is set; nothing where the last one was killed."""
    with host.holder() as process:
        assert answer(process).startswith(commands.TAKEN), "nothing is known of a lock that is new"
        before = time.monotonic()
    assert process.wait(10) == 0
    time.sleep(0.3)
    with host.holder() as process:
        word, hundredths = answer(process).split()
        most = (time.monotonic() - before) * 100
        assert answer(process).startswith(commands.TAKEN)
    assert word == commands.IDLE and 28 <= int(hundredths) <= most + 1
    process.wait(10)
    with host.holder() as process:
        said(process)
        process.kill()
        process.wait(10)
    with host.holder() as process:
        assert answer(process).startswith(commands.TAKEN)


@pytest.mark.parametrize(
    "text", ["free x", "free", "free 1;touch /tmp/no", "free a[$(id)]", "words of others"]
)
def test_what_is_no_time_is_none(host: Host, text: str) -> None:
    host.locks.mkdir()
    (host.locks / "shop.lock").write_text(f"{text}\n")
    with host.holder() as process:
        assert answer(process).startswith(commands.TAKEN)


def test_a_lock_taken_on_purpose_stays_until_it_is_released(host: Host) -> None:
    assert host.run(commands.acquire_fragment("shop", OWNER)).returncode == 0
    again = host.run(commands.acquire_fragment("shop", "{}"))
    assert again.returncode == 1 and "it's $HOME" in again.stdout
    assert host.status().startswith("manual\t")
    with host.holder() as process:
        assert said(process)[0] == commands.MANUAL
    host.run(commands.release_fragment("shop"))
    with host.holder() as process:
        assert said(process)[0] == commands.TAKEN


def test_who_has_waited_for_the_lock_takes_the_one_that_stays(host: Host) -> None:
    with host.holder() as mine:
        assert said(mine)[0] == commands.TAKEN
        assert host.run(commands.acquire_fragment("shop", OWNER, held=True)).returncode == 0
        again = host.run(commands.acquire_fragment("shop", "{}", held=True))
        assert commands.parse_refusal(again.stdout.splitlines()) == (commands.MANUAL, json.loads(OWNER))


def test_it_cannot_be_taken_on_purpose_while_somebody_works(host: Host) -> None:
    with host.holder() as first:
        said(first)
        refused = host.run(commands.acquire_fragment("shop", "{}"))
        assert refused.returncode == 1
        refusal = commands.parse_refusal(refused.stdout.splitlines())
        assert refusal is not None and refusal[0] == commands.HELD
        assert refusal[1]["why"] == "deploy v2; it's $HOME"
        assert "manual" not in host.status()
    assert host.run(commands.acquire_fragment("shop", OWNER)).returncode == 0
    again = commands.parse_refusal(host.run(commands.acquire_fragment("shop", "{}")).stdout.splitlines())
    assert again is not None and (again[0], again[1]["by"]) == (commands.MANUAL, "me@here")
    assert commands.parse_refusal(["mkdir: cannot create directory"]) is None


def test_a_place_that_cannot_be_written(host: Host) -> None:
    host.locks.write_text("a file")
    with host.holder() as process:
        assert said(process)[0] == commands.MISSING
        assert process.wait(10) == 73


def test_a_file_that_cannot_be_written_is_not_the_directory(host: Host) -> None:
    (host.locks / "shop.lock").mkdir(parents=True)
    with host.holder() as process:
        state, owner = said(process)
        assert (state, owner) == (commands.CLOSED, {"by": host.locks.owner()})
        assert process.wait(10) == 73


def test_what_is_made_is_the_groups(host: Host) -> None:
    with host.holder() as process:
        said(process)
        assert host.locks.stat().st_mode & 0o777 == 0o775
        assert (host.locks / "shop.lock").stat().st_mode & 0o777 == 0o664


def test_a_script_that_arrives_cut_off_takes_nothing(host: Host) -> None:
    script = host.own(commands.hold_script("shop", OWNER))
    done = subprocess.run(["bash", "-s"], input=script[:-20], capture_output=True, text=True)
    assert "@@lock" not in done.stdout
    assert not host.locks.exists()


class Channel:
    """An SSH channel that says these pieces, then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def recv(self, nbytes: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def settimeout(self, timeout: float | None) -> None:
        pass


def test_the_answer_may_come_in_pieces() -> None:
    assert _await_taken(Channel(b"Welcome\n@@lo", b"ck taken {}", b"\n"), "web-1", 0, None) is None
    assert _await_taken(Channel(b"@@lock id", b"le 1250\n@@lock taken {}\n"), "web-1", 0, None) == 12.5


@pytest.mark.parametrize(
    ("pieces", "kind", "words"),
    [
        ((f"@@lock held {OWNER}\n".encode(),), LockedError, ("web-1: locked by me@here", "deploy v2")),
        ((f"@@lock manual {OWNER}\n".encode(),), LockedError, ("locked by me@here",)),
        ((b"@@lock held \n",), LockedError, ("locked by somebody",)),
        ((b"@@lock missing \n",), HostError, ("web-1", "cannot be written")),
        ((b"@@lock closed anna\n",), HostError, ("web-1", "belongs to anna alone")),
        ((b"bash: not found\n",), LockedError, ("could not be taken",)),
        ((), LockedError, ("could not be taken",)),
    ],
)
def test_why_it_cannot_be_had(
    pieces: tuple[bytes, ...], kind: type[FreeholdError], words: tuple[str, ...]
) -> None:
    with pytest.raises(kind) as caught:
        _await_taken(Channel(*pieces), "web-1", 0, None)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


class Held(Channel):
    """A channel whose command goes on, and reads."""

    closed = False

    def __init__(self, *pieces: bytes) -> None:
        super().__init__(*pieces)
        self.beats = threading.Event()
        self.ended = False

    def exit_status_ready(self) -> bool:
        return False

    def get_transport(self) -> Held:
        return self

    def is_active(self) -> bool:
        return True

    def sendall(self, data: bytes) -> None:
        self.beats.set()

    def shutdown_write(self) -> None:
        self.ended = True


@pytest.mark.parametrize(("idle", "alone"), [(b"100000", True), (b"1", False), (None, False)])
def test_the_lock_is_kept_while_the_hosts_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, idle: bytes | None, alone: bool
) -> None:
    """It may take longer than the host waits, and counts where nobody had the lock for longer than that."""
    monkeypatch.setattr(lock, "BEAT", 0.02)
    monkeypatch.setattr(lock, "LOOK", 0.01)
    said = b"" if idle is None else b"@@lock idle %s\n" % idle
    channel = Held(said + b"@@lock taken {}\n")
    remote: Any = SimpleNamespace(name="web-1", open_channel=lambda _command: contextlib.nullcontext(channel))
    with lock.held(remote, "shop", OWNER, meanwhile=lambda: channel.beats.wait(30)) as held:
        assert channel.beats.is_set() and not held.lost.is_set()
        assert held.alone == alone and not channel.ended
    assert channel.ended


def test_who_waits_is_told_for_whom() -> None:
    told: list[str] = []
    _await_taken(Channel(f"@@lock held {OWNER}\n@@lock taken\n".encode()), "web-1", 5, told.append)
    assert told == ["web-1: locked by me@here since 2026-01-31T12:00:00Z: deploy v2; it's $HOME"]
