"""The way in: `server bootstrap` does not shut itself out, whatever sshd and firewall were before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudinit.parts import firewall
from cloudinit.profile import HostProfile
from cloudinit.recipe import Recipe
from cloudinit.script import as_script
from tests.conftest import Control
from tests.integration.app.door import Door, ports
from tests.rig import Host, HostSpec, Rig


@pytest.fixture(scope="module")
def fresh(rig: Rig) -> Iterator[Host]:
    """A server of somebody else's making, which the tests of this file change one after the other."""
    (host,) = rig.boot(HostSpec("door", "trixie", plain=True))
    yield host
    rig.remove(host.name)


@pytest.fixture
def door(control: Control, fresh: Host) -> Door:
    return Door(control, fresh)


def test_a_port_that_only_the_host_knows_is_asked_about_and_then_kept_or_moved(
    door: Door, fresh: Host
) -> None:
    fresh.exec("echo 'Port 2222' >>/etc/ssh/sshd_config && systemctl restart ssh")
    door.come_to(2222)
    assert "write `ssh: {port: 2222}` into config/host.yml" in door.refused("timezone: Etc/UTC\n")
    assert fresh.exec("ls -d /etc/freehold", check=False).stdout == ""

    assert {"ssh", "firewall"} <= set(door.prepare("ssh: {port: 2222}\n"))
    assert ports(fresh) == {"2222"}
    assert door.drift() == {}

    # To another port: none of the former ones stays open, and the host's file is kept.
    door.prepare("ssh: {port: 2200}\n")
    assert ports(fresh) == {"2200"}
    assert "Port 2222" in fresh.read("/var/lib/freehold-bootstrap/before/etc/ssh/sshd_config")
    door.come_to(2200)
    assert door.bootstrap() == []

    # What sshd reads first has the last word; it is found before the firewall follows.
    fresh.exec("echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/00-vendor.conf")
    assert "00-vendor.conf:PasswordAuthentication yes" in door.refused("ssh: {port: 2200}\n")
    fresh.exec(
        "rm /etc/ssh/sshd_config.d/00-vendor.conf; echo 'ListenAddress 0.0.0.0:2201' >>/etc/ssh/sshd_config"
    )
    assert "would listen on port 2201, not on 2200 alone" in door.refused("ssh: {port: 2200}\n")
    fresh.exec("sed -i /ListenAddress/d /etc/ssh/sshd_config")
    assert door.bootstrap() == []


def test_settings_that_sshd_refuses_leave_its_files_as_they_were(door: Door, fresh: Host) -> None:
    door.come_to(2200)
    before = fresh.exec("cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*").stdout
    said = door.refused("ssh: {port: 2200, options: {AllowTcpForwardin: local}}\n")
    assert "Bad configuration option: AllowTcpForwardin" in said
    assert fresh.exec("cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*").stdout == before
    # What the next boot would read.
    fresh.exec("systemctl restart ssh")
    assert ports(fresh) == {"2200"}


def test_a_port_that_belongs_to_another_program_is_not_sshds(door: Door, fresh: Host) -> None:
    door.come_to(2200)
    fresh.exec("systemd-run --unit=holder python3 -m http.server 2300")
    fresh.exec("for i in $(seq 300); do ss -Hltn | grep -q :2300 && exit; sleep 0.2; done; exit 1")
    said = door.refused("ssh: {port: 2300}\n")
    assert "port 2300, which is to be sshd's (ssh.port in config/host.yml), belongs to another" in said
    assert "program: python3" in said
    fresh.exec("systemctl stop holder")
    assert ports(fresh) == {"2200"}


