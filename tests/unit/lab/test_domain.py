"""The domain's XML: what QEMU is told, and that libvirt's own schema accepts it."""

import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lab.domain import Card, DirectKernel, Domain, Wire, domain_xml
from lab.usernet import Management, slirp_netdev

MANAGEMENT = Management("52:54:00:00:00:01", "127.80.3.11", ((2222, 22), (8080, 80)), internet=False)
WIRE = Wire("52:54:00:00:00:02", Path("/run/lan/web-1.sock"))
DOMAIN = Domain(
    name="freehold-shop-web-1",
    uuid="0d8f5f5e-1d3c-5b0a-9d52-5f6d5b1c2e3f",
    lab="shop",
    directory=Path("/state/labs/shop"),
    accelerator="tcg",
    arch="x86_64",
    cpus=2,
    memory=1024 * 1024 * 1024,
    disk=Path("/state/disk.qcow2"),
    base=Path("/cache/base.qcow2"),
    seed=Path("/state/seed.iso"),
    console=Path("/state/console.log"),
    management=MANAGEMENT,
    wires=(WIRE,),
    kernel=DirectKernel(Path("/cache/vmlinuz"), Path("/cache/initrd"), "root=UUID=1 ro"),
)
MORE = replace(DOMAIN, disks=(Path("/state/data-1.qcow2"), Path("/state/data-2.qcow2")))
BACK = Wire("52:54:00:00:00:03", Path("/run/lan/web-1.back.sock"), "net-back", 3)
WIRED = replace(DOMAIN, wires=(WIRE, BACK))
UEFI = replace(DOMAIN, kernel=None, nvram=Path("/state/nvram.fd"))
# Libvirt's own networks: nothing of this computer stands in the domain.
CARRIED = replace(
    DOMAIN,
    management=Card("management", "52:54:00:00:00:01", "freehold-shop-abc123", alone=True),
    wires=(Card("lan", "52:54:00:00:00:02", "freehold-shop-abc123-lan"),),
    token="abc123",
)


def arguments(domain: Domain) -> list[str]:
    root = ET.fromstring(domain_xml(domain))
    return [arg.get("value", "") for arg in root.iter("{http://libvirt.org/schemas/domain/qemu/1.0}arg")]


@pytest.mark.needs("virt-xml-validate")
@pytest.mark.parametrize(
    "domain", [DOMAIN, UEFI, replace(DOMAIN, accelerator="kvm", as_root=True), MORE, CARRIED, WIRED]
)
def test_libvirts_schema_accepts_it(domain: Domain, tmp_path: Path) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(domain_xml(domain))
    done = subprocess.run(["virt-xml-validate", path, "domain"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_frame_leaves_this_computer() -> None:
    netdevs = [value for value in arguments(DOMAIN) if "id=management" in value or "id=lan" in value]
    management, wire = netdevs[0], next(value for value in netdevs if value.startswith("stream"))
    assert "restrict=on" in management
    assert "addr.type=unix" in wire
    forwards = [word for word in management.split(",") if word.startswith("hostfwd=")]
    assert len(forwards) == 2
    assert all(word.startswith("hostfwd=tcp:127.80.3.11:") for word in forwards)


def test_the_way_out_is_open_only_where_it_was_asked_for() -> None:
    assert "restrict=off" in slirp_netdev(replace(MANAGEMENT, internet=True))


def test_each_wire_has_a_card_and_a_slot_of_its_own() -> None:
    found = arguments(WIRED)
    cards = [value for value in found if value.startswith("virtio-net-pci")]
    assert [card.rpartition(",")[2] for card in cards] == ["addr=0x10", "addr=0x11", "addr=0x14"]
    assert "netdev=net-back,id=card-net-back" in cards[2]
    assert any(value.startswith("stream,id=net-back,") and "web-1.back.sock" in value for value in found)


def test_a_comma_in_a_path_stays_in_the_path() -> None:
    domain = replace(DOMAIN, wires=(replace(WIRE, socket=Path("/run/a,b/web-1.sock")),))
    assert any("addr.path=/run/a,,b/web-1.sock" in value for value in arguments(domain))


def test_older_qemu_is_not_given_reconnect() -> None:
    assert any("reconnect-ms" in value for value in arguments(DOMAIN))
    assert not any("reconnect-ms" in value for value in arguments(replace(DOMAIN, reconnect=False)))


def test_an_emulated_processor_is_relieved_and_a_real_one_left_alone() -> None:
    def without(domain: Domain) -> list[str | None]:
        return [item.get("name") for item in ET.fromstring(domain_xml(domain)).findall("./cpu/feature")]

    assert "la57" in without(DOMAIN)
    assert without(replace(DOMAIN, accelerator="kvm")) == []


def test_firmware_keeps_the_whole_machine() -> None:
    assert any("sata=off" in value for value in arguments(DOMAIN))
    assert not any("sata=off" in value for value in arguments(UEFI))


def test_the_golden_image_is_only_the_backing_file() -> None:
    root = ET.fromstring(domain_xml(DOMAIN))
    disks = [source.get("file") for source in root.findall("./devices/disk/source")]
    bases = [source.get("file") for source in root.findall("./devices/disk/backingStore/source")]
    assert disks == ["/state/disk.qcow2", "/state/seed.iso"]
    assert bases == ["/cache/base.qcow2"]


def test_further_disks_come_behind_the_seed_under_names_of_their_own() -> None:
    root = ET.fromstring(domain_xml(MORE))
    targets = [target.get("dev") for target in root.findall("./devices/disk/target")]
    serials = [serial.text for serial in root.findall("./devices/disk/serial")]
    assert targets == ["vda", "vdb", "vdc", "vdd"]
    assert serials == ["freehold-seed", "data-1", "data-2"]


def test_firmware_boot_has_no_kernel_and_boots_the_disk() -> None:
    root = ET.fromstring(domain_xml(UEFI))
    assert root.find("./os/kernel") is None
    assert [item.get("firmware") for item in root.findall("./os")] == ["efi"]
    assert [item.get("order") for item in root.findall("./devices/disk/boot")] == ["1"]


def test_firmware_boot_without_a_place_for_its_variables_is_refused() -> None:
    with pytest.raises(ValueError, match="firmware"):
        domain_xml(replace(UEFI, nvram=None))


def test_libvirts_networks_need_nothing_of_this_computer() -> None:
    assert not any("netdev" in word for word in arguments(CARRIED))
    cards = ET.fromstring(domain_xml(CARRIED)).findall("./devices/interface")
    assert [card.find("source[@network]") is not None for card in cards] == [True, True]
    # Machines meet between themselves only, where faults are.
    assert [card.find("port[@isolated='yes']") is not None for card in cards] == [True, False]
    assert ET.fromstring(domain_xml(replace(CARRIED, kernel=None))).find("os/nvram") is None
