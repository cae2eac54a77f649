"""KVM or emulation: found by running a real guest, once per boot of this computer.

/dev/kvm may exist and open, and a machine still not start on it (nested virtualisation that the outer
hypervisor half supports). So a guest of one sector is booted: it writes to QEMU's exit device at once. Where
that takes long it is emulated too: each exit from a guest can take so long that emulation is many times as
fast, and that a kernel does not come up in a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from freehold.environment import which
from freehold.errors import LabError, ProcessError, ProcessTimeout
from freehold.files import write_atomic
from freehold.paths import cache_dir
from freehold.process import Runner
from lab.domain import Accelerator

DEVICE = Path("/dev/kvm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DEADLINE = 15.0
# Seconds that a guest on KVM may take without being compared; usually it takes a tenth. Beyond, it must not
# take so many times what it takes emulated: a busy computer is slow with both.
SOON = 1.0
TIMES = 4.0
# mov al, 0x10; out 0xf4, al; hlt; jmp back to hlt. QEMU's isa-debug-exit ends with (0x10 << 1) | 1.
PROBE_CODE = bytes([0xB0, 0x10, 0xE6, 0xF4, 0xF4, 0xEB, 0xFD])
PROBE_EXIT = 33


@dataclass(frozen=True)
class Choice:
    """What to run machines on, and why it is not KVM (empty where it is)."""

    accelerator: Accelerator
    reason: str = ""


def emulator(arch: str = "x86_64") -> Path:
    """QEMU for the architecture; LabError where it is not installed."""
    found = which(f"qemu-system-{arch}")
    if found is None:
        raise LabError(
            f"qemu-system-{arch} is not installed", hint="`make setup` installs what Freehold needs"
        )
    return found


def boot_sector() -> bytes:
    """The 512 bytes that a BIOS loads and runs."""
    return PROBE_CODE.ljust(510, b"\0") + b"\x55\xaa"


def choose(runner: Runner, *, cache: Path | None = None) -> Choice:
    """KVM where a guest boots on it, else TCG; the answer is kept until this computer boots again."""
    if not DEVICE.exists():
        return Choice("tcg", f"this computer has no {DEVICE}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Choice("tcg", f"this user may not open {DEVICE} (join the group kvm)")
    qemu = emulator()
    key = f"{BOOT_ID.read_text().strip()} {qemu} {qemu.stat().st_mtime_ns} {os.getuid()} {SOON:g} {TIMES:g}"
    kept = (cache or cache_dir()) / "lab" / "accelerator.json"
    try:
        found = json.loads(kept.read_text())
        if found["key"] == key:
            return Choice("kvm" if found["kvm"] else "tcg", found["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    reason = _probe(qemu, runner)
    write_atomic(kept, json.dumps({"key": key, "kvm": not reason, "reason": reason}) + "\n")
    return Choice("tcg" if reason else "kvm", reason)


def _probe(qemu: Path, runner: Runner) -> str:
    """Boot the probe on KVM; the reason why it did not, or is no use, or nothing."""
    with TemporaryDirectory(prefix="freehold-kvm-") as folder:
        sector = Path(folder) / "probe.img"
        sector.write_bytes(boot_sector())

        def boots(accelerator: Accelerator) -> tuple[float, str]:
            started = time.monotonic()
            try:
                command = probe_command(qemu, sector, accelerator)
                done = runner.run(command, timeout=DEADLINE, check=False, cwd=Path(folder))
            except ProcessTimeout:
                return DEADLINE, f"a guest on KVM did not start within {DEADLINE:g} s"
            except ProcessError as exc:
                return DEADLINE, exc.message
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            said = lines[0] if lines else f"exit code {done.returncode}"
            wrong = f"a guest does not start on KVM: {said}" if done.returncode != PROBE_EXIT else ""
            return time.monotonic() - started, wrong

        took, reason = boots("kvm")
        if reason or took < SOON:
            return reason
        emulated, reason = boots("tcg")
        return "" if reason else slower(took, emulated)


def slower(took: float, emulated: float) -> str:
    """The reason not to use KVM, where a guest takes many times the seconds that it takes emulated."""
    if took < TIMES * emulated:
        return ""
    return f"a guest on KVM starts {took / emulated:.0f} times slower than an emulated one ({took:.1f} s)"


def probe_command(qemu: Path, sector: Path, accelerator: Accelerator = "kvm") -> tuple[str, ...]:
    """The command that boots the probe; it exits with PROBE_EXIT when the guest ran."""
    return (
        str(qemu),
        *("-accel", accelerator, "-machine", "pc", "-cpu", "host" if accelerator == "kvm" else "max"),
        *("-m", "16", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        *("-drive", f"file={sector},format=raw,if=floppy,readonly=on", "-boot", "a"),
    )
