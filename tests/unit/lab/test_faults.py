"""What faults do inside of a machine, done to a small file system in a namespace of its own."""

from pathlib import Path

from builder.sandbox import Sandbox
from lab.faults import fill_script

MiB = 1024 * 1024


def test_a_disk_that_was_filled_can_be_filled_further(sandbox: Sandbox, tmp_path: Path) -> None:
    script = """
mount -t tmpfs -o size=8m tmpfs "$1"
for fill in "${@:2}"; do
    bash -c "$fill"
    df --output=avail -B1 "$1" | tail -n 1
done
"""
    calls = [fill_script(leave, str(tmp_path), f"{tmp_path}/fill") for leave in (4 * MiB, MiB, MiB, 0)]
    done = sandbox.run(script, tmp_path, *calls, epoch=0, what="x")
    assert [int(line) for line in done.stdout.split()] == [4 * MiB, MiB, MiB, 0]
