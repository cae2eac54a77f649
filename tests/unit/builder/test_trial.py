"""The machines on trial: what they start from, and what their network reaches."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder import report, trial
from builder.disk import identity, layout
from builder.image import Image
from builder.installer import Live
from builder.qemu import CLIENT, SERVER, Machine, qemu
from builder.report import TrialResult, check_medium, install_trials, judged, on_trial, trials
from builder.spec import ARCHES, GiB, ImageSpec
from builder.trial import powered, seeded
from cloudinit.facts import Facts
from cloudinit.profile import parse_profile
from freehold.console import Console
from freehold.errors import BuildError, UsageError
from freehold.process import LocalRunner

PLACE = Path("/trial")
MACHINE = Machine(
    arch="amd64",
    mode="bios",
    disk=PLACE / "disk.qcow2",
    seed=None,
    serial=PLACE / "serial.log",
    monitor=PLACE / "qmp",
    port=2222,
)


def netdev(machine: Machine) -> str:
    words = qemu(machine)
    return words[words.index("-netdev") + 1]


def test_the_network_reaches_nothing_but_what_is_served() -> None:
    assert netdev(MACHINE) == "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"
    assert netdev(replace(MACHINE, ssh_port=2200)).endswith("127.0.0.1:2222-:2200")
    served = netdev(replace(MACHINE, served=8080, boot_file=f"http://{SERVER}/boot.ipxe"))
    assert ",restrict=on," in served
    assert f"guestfwd=tcp:{SERVER}:80-cmd:{sys.executable} -m builder.relay 8080" in served


def test_the_card_goes_first_where_the_machine_starts_from_the_network() -> None:
    assert "virtio-net-pci,netdev=net0" in qemu(MACHINE)
    assert "virtio-net-pci,netdev=net0,bootindex=1" in qemu(replace(MACHINE, boot_file="http://x/"))


def test_an_arm_machine_signs_pointers_the_quick_way() -> None:
    words = qemu(replace(MACHINE, arch="arm64", mode="direct"))
    assert words[words.index("-cpu") + 1] == "max,pauth-impdef=on"


def test_a_seed_by_smbios_or_by_the_kernel(tmp_path: Path) -> None:
    files = {"user-data": b"#cloud-config\n", "meta-data": b"instance-id: x\n", "vendor-data": b""}
    with seeded(MACHINE, files, "smbios", tmp_path) as ready:
        words = qemu(ready)
        assert words[words.index("-smbios") + 1] == f"type=1,serial=ds=nocloud-net;s=http://{SERVER}/"
        assert ready.seed is None and ready.served
    with seeded(replace(MACHINE, cmdline="quiet"), files, "kernel", tmp_path) as ready:
        assert ready.cmdline == f"quiet ds=nocloud-net;s=http://{SERVER}/"
    with seeded(MACHINE, files, "disk", tmp_path) as ready:
        assert ready.seed == tmp_path / "seed.iso" and ready.seed.is_file() and not ready.served


def test_the_relay_carries_both_directions_and_ends_with_the_server() -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(100))
                connection.sendall(b"x" * 300_000)

        thread = threading.Thread(target=answer)
        thread.start()
        argv = (sys.executable, "-m", "builder.relay", str(server.getsockname()[1]))
        done = subprocess.run(argv, input=b"GET /\n", capture_output=True, timeout=30, check=True)
        thread.join()
    assert heard == [b"GET /\n"]
    assert done.stdout == b"x" * 300_000


def test_a_kernel_without_usb_is_not_tried_from_usb() -> None:
    """It would find no medium, after minutes, and say so on a console that nobody reads."""
    with pytest.raises(UsageError, match="knows no USB"):
        install_trials(None, ImageSpec(), ("bios",), "usb", runner=None, console=None, evidence=PLACE)  # type: ignore[arg-type]


def test_a_kernel_without_sata_is_not_tried_from_a_cd() -> None:
    """Debian 12's cloud kernel has none; that of Debian 13 has, and so do the generic ones."""
    with pytest.raises(UsageError, match="bookworm knows no SATA"):
        check_medium(ImageSpec("bookworm"), ("bios",), "cd")
    check_medium(ImageSpec("bookworm", kernel="generic"), ("bios",), "cd")
    check_medium(ImageSpec("bookworm"), ("bios",), "disk")
    check_medium(ImageSpec("trixie"), ("bios",), "cd")


