"""A finished artifact on trial: the disk as it is, the medium as it is, and the host that comes of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from builder.artifact import Carried, Disk
from builder.assemble import run_tool
from builder.bare import serving
from builder.netboot import MEMORY, SCRIPT
from builder.qemu import SERIAL, SERVER, SPARE_SERIAL, Machine, Medium, Mode
from builder.report import TrialResult, checked
from builder.spec import ImageSpec
from builder.trial import (
    GROWN,
    Trial,
    access,
    check_machine,
    kvm_works,
    own_variables,
    powered,
    reset,
    running,
)
from builder.watch import DONE, Serial, verdict
from builder.wayin import WayIn
from cloudinit.iso import write_iso
from freehold.console import Console
from freehold.errors import BuildError, UsageError
from freehold.files import new_private_dir
from freehold.process import Runner

# What virtio tells of a disk's serial number (VIRTIO_BLK_ID_BYTES).
LONGEST_SERIAL = 20
DEADLINE = 2400.0


@dataclass(frozen=True)
class Bench:
    """Where artifacts are tried: `spec` says of which profile the host is, `work` is private."""

    spec: ImageSpec
    work: Path
    evidence: Path
    runner: Runner
    console: Console

    @property
    def ssh_port(self) -> int:
        """Where the host's sshd listens."""
        return self.spec.profile.ssh.port if self.spec.profile is not None else 22


@dataclass(frozen=True)
class EmptyDisks:
    """The disks of a machine that a rule means: their serial numbers, and bytes of each."""

    serials: tuple[str, ...]
    size: int


def empty_disks(carried: Carried) -> EmptyDisks:
    """Empty disks that the medium's own rule chooses; UsageError for a rule that no such disk fits."""
    rule, count = carried.rule, int(carried.settings["DISKS"])
    if "model" in rule:
        raise _no_disk(f"model={rule['model']}", "QEMU's virtio disks tell no model")
    serials = [SERIAL, SPARE_SERIAL][:count]
    for key, prefix in (("serial", ""), ("by-id", "virtio-")):
        if key in rule:
            names = rule[key].split("/")
            if not all(name.startswith(prefix) for name in names):
                raise _no_disk(f"by-id={rule[key]}", f"QEMU's disks are called {prefix}SERIAL there")
            serials = [name.removeprefix(prefix) for name in names]
    if any(len(name) > LONGEST_SERIAL for name in serials):
        raise _no_disk(
            f"serial={'/'.join(serials)}", f"QEMU's serial numbers have {LONGEST_SERIAL} characters"
        )
    least = max(GROWN, int(carried.settings["LEAST"]), int(rule.get("size>=") or 0))
    size = min(least, int(rule.get("size<=") or least))
    if size < int(carried.settings["LEAST"]):
        raise _no_disk(f"size<={size}", "the image needs more")
    return EmptyDisks(tuple(serials), size)


def _no_disk(rule: str, reason: str) -> UsageError:
    return UsageError(
        f"the medium cannot be tested: no disk on trial fits its rule {rule}: {reason}",
        hint="test one that was made with another --disk",
    )


