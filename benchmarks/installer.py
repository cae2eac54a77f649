"""How fast the installer writes its image, against `zstd -dc | dd` of the same file in the same machine.

The installer's own kernel and initramfs start in QEMU with the image in memory and two empty disks. A boot
script of this benchmark takes the place of the installer's, and runs the installer's own functions.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.assemble import run_tool
from builder.cpio import copy, file, with_folders, write
from builder.installer import PACKED, build_live
from builder.qemu import Machine
from builder.spec import GiB, ImageSpec
from builder.trial import kvm_works, powered
from builder.watch import console_tail
from freehold.console import Console
from freehold.process import LocalRunner

# The installer may take so much longer or shorter than dd.
LIMIT = 0.10
ROUNDS = 3
DEADLINE = 1500
DONE = "MEASURED"

# In the initramfs, in place of mounting a root. bash comes with the installer.
BOOT_SCRIPT = """\
mountroot()
{
    export PATH=/freehold/tools:/usr/sbin:/usr/bin:/sbin:/bin
    exec /freehold/tools/bash /freehold/measure.sh
}
"""
MEASURE = f"""\
. /freehold/install.sh
say() {{ :; }}
medium=/freehold/medium
udevadm settle
begin $medium/image.map
took() {{ echo "RATE $1 $TOTAL $(( (${{EPOCHREALTIME/./}} - start) / 1000 ))" > /dev/ttyS0; }}
plain() {{
    zstd -dcq $medium/image.zst | dd of=/dev/vda bs=1M iflag=fullblock conv=notrunc status=none
    sync
}}
ours() {{ zstd -dcq $medium/image.zst | put /dev/vdb $medium/image.map; }}
# Once each unmeasured: the disks' files grow, and the tools come into memory.
plain; ours
for (( round = 0; round < {ROUNDS}; round++ )); do
    start=${{EPOCHREALTIME/./}}; plain; took dd
    begin $medium/image.map
    start=${{EPOCHREALTIME/./}}; ours; took installer
done
begin $medium/image.map
start=${{EPOCHREALTIME/./}}; check /dev/vdb $medium/image.map; took verify
echo {DONE} > /dev/ttyS0
while :; do sleep 3600; done
"""


@dataclass(frozen=True)
class Result:
    """Milliseconds of each round, by what was measured; `size` in bytes, unpacked."""

    size: int
    taken: dict[str, list[int]]

    @property
    def ratio(self) -> float:
        """The installer's time as a share of dd's."""
        return statistics.median(self.taken["installer"]) / statistics.median(self.taken["dd"])

    @property
    def good(self) -> bool:
        """Whether the installer is no slower than dd, within the limit."""
        return self.ratio <= 1 + LIMIT

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {"bytes": self.size, "milliseconds": self.taken, "ratio": self.ratio, "good": self.good}

    def as_text(self) -> str:
        """For people."""
        lines = [
            f"{name:10} {statistics.median(taken) / 1000:6.1f} s  "
            f"{self.size / 1000 / statistics.median(taken):6.1f} MB/s  (rounds: {taken} ms)"
            for name, taken in self.taken.items()
        ]
        lines.append(
            f"{'kept' if self.good else 'MISSED'}: at dd's speed within {LIMIT:.0%} ({self.ratio:.2f})"
        )
        return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--suite", default="trixie")


def run(options: argparse.Namespace) -> Result:
    """Start the machine, and read from its serial line what it measured."""
    runner = LocalRunner()
    live = build_live(ImageSpec(options.suite), runner=runner, console=Console(quiet=True))
    with tempfile.TemporaryDirectory(prefix="fh-installer-") as name:
        place = Path(name)
        initrd = place / "initrd"
        entries = [copy(f"freehold/medium/{part}", live.directory / part) for part in PACKED]
        entries += [file("freehold/measure.sh", MEASURE.encode())]
        entries += [file("scripts/measure", BOOT_SCRIPT.encode())]
        with initrd.open("wb") as stream:
            stream.write((live.directory / "initrd.img").read_bytes())
            write(stream, with_folders(entries))
        disks = [place / "disk.qcow2", place / "spare.qcow2"]
        for disk in disks:
            run_tool(runner, ("qemu-img", "create", "-q", "-f", "qcow2", disk, str(6 * GiB)))
        machine = Machine(
            arch="amd64",
            mode="direct",
            disk=disks[0],
            spare=disks[1],
            seed=None,
            serial=place / "serial.log",
            monitor=place / "qmp",
            port=0,
            kernel=live.directory / "vmlinuz",
            initrd=initrd,
            cmdline="boot=measure quiet loglevel=3 console=ttyS0,115200n8",
            memory=2560,
            kvm=kvm_works(live.image.arch, live.image.kernel, runner),
        )
        with powered(machine, place, runner=runner, evidence=None):
            return _read(machine.serial)


def _read(serial: Path) -> Result:
    started = time.monotonic()
    text = ""
    while DONE not in text:
        if time.monotonic() - started > DEADLINE:
            raise SystemExit("the machine measured nothing:\n" + os.linesep.join(console_tail(serial)))
        time.sleep(1)
        text = serial.read_text(errors="replace") if serial.exists() else ""
    found = re.findall(r"RATE (\w+) (\d+) (\d+)", text)
    taken: dict[str, list[int]] = {}
    for name, _, milliseconds in found:
        taken.setdefault(name, []).append(int(milliseconds))
    return Result(int(found[0][1]), taken)
