"""A machine's disk, with the real qemu-img."""

import json
from pathlib import Path

from freehold.environment import which
from freehold.process import LocalRunner
from lab.machine import forget_strays
from tests.conftest import cannot_run


def test_a_disk_forgets_what_libvirt_does_not_know(tmp_path: Path) -> None:
    if which("qemu-img") is None:
        cannot_run("unit", "qemu-img is not installed")
    runner, disk = LocalRunner(), tmp_path / "disk.qcow2"
    runner.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"])
    for name in ("known", "clean", "clean..1"):
        runner.run(["qemu-img", "snapshot", "-q", "-c", name, disk])
    forget_strays(disk, ("known",), runner)
    found = json.loads(runner.run(["qemu-img", "info", "--output=json", disk]).stdout)
    assert [item["name"] for item in found["snapshots"]] == ["known"]
    forget_strays(disk, (), runner)
    assert "snapshots" not in json.loads(runner.run(["qemu-img", "info", "--output=json", disk]).stdout)
