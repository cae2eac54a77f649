"""Finished artifacts on trial: what each is, what is inside, who gets in, what is refused and why."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from builder.artifact import (
    Carried,
    kernel_version,
    open_box,
    open_disk,
    open_installer,
    open_netboot,
    recognise,
)
from builder.artifacttrial import empty_disks
from builder.cli import image
from builder.cpio import copy, file, read, with_folders, write
from builder.qemu import SERIAL, SPARE_SERIAL
from builder.seeded import inject
from builder.spec import GiB
from builder.trial import GROWN
from builder.wayin import way_in
from cloudinit.hostkeys import HostKey, generate_host_key
from cloudinit.iso import write_iso
from cloudinit.keys import parse_public_key
from cloudinit.network import Interface, Network
from cloudinit.seed import Seed, render_seed
from cloudinit.users import User
from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import BuildError, UsageError
from freehold.process import LocalRunner

RUNNER = LocalRunner()
SETTINGS = (
    "HOST_NAME=web-1\nIMAGE_NAME='bookworm amd64, image abc'\nAFTER=reboot\nDISKS=1\nLEAST=4294967296\n"
)
SEED = {"user-data": b"#cloud-config\nusers: []\n", "meta-data": b"local-hostname: web-1\n"}


def archive(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w") as out:
        for name in names:
            out.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


def gpt(path: Path) -> Path:
    path.write_bytes(bytes(512) + b"EFI PART" + bytes(4096))
    return path


def folder(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"")
    return path


def test_an_artifact_is_told_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"QFI\xfb" + bytes(600))
    write_iso(SEED, tmp_path / "web-1", label="FREEHOLD")
    assert recognise(tmp_path / "disk") == "qcow2"
    assert recognise(tmp_path / "web-1") == "installer"
    assert recognise(gpt(tmp_path / "raw.iso")) == "raw"
    assert recognise(archive(tmp_path / "a", "metadata.json", "Vagrantfile", "box.img")) == "box"
    assert recognise(folder(tmp_path / "image", "manifest.json", "disk.qcow2")) == "image"
    assert recognise(folder(tmp_path / "net", "boot.ipxe", "hosts/web-1.cpio")) == "netboot"


def test_what_cannot_be_tested_is_refused_with_the_reason(tmp_path: Path) -> None:
    write_iso(SEED, tmp_path / "vendor.iso", label="Debian 13")
    write_iso(SEED, tmp_path / "seed.iso", label="CIDATA")
    (tmp_path / "notes.txt").write_text("no disk")
    for path, reason in (
        (tmp_path / "vendor.iso", "the medium 'Debian 13' is a vendor's"),
        (tmp_path / "seed.iso", "it is a seed"),
        (tmp_path / "notes.txt", "neither a disk nor a medium"),
        (tmp_path / "gone", "there is no"),
        (archive(tmp_path / "base.tar", "oci-layout", "index.json"), "has no kernel"),
        (folder(tmp_path / "seed", "user-data", "meta-data"), "it is a seed"),
        (folder(tmp_path / "tree", "etc/passwd", "usr/bin/env"), "nothing that boots"),
        (folder(tmp_path / "empty", "x"), "no directory of an image"),
    ):
        with pytest.raises(UsageError, match=reason):
            recognise(path)


@pytest.mark.needs("sfdisk", "qemu-img")
def test_a_disk_of_something_else_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "other.qcow2"
    RUNNER.run(("qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"))
    with pytest.raises(UsageError, match="not the disk of a golden image"):
        open_disk(disk, "qcow2", tmp_path, RUNNER)
    raw = tmp_path / "other.raw"
    raw.write_bytes(bytes(64 << 20))
    subprocess.run(["sfdisk", "-q", raw], input="label: gpt\nname=data\n", text=True, check=True)
    with pytest.raises(UsageError, match="not the disk of a golden image"):
        open_disk(raw, "raw", tmp_path, RUNNER)


@pytest.mark.needs("sfdisk", "mke2fs", "debugfs", "qemu-img")
def test_a_disk_is_looked_into_for_its_seed_and_its_kernel(tmp_path: Path) -> None:
    """A small one, laid out like an image's; a box is the same in an archive."""
    raw, work = tmp_path / "small.raw", tmp_path / "work"
    work.mkdir()
    raw.write_bytes(bytes(32 << 20))
    table = "label: gpt\nstart=2048, name=root\n"
    subprocess.run(["sfdisk", "-q", raw], input=table, text=True, check=True)
    tree = folder(tmp_path / "tree", "var/lib/x", "boot/config-6.1.0")
    kernel(tree / "boot/vmlinuz-6.1.0-cloud-amd64", "6.1.0-cloud-amd64")
    options: list[str | Path] = ["-q", "-F", "-t", "ext4", "-E", f"offset={1 << 20}", "-d", tree]
    RUNNER.run(["mke2fs", *options, raw, "24M"])
    assert open_disk(raw, "raw", work, RUNNER).seed == {}
    inject(raw, 1 << 20, SEED, epoch=1, runner=RUNNER)
    found = open_disk(raw, "raw", work, RUNNER)
    assert dict(found.seed) == SEED
    assert found.kernel is not None and kernel_version(found.kernel) == "6.1.0-cloud-amd64"
    RUNNER.run(["qemu-img", "convert", "-O", "qcow2", raw, tmp_path / "box.qcow2"])
    with tarfile.open(tmp_path / "a.box", "w") as out:
        out.add(tmp_path / "box.qcow2", "box.img")
    assert dict(open_box(tmp_path / "a.box", work, RUNNER).seed) == SEED
    assert not (work / "looked-into.raw").exists()