@contextmanager
def _place(bench: Bench) -> Iterator[Path]:
    """A directory of one boot's own, short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="fh-", dir=bench.work) as name:
        yield new_private_dir(Path(name))


def try_disk(
    disk: Disk, modes: Sequence[Mode], bench: Bench, *, seed: Mapping[str, bytes] | None, way: WayIn | None
) -> Iterator[TrialResult]:
    """Boot an overlay of the disk in each mode. `way` is None where the trial brings its own seed."""
    for mode in modes:
        check_machine(bench.spec.arch, mode)
        with bench.console.step(f"booting {disk.path.name} ({mode})"), _place(bench) as place:
            if way is None:
                port, files = access(place)
            else:
                port, files = way.access(place), dict(seed or {})
            overlay = place / "disk.qcow2"
            base = ("-F", disk.form, "-b", disk.path.absolute())
            run_tool(bench.runner, ("qemu-img", "create", "-q", "-f", "qcow2", *base, overlay))
            if _size(overlay, bench.runner) < GROWN:
                run_tool(bench.runner, ("qemu-img", "resize", "-q", "-f", "qcow2", overlay, str(GROWN)))
            machine = replace(_machine(mode, place, port, disk.kernel, bench), disk=overlay)
            if files:
                write_iso(files, place / "seed.iso")
                machine = replace(machine, seed=place / "seed.iso")
            with _answering(machine, place, way, bench) as trial:
                yield _result(trial, mode, way, bench)


def try_medium(
    carried: Carried,
    modes: Sequence[Mode],
    media: Sequence[Medium],
    bench: Bench,
    way: WayIn,
    *,
    iso: Path | None = None,
    served: Mapping[str, Path] | None = None,
) -> Iterator[TrialResult]:
    """Install on empty disks from the ISO, or from what is `served`, in each way; look at the host."""
    disks = empty_disks(carried)
    evidence = bench.evidence
    for medium in media:
        bench = replace(bench, evidence=evidence / medium if len(media) > 1 else evidence)
        for mode in modes:
            check_machine(bench.spec.arch, mode)
            step = bench.console.step(f"installing {carried.host} from {medium} ({mode})")
            net = serving(dict(served)) if served else nullcontext(0)
            with step, _place(bench) as place, net as port:
                machine = _bare(mode, place, way, disks, carried, bench)
                if port:
                    url = f"http://{SERVER}/{SCRIPT}"
                    machine = replace(machine, boot_file=url, served=port, memory=MEMORY, mac=carried.mac)
                with _installed(
                    replace(machine, medium=iso, medium_as=medium), place, way, carried, bench
                ) as trial:
                    yield replace(_result(trial, mode, way, bench), medium=medium)


def _bare(mode: Mode, place: Path, way: WayIn, disks: EmptyDisks, carried: Carried, bench: Bench) -> Machine:
    paths = [place / f"disk-{number}.qcow2" for number, _ in enumerate(disks.serials)]
    for path in paths:
        run_tool(bench.runner, ("qemu-img", "create", "-q", "-f", "qcow2", path, str(disks.size)))
    return replace(
        _machine(mode, place, way.access(place), carried.kernel, bench),
        disk=paths[0],
        spare=paths[1] if paths[1:] else None,
        serials=(disks.serials[0], disks.serials[-1]),
    )


@contextmanager
def _installed(machine: Machine, place: Path, way: WayIn, carried: Carried, bench: Bench) -> Iterator[Trial]:
    if carried.settings["AFTER"] == "reboot":
        with _answering(machine, place, way, bench) as trial:
            if DONE not in machine.serial.read_text(errors="replace"):
                raise BuildError("the host answers, and the installer never said that it was done")
            yield trial
        return
    # The medium leaves the machine off, or waiting: the operator comes and starts it again.
    name = f"{machine.mode}-install"
    with powered(machine, place, runner=bench.runner, evidence=bench.evidence, name=name) as process:
        said = verdict(Serial(machine.serial, partial(reset, machine)), process)
        if not said.startswith(DONE):
            raise BuildError(f"the installer refused: {said}")
        process.stop()
    with _answering(machine, place, way, bench) as trial:
        yield trial


@contextmanager
def _answering(machine: Machine, place: Path, way: WayIn | None, bench: Bench) -> Iterator[Trial]:
    greeted = None
    if way is not None and way.key is None:
        greeted = partial(way.greeted, machine.port, bench.runner)
    with running(
        machine,
        place,
        runner=bench.runner,
        evidence=bench.evidence,
        deadline=DEADLINE,
        greeted=greeted,
    ) as trial:
        yield trial


def _machine(mode: Mode, place: Path, port: int, kernel: Path | None, bench: Bench) -> Machine:
    return Machine(
        arch=bench.spec.arch,
        mode=mode,
        disk=place,
        seed=None,
        serial=place / "serial.log",
        monitor=place / "qmp",
        port=port,
        variables=own_variables(bench.spec.arch, mode, place),
        kvm=kernel is not None and kvm_works(bench.spec.arch, kernel, bench.runner),
        ssh_port=bench.ssh_port,
    )


def _result(trial: Trial, mode: Mode, way: WayIn | None, bench: Bench) -> TrialResult:
    if way is not None and way.key is None:
        known = "with the host key of its seed" if way.host_key else "with a host key of its own"
        bench.console.warn(f"{mode}: it answers {known}; without --key nothing inside was checked")
        return TrialResult(mode, trial.seconds, ())
    return checked(trial, bench.spec, mode) if way is None else checked(trial, bench.spec, mode, way.keyed)


def _size(disk: Path, runner: Runner) -> int:
    return int(
        json.loads(run_tool(runner, ("qemu-img", "info", "--output=json", disk)).stdout)["virtual-size"]
    )
