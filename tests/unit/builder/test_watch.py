"""Machines that will not answer: noticed by their console, not by the clock alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.watch import LAST, LOST_TICKS, REFUSED, RESETS, Serial, await_answer, stuck, verdict
from freehold.errors import BuildError
from freehold.process import LocalRunner

DISKS = "\r\n\r\nDisks of this machine:\r\n  vda\r\n"
REFUSAL = f"\r\n{REFUSED} no disk matches the rule{DISKS}Switch off, or {LAST}.\r\n"


def waited(tmp_path: Path, console: str, seconds: str = "60", **options: float) -> float:
    serial = tmp_path / "serial.log"
    serial.write_text(console)
    with LocalRunner().start(("sleep", seconds), stdout=tmp_path / "qemu.log") as process:
        limits = {"deadline": 30.0, "silence": 30.0, "pause": 0.01, **options}
        log = tmp_path / "qemu.log"
        return await_answer(Serial(serial), process, lambda: "login:" in console, log=log, **limits)


def test_an_answer_ends_the_wait(tmp_path: Path) -> None:
    assert waited(tmp_path, "web-1 login:") < 10


@pytest.mark.parametrize(
    ("console", "reason"),
    [
        (REFUSAL, "refused: NOT INSTALLED: no disk matches the rule"),
        ("[1.0] Kernel panic - not syncing: VFS\n", "the kernel panicked"),
        ("error: no such device.\ngrub rescue> ", "GRUB found no system"),
        ("Gave up waiting for root file system device.\n", "did not find the root"),
    ],
)
def test_a_console_that_shows_the_end_is_believed(tmp_path: Path, console: str, reason: str) -> None:
    with pytest.raises(BuildError, match=reason) as caught:
        waited(tmp_path, console)
    assert caught.value.details[-1].strip() == console.splitlines()[-1].strip()


def test_a_refusal_in_the_middle_of_its_list_is_no_end_yet() -> None:
    assert stuck(REFUSAL[: REFUSAL.index("Switch")]) == ""
    assert "no disk matches" in stuck(REFUSAL)


def test_a_firmware_that_finds_nothing_says_so() -> None:
    """In the words of OVMF; test_images.py has them from OVMF itself."""
    assert stuck("UEFI Interactive Shell v2.2") == "the firmware found nothing to start"
    assert stuck("BdsDxe: No bootable option or device was found.") == "the firmware found nothing to start"


def test_silence_and_the_deadline_end_it_too(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="silent for 0 s"):
        waited(tmp_path, "Welcome to GRUB!", silence=0.1)
    with pytest.raises(BuildError, match="not within 0 s"):
        waited(tmp_path, "Welcome to GRUB!", deadline=0.1)


def test_a_machine_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="QEMU ended"):
        waited(tmp_path, "", seconds="0")
    with LocalRunner().start(("true",)) as process, pytest.raises(BuildError, match="came to no end"):
        verdict(Serial(tmp_path / "serial.log"), process)


def test_a_kernel_that_lost_its_ticks_is_started_anew(tmp_path: Path) -> None:
    serial, panic = tmp_path / "serial.log", f"Kernel panic - not syncing: {LOST_TICKS}!\n"
    resets: list[str] = []

    def reset() -> None:
        resets.append("reset")
        with serial.open("a") as file:
            file.write("login:" if len(resets) > 1 else panic)

    def late() -> None:
        """The rest of the panic's report comes after the button was pressed."""
        with serial.open("a") as file:
            file.write(f"---[ end Kernel panic - not syncing: {LOST_TICKS}! ]---\nBIOS\n")

    serial.write_text("Kernel panic - not syncing: IO-APIC + tim")
    assert Serial(serial, late).read() == ""
    serial.write_text(panic)
    console = Serial(serial, late)
    assert (console.read(), console.read()) == ("\nBIOS\n",) * 2
    assert serial.read_text().count("BIOS") == 1

    def again() -> None:
        serial.write_text(serial.read_text() + panic)

    serial.write_text(panic)
    console = Serial(serial, reset)
    with LocalRunner().start(("sleep", "60")) as process:
        await_answer(
            console, process, lambda: "login:" in console.read(), log=tmp_path / "log", deadline=30.0
        )
        assert resets == ["reset"] * 2 and console.read() == "login:"
        serial.write_text(panic)
        hopeless = Serial(serial, again)
        with pytest.raises(BuildError, match="the kernel panicked"):
            await_answer(hopeless, process, lambda: False, log=tmp_path / "log", deadline=30.0)
    assert serial.read_text().count(LOST_TICKS) == 1 + RESETS
