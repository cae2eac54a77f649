"""Commands that run on several hosts: what reads without end goes with its reader; whose exit code counts."""

from __future__ import annotations

import io
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.cli.work import LOST, follow_all, leashed, worst
from deployer.endpoint import Endpoint
from deployer.fleet import Fleet
from deployer.remote import Remote
from freehold.command import Context
from freehold.console import Console


def test_it_ends_with_its_reader_and_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    endless = f"echo $$ >>{pids}; while :; do sleep 600 & echo $! >>{pids}; echo begun; wait; done"
    with subprocess.Popen(
        ["bash", "-c", leashed(endless)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None and started.stdin is not None
        assert started.stdout.readline() == "begun\n"
        begun = [int(line) for line in pids.read_text().split()]
        assert len(begun) == 2 and all(alive(pid) for pid in begun)
        started.stdin.close()
        started.wait(10)
    end = time.monotonic() + 10
    while any(alive(pid) for pid in begun):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_ends_by_itself_gives_its_code() -> None:
    done = subprocess.Popen(
        ["bash", "-c", leashed("echo it\\'s; exit 5")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with done:
        assert done.stdout is not None
        assert (done.stdout.readline(), done.wait(10)) == ("it's\n", 5)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(("codes", "code"), [((0, 3, 1), 3), ((0, LOST), 1), ((LOST,), 1), ((), 0)])
def test_a_lost_connection_is_no_success(codes: tuple[int, ...], code: int) -> None:
    assert worst(codes) == code


class Interrupted(Remote):
    """A host during whose command Ctrl-C comes."""

    def follow(self, *_args: Any, **_more: Any) -> int:
        raise KeyboardInterrupt


def test_ctrl_c_is_the_end_of_what_has_none_and_no_success_of_anything_else() -> None:
    console = Console(out=io.StringIO(), err=io.StringIO())
    end = Endpoint("web-1", "127.0.0.1", "root")
    with Fleet({"web-1": end}, console) as fleet:
        fleet.remotes["web-1"] = Interrupted(end)
        context = Context(console=console)
        assert follow_all(context, fleet, [("web-1", "tail -f log")], endless=True) == 0
        with pytest.raises(KeyboardInterrupt):
            follow_all(context, fleet, [("web-1", "docker exec app migrate")])
