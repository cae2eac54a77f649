"""From what is wanted to what will be: stable identities, seeds that agree with each other."""

from dataclasses import replace
from pathlib import Path

import yaml

from builder.image import Image
from builder.spec import GiB
from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_public_key
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.users import User
from lab.model import GuestPorts, LabSpec, MachineSpec, Ports
from lab.plan import differing, domain_of, further_disks, held, plan_state
from lab.seeds import known_hosts, network, seed_files
from lab.usernet import Management
from tests.unit.lab.samples import PLACE, SPEC, lab_state


def test_a_second_plan_changes_nothing() -> None:
    first = lab_state()
    assert lab_state(known=first) == first


def test_a_machine_keeps_its_identity_when_others_come_and_go() -> None:
    first = lab_state()
    fewer = replace(SPEC, machines=(SPEC.machines[2], MachineSpec("new")))
    second = lab_state(spec=fewer, known=first)
    assert second.machine("db-1") == first.machine("db-1")
    assert second.machine("new").address == first.machine("web-1").address
    assert second.machine("new").uuid != first.machine("web-1").uuid


def test_a_disk_never_shrinks() -> None:
    first = lab_state(spec=LabSpec("shop", (MachineSpec("a", disk=20 * GiB),)))
    second = lab_state(spec=LabSpec("shop", (MachineSpec("a", disk=8 * GiB),)), known=first)
    assert second.machines[0].disk == 20 * GiB


def test_further_disks_stay_and_never_shrink() -> None:
    first = lab_state(spec=LabSpec("shop", (MachineSpec("a", disks=(2 * GiB, GiB)),)))
    second = lab_state(spec=LabSpec("shop", (MachineSpec("a", disks=(GiB,)),)), known=first)
    assert second.machines[0].disks == (2 * GiB, GiB)
    assert [path.name for path in further_disks(Path("/f"), second.machines[0])] == [
        "data-1.qcow2",
        "data-2.qcow2",
    ]


def test_a_host_is_found_by_either_name() -> None:
    state = lab_state()
    assert state.machine("203.0.113.7") is state.machine("web-2")


def test_a_host_of_the_deploy_file_comes_before_a_machines_name() -> None:
    state = lab_state(spec=LabSpec("shop", (MachineSpec("web-1", "10.0.0.1"), MachineSpec("web-2", "web-1"))))
    assert state.machine("web-1").host == "web-1"


def test_seeds_know_every_other_machine_by_both_names() -> None:
    state = lab_state()
    key, user_key = generate_host_key(), parse_public_key(generate_host_key().public)
    files = seed_files(state, state.machine("db-1"), host_key=key, user_key=user_key)
    config = yaml.safe_load(files.vendor_data)
    content = next(item["content"] for item in config["write_files"] if item["path"] == "/etc/hosts")
    names = {line.split()[1]: line.split()[0] for line in content.splitlines()}
    assert names["web-1"] == names["web-1.example.com"] == "198.18.0.11"
    assert names["web-2"] == "198.18.0.12"
    assert "203.0.113.7" not in names
    assert config["ssh_keys"]["ed25519_public"] == key.public


def test_a_host_given_by_address_has_it_between_the_machines() -> None:
    state = lab_state()
    own = network(state, state.machine("web-2")).v2()["ethernets"]["eth1"]
    other = network(state, state.machine("db-1")).v2()["ethernets"]["eth1"]
    assert "203.0.113.7/32" in own["addresses"]
    assert {"to": "203.0.113.7/32", "via": "198.18.0.12"} in other["routes"]


def test_machines_have_no_way_out_unless_asked() -> None:
    state = lab_state()
    closed = network(state, state.machines[0]).v2()["ethernets"]["eth0"]
    opened = network(replace(state, internet=True), state.machines[0]).v2()["ethernets"]["eth0"]
    assert "routes" not in closed
    assert opened["routes"][0]["to"] == "0.0.0.0/0"


