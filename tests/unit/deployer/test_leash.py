"""What is read without end on a host ends with its reader."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from deployer.cli.work import leashed


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