def test_an_archive_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"x" * 1001)
    written = with_folders(
        [file("a/b", b"", 0o600), file("a/other", b"12345"), copy("kernel", tmp_path / "kernel")]
    )
    stream = io.BytesIO()
    write(stream, written)
    stream.seek(0)
    found = list(read(stream))
    assert [(entry.path, entry.mode) for entry in found] == [(entry.path, entry.mode) for entry in written]
    assert [entry.data for entry in found] == [b"", b"", b"12345", b"x" * 1001]
    for end in (0, 60, 300, len(stream.getvalue()) - 200):
        with pytest.raises(ValueError, match="cut off"):
            list(read(io.BytesIO(stream.getvalue()[:end])))


def kernel(path: Path, version: str) -> Path:
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x300 : 0x300 + len(version)] = version.encode()
    path.write_bytes(head)
    return path


@pytest.mark.needs("xorriso")
def test_a_medium_tells_its_host_its_rule_its_seed_and_its_kernel(tmp_path: Path) -> None:
    stage = folder(tmp_path / "stage", "freehold/seed/x")
    (stage / "freehold/settings").write_text(SETTINGS)
    (stage / "freehold/rule").write_text("serial S4EVNX0N\nwipe\n")
    for name, data in SEED.items():
        (stage / "freehold/seed" / name).write_bytes(data)
    kernel(stage / "freehold/vmlinuz", "6.1.0-37-cloud-amd64 (debian-kernel@lists.debian.org)")
    iso = tmp_path / "web-1.iso"
    RUNNER.run(("xorriso", "-as", "mkisofs", "-quiet", "-r", "-V", "FREEHOLD", "-o", iso, stage))
    assert recognise(iso) == "installer"
    (tmp_path / "work").mkdir()
    found = open_installer(iso, tmp_path / "work", RUNNER)
    assert (found.host, found.suite, found.generic) == ("web-1", "bookworm", False)
    assert dict(found.rule) == {"serial": "S4EVNX0N", "wipe": ""}
    assert dict(found.seed) == SEED
    assert kernel_version(kernel(tmp_path / "generic", "6.1.0-37-amd64")) == "6.1.0-37-amd64"


def netboot(path: Path, **hosts: str) -> Path:
    folder(path, "vmlinuz", "hosts/x")
    (path / "hosts/x").unlink()
    lines = [f"iseq ${{net${{card}}/mac}} {mac} && goto {name} ||" for name, mac in hosts.items()]
    (path / "boot.ipxe").write_text("\n".join(lines))
    for name in hosts:
        own = {"settings": SETTINGS.replace("web-1", name).encode(), "rule": b"only\n"}
        own |= {f"seed/{key}": data for key, data in SEED.items()}
        with (path / f"hosts/{name}.cpio").open("wb") as stream:
            entries = [file(f"freehold/medium/{key}", data) for key, data in own.items()]
            write(stream, with_folders(entries))
    return path


def test_a_netboot_directory_tells_which_card_is_whose(tmp_path: Path) -> None:
    place = netboot(tmp_path / "net", web1="52:54:00:00:00:01", web2="52:54:00:00:00:02")
    with pytest.raises(UsageError, match="which host") as caught:
        open_netboot(place, "")
    assert "web1, web2" in caught.value.hint
    with pytest.raises(UsageError, match="has no host 'db'"):
        open_netboot(place, "db")
    found, served = open_netboot(place, "web2")
    assert (found.host, found.mac, dict(found.seed)) == ("web2", "52:54:00:00:00:02", SEED)
    assert set(served) == {"boot.ipxe", "vmlinuz", "hosts/web1.cpio", "hosts/web2.cpio"}
    (place / "hosts/web2.cpio").write_bytes(b"")
    with pytest.raises(BuildError, match="not what this release makes"):
        open_netboot(place, "web2")


def carried(rule: dict[str, str], **settings: str) -> Carried:
    usual = {"DISKS": "1", "LEAST": str(4 * GiB), "AFTER": "reboot"}
    return Carried("web-1", usual | settings, rule, SEED, Path("vmlinuz"))