def test_what_failed_leaves_its_console_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(MACHINE, serial=tmp_path / "serial.log", monitor=tmp_path / "qmp")
    machine.serial.write_text("Kernel panic\n")
    monkeypatch.setattr(trial, "qemu", lambda machine: ("sleep", "60"))
    with pytest.raises(BuildError) as caught:  # noqa: SIM117
        with powered(machine, tmp_path, runner=LocalRunner(), evidence=tmp_path / "kept"):
            raise BuildError("no answer")
    assert (tmp_path / "kept/bios.log").read_text() == "Kernel panic\n"
    assert str(tmp_path / "kept/bios.log") in caught.value.__notes__[0]


def test_an_unsigned_ipxe_is_not_for_secure_boot() -> None:
    with pytest.raises(UsageError, match="not signed"):
        install_trials(None, None, ("secure",), "net", runner=None, console=None, evidence=PLACE)  # type: ignore[arg-type]


PROFILE = parse_profile("ssh: {port: 2200, allow: [203.0.113.0/24]}")


def test_a_machine_is_asked_where_its_profile_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a computer that the profile may not let in."""
    spec = on_trial(ImageSpec(profile=PROFILE))
    asked: list[int] = []

    @contextmanager
    def boot(*_words: object, ssh_port: int = 22, **_more: object) -> Iterator[None]:
        asked.append(ssh_port)
        yield

    monkeypatch.setattr(report, "booted", boot)
    monkeypatch.setattr(report, "installed", boot)
    monkeypatch.setattr(report, "checked", lambda trial, spec, mode: TrialResult(mode, 1.0, ()))
    image = Image(PLACE, "k", "trixie", "amd64", PLACE, PLACE, PLACE, "", PLACE, 0)
    live = Live("k", PLACE, layout(2 * GiB, ARCHES["amd64"], identity("x")), image)
    told: dict[str, Any] = {"runner": LocalRunner(), "console": Console(quiet=True), "evidence": PLACE}
    trials(image, spec, ("bios",), **told)
    install_trials(live, spec, ("bios",), "disk", **told)
    assert asked == [2200, 2200]


def test_only_a_profile_that_shuts_others_out_is_tried_with_one_more() -> None:
    assert on_trial(ImageSpec()) == ImageSpec()
    plain = ImageSpec(profile=parse_profile("ssh: {port: 2200}"))
    assert on_trial(plain) == plain
    tried = on_trial(ImageSpec(profile=PROFILE)).profile
    assert tried is not None
    assert [str(network) for network in tried.ssh.allow] == ["203.0.113.0/24", f"{CLIENT}/32"]


def test_only_who_is_given_a_key_has_to_have_one() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJyb2tlbmJyb2tlbmJyb2tlbmJyb2tlbmJyb2tlbmJy"
    profile = parse_profile(f"users: [deploy, {{name: ops, keys: '{key}'}}]")

    def said(there: str, *keyed: str) -> str:
        (found,) = (one for one in judged(Facts({"keys": there}), profile, keyed) if one.id == "keys")
        return found.detail

    both = f"deploy AAAA\nops {key.split()[1]}"
    assert said(both, "deploy") == said(both.partition("\n")[2], "vagrant") == ""
    assert said(both.partition("\n")[2], "deploy") == "deploy has no key"
    assert said("deploy AAAA", "vagrant").startswith("ops has no key")