def test_known_hosts_are_bound_to_address_and_port() -> None:
    state, key = lab_state(), generate_host_key()
    line = known_hosts([(state.machines[0], key)])
    assert line.startswith("[127.80.3.11]:2222 ssh-ed25519 ")


def test_the_domain_boots_the_images_kernel_on_an_overlay() -> None:
    state = lab_state()
    folder = Path("/cache/i")
    image = Image(
        directory=folder,
        key="k",
        suite="trixie",
        arch="amd64",
        qcow2=folder / "disk.qcow2",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd.img",
        cmdline="root=UUID=1 ro",
        manifest=folder / "manifest.json",
        virtual_size=4 * GiB,
    )
    domain = domain_of(state, state.machines[0], image, kernel=image.kernel, socket=Path, reconnect=True)
    assert isinstance(domain.management, Management)
    assert domain.management.forwards == state.machines[0].forwards
    assert domain.base == image.qcow2
    assert domain.disk != image.qcow2
    assert domain.kernel is not None
    assert domain.kernel.cmdline.startswith("root=UUID=1 ro ds=nocloud")
    assert "systemd.mask=user@1000.service" in domain.kernel.cmdline
    fast = domain_of(
        replace(state, accelerator="kvm"),
        state.machines[0],
        image,
        kernel=image.kernel,
        socket=Path,
        reconnect=True,
    )
    assert fast.kernel is not None
    assert "user@" not in fast.kernel.cmdline
    firmware = domain_of(
        replace(state, boot="uefi"),
        state.machines[0],
        image,
        kernel=image.kernel,
        socket=Path,
        reconnect=True,
    )
    assert firmware.kernel is None
    assert firmware.nvram is not None


def test_a_machine_keeps_the_image_that_its_disk_began_with() -> None:
    first = lab_state()
    own = replace(PLACE, images={"db-1": "/image/bookworm"})
    made = plan_state(SPEC, own, {})
    assert made.image_of(made.machine("db-1")) == Path("/image/bookworm")
    assert made.image_of(made.machine("web-1")) == made.image
    kept = plan_state(SPEC, own, {machine.name: machine for machine in first.machines})
    assert kept.image_of(kept.machine("db-1")) == kept.image


PORTS = parse_profile("ssh: {port: 2200}\nproxy: {http_port: 8000, https_port: 8001}\n")


def test_the_profile_says_what_a_machines_ports_lead_to() -> None:
    machine = lab_state(spec=replace(SPEC, profile=PORTS)).machines[0]
    assert machine.forwards == ((2222, 2200), (8080, 8000), (8443, 8001))
    own = replace(SPEC, machines=(replace(SPEC.machines[0], guest=GuestPorts(22, 90, 91)),), profile=PORTS)
    assert lab_state(spec=own).machines[0].forwards == ((2222, 22), (8080, 90), (8443, 91))


def test_a_machine_keeps_the_ports_that_its_disk_began_with() -> None:
    first = lab_state()
    assert lab_state(spec=replace(SPEC, profile=PORTS), known=first).machines[0].guest == GuestPorts()


def test_machines_that_run_stay_where_they_answer() -> None:
    first = lab_state()
    profile = HostProfile(users=(User("somebody"),))
    other = replace(SPEC, ports=Ports(2300, 2301, 2302), boot="uefi", internet=True, profile=profile)
    wanted = lab_state(spec=other, known=first)
    kept = held(wanted, first, {"web-1"})
    assert kept.machine("web-1") == first.machine("web-1")
    assert kept.machine("web-2").ssh_port == 2300
    assert (kept.user, kept.boot, kept.internet) == (first.user, "kernel", False)
    assert differing(wanted, kept) == ("ports", "users", "boot", "internet")
    off = held(wanted, first, ())
    assert (off.machines, off.boot, off.internet) == (wanted.machines, "uefi", True)
    assert off.user == first.user != "somebody"
    assert differing(first, held(first, first, {"web-1"})) == ()