def test_the_machines_disks_are_those_that_the_mediums_rule_means() -> None:
    assert empty_disks(carried({"only": ""})).serials == (SERIAL,)
    assert empty_disks(carried({"serial": "S4EVNX0N"})).serials == ("S4EVNX0N",)
    assert empty_disks(carried({"by-id": "virtio-X/virtio-Y"}, DISKS="2")).serials == ("X", "Y")
    assert empty_disks(carried({"serial": "A/B"}, DISKS="2")).serials == ("A", "B")
    assert empty_disks(carried({"empty": ""}, DISKS="2")).serials == (SERIAL, SPARE_SERIAL)
    assert empty_disks(carried({"size>=": str(200 * GiB)})).size == 200 * GiB
    assert empty_disks(carried({"size<=": str(5 * GiB)})).size == 5 * GiB
    assert empty_disks(carried({"only": ""}, LEAST=str(20 * GiB))).size == 20 * GiB
    assert empty_disks(carried({"only": ""})).size == GROWN
    for rule, said in (
        ({"model": "Acme*"}, r"its rule model=Acme\*"),
        ({"by-id": "nvme-Acme_1TB"}, "its rule by-id=nvme-Acme_1TB"),
        ({"serial": "A" * 21}, "20 characters"),
        ({"size<=": str(GiB)}, "the image needs more"),
    ):
        with pytest.raises(UsageError, match=said):
            empty_disks(carried(rule))


def private(path: Path, key: HostKey) -> Path:
    path.write_text(key.private.reveal())
    path.chmod(0o600)
    return path


def seed(key: HostKey, host: HostKey | None = None, *cards: Interface) -> dict[str, bytes]:
    made = Seed(
        "web-1",
        users=(User("nobody"), User("ops", keys=(parse_public_key(key.public),))),
        host_keys=(host,) if host else (),
        network=Network(cards) if cards else None,
    )
    return render_seed(made, allow_secrets=True).files()


@pytest.mark.needs("ssh-keygen")
def test_who_holds_a_key_of_the_seed_gets_in_and_nobody_else(tmp_path: Path) -> None:
    mine, other, host = generate_host_key(), generate_host_key(), generate_host_key()
    found = way_in(seed(mine, host), private(tmp_path / "a", mine), "web-1.iso", RUNNER)
    assert (found.user, found.host_key.strip(), found.keyed) == ("ops", host.public, ("ops",))
    port = found.access(tmp_path)
    assert (tmp_path / "known_hosts").read_text() == host.known_hosts("127.0.0.1", port) + "\n"
    told = (tmp_path / "ssh_config").read_text()
    assert "StrictHostKeyChecking yes" in told and "User ops" in told and f'"{tmp_path}/a"' in told
    with pytest.raises(UsageError, match=r"the seed of web-1\.iso lets nobody in with"):
        way_in(seed(mine), private(tmp_path / "b", other), "web-1.iso", RUNNER)
    with pytest.raises(UsageError, match="no file"):
        way_in(seed(mine), tmp_path / "c", "web-1.iso", RUNNER)
    (tmp_path / "d").write_text("no key")
    with pytest.raises(UsageError, match="no private key"):
        way_in(seed(mine), tmp_path / "d", "web-1.iso", RUNNER)
    # Without a host key in the seed the machine's first answer counts; without --key nobody logs in.
    bare = way_in(seed(mine), None, "web-1.iso", RUNNER)
    assert (bare.user, bare.key, bare.host_key) == ("", None, "")
    bare.access(tmp_path)
    assert "StrictHostKeyChecking accept-new" in (tmp_path / "ssh_config").read_text()


def test_a_host_that_would_not_take_its_address_by_dhcp_is_refused() -> None:
    key = generate_host_key()
    way_in(seed(key, None, Interface("eth0", dhcp4=True)), None, "x", RUNNER)
    for card in (
        Interface("eth0", addresses=("192.0.2.10/24",)),
        Interface("eth0", dhcp4=True, mac="52:54:00:00:00:01"),
    ):
        with pytest.raises(UsageError, match="asks no DHCP server"):
            way_in(seed(key, None, card), None, "x", RUNNER)
    with pytest.raises(UsageError, match="no cloud-config"):
        way_in({"user-data": b"#!/bin/sh\n"}, None, "x", RUNNER)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("net", "--boot", "bios,floppy"), "'floppy' is none of direct, bios, uefi, secure"),
        (("net", "--suite", "debian-12"), "--suite says what is built"),
        (("net", "--as", "cd"), "a netboot directory cannot be seen as cd"),
        (("net", "--boot", "direct"), "only an image's directory"),
        (("net", "--seed", "seed"), "carries its host's seed already"),
        (("raw", "--as", "cd"), "a disk cannot be seen as cd"),
        (("raw", "--host", "web1"), "--host says which host of a netboot directory"),
        (("image", "--key", "key"), "no seed that a key could be of"),
        (("net", "--host", "web1", "--boot", "secure"), "not signed"),
        (("raw", "--profile", "shut.yml"), "shuts out 10.0.2.2"),
        (("--key", "key"), "--key is for an ARTIFACT"),
        (("--seed", "seed"), "--seed is for an ARTIFACT"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_boots(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    netboot(tmp_path / "net", web1="52:54:00:00:00:01")
    gpt(tmp_path / "raw")
    folder(tmp_path / "image", "manifest.json", "disk.qcow2")
    (tmp_path / "shut.yml").write_text("ssh: {allow: [203.0.113.0/24]}\n")
    out = io.StringIO()
    context = Context(console=Console(out=out, err=out), root=tmp_path)
    assert run(image, ["test", *words], context) == 2
    assert said in " ".join(out.getvalue().split())