def test_a_port_that_systemd_holds_for_sshd_moves_too(door: Door, fresh: Host) -> None:
    door.come_to(2200)
    fresh.write("/etc/systemd/system/ssh.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=2200\n")
    fresh.exec("systemctl disable --now ssh.service; systemctl enable --now ssh.socket")
    assert "ssh" in door.prepare("ssh: {port: 2201}\n")
    assert ports(fresh) == {"2201"}
    door.come_to(2201)
    assert door.bootstrap() == []
    assert door.drift() == {}
    fresh.reboot()
    assert ports(fresh) == {"2201"}
    assert door.bootstrap() == []


def test_settings_that_sshd_prints_otherwise_are_no_drift(door: Door, fresh: Host) -> None:
    door.come_to(2201)
    options = "AllowUsers: deploy root, LogLevel: verbose, LoginGraceTime: 2m, AcceptEnv: FOO BAR"
    assert door.prepare(f"ssh: {{port: 2201, options: {{{options}}}}}\n") == ["ssh"]
    assert door.drift() == {}
    fresh.exec("echo Port 2202 >/etc/ssh/sshd_config.d/90-more.conf")
    assert "Port is 22" in door.drift()["ssh"]
    assert door.bootstrap() == ["ssh"]
    assert door.drift() == {}
    fresh.exec("rm /etc/ssh/sshd_config.d/90-more.conf")


def test_files_of_the_users_own_are_checked_before_they_count(door: Door, fresh: Host) -> None:
    door.come_to(2201)
    base = "ssh: {port: 2201}\nfiles:\n"
    match = "Match User deploy\\n  AllowTcpForwarding no\\n"
    own = f'  - {{path: /etc/ssh/sshd_config.d/20-own.conf, content: "{match}"}}\n'
    sudo = "  - {path: /etc/sudoers.d/own, mode: '0440', content: 'nobody ALL=(root) /bin/true'}\n"
    assert "Bad configuration option: AllowTcp" in door.refused(base + own.replace("Forwarding no", " no"))
    assert "visudo refuses what /etc/sudoers.d/own" in door.refused(base + sudo.replace("root)", "root"))
    assert fresh.exec("ls /etc/ssh/sshd_config.d/20-own.conf /etc/sudoers.d/own", check=False).stdout == ""
    assert door.prepare(base + own + sudo) == ["ssh", "files"]
    said = fresh.exec("sshd -T -C user=deploy,host=x,addr=192.0.2.1").stdout
    assert "allowtcpforwarding no" in said
    assert door.drift() == {}
    assert door.bootstrap() == []


def test_rules_of_the_hosts_own_do_not_vanish_without_a_word(door: Door, fresh: Host) -> None:
    door.come_to(2201)
    profile = "ssh: {port: 2202}\n"
    fresh.exec(f"cp /etc/nftables.conf /root/; rm {firewall.DROP_IN}; systemctl daemon-reload")
    try:
        fresh.write(
            "/etc/nftables.conf",
            "table ip vpn {\n\tchain out {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n"
            '\t\tip saddr 192.0.2.0/24 oifname "eth0" masquerade\n\t}\n}\ntable inet empty {\n\tchain in {\n'
            "\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n",
        )
        said = door.refused(profile)
        assert "has rules of its own (ip vpn), which would not be loaded" in said
        # Not one port has moved.
        assert ports(fresh) == {"2201"}
    finally:
        fresh.exec("mv /root/nftables.conf /etc/")
    # Debian's own file has no rules.
    assert door.prepare("ssh: {port: 2201}\n")[0] == "firewall"


def test_rules_that_nft_refuses_are_not_what_the_next_boot_loads(fresh: Host) -> None:
    (step,) = firewall.steps(HostProfile())
    rules = replace(step.files[0], content="table inet freehold { nonsense }\n")
    script = as_script(Recipe((replace(step, files=(rules, *step.files[1:])),), ()), offline=False)
    before = fresh.read(firewall.RULES)
    for _ in range(2):
        done = fresh.exec(("bash", "-s"), stdin=script, check=False)
        assert done.returncode == 1
        assert f"nft refuses what {firewall.RULES} would hold" in done.stdout
    assert fresh.read(firewall.RULES) == before
