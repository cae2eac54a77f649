"""The way in: `server bootstrap` does not shut itself out, whatever sshd and firewall were before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudinit.admission import shut_out_by
from cloudinit.parts import firewall
from cloudinit.profile import HostProfile
from cloudinit.recipe import Recipe
from cloudinit.script import as_script
from tests.conftest import Control
from tests.integration.test_bootstrap import Operator
from tests.rig import Host, HostSpec, Rig


@pytest.fixture(scope="module")
def fresh(rig: Rig) -> Iterator[Host]:
    """A server of somebody else's making, which the tests of this file change one after the other."""
    (host,) = rig.boot(HostSpec("door", "trixie", plain=True))
    yield host
    rig.remove(host.name)


class Door(Operator):
    """The operator's project, with the port that it comes to."""

    def come_to(self, port: int, user: str = "root", keys: tuple[str, ...] = ()) -> None:
        text = f"service: app\nimage: app\nservers: [{self.host.name}]\nbuilder: {{arch: amd64}}\n"
        ssh = {"user": user, "port": port} | ({"keys": keys} if keys else {})
        self.write("deploy.yml", text + f"ssh: {json.dumps(ssh)}\n")
        # Host keys are known by port.
        known = self.control.rig.home / ".ssh/known_hosts"
        line = f"[{self.host.name}]:{port},[{self.host.address}]:{port} {self.host.host_key.public}\n"
        if line not in known.read_text():
            known.write_text(known.read_text() + line)

    def refused(self, profile: str) -> str:
        """What `server bootstrap` says when it stops, and it can log in as before."""
        self.write("host.yml", profile)
        done = self.run("server", "bootstrap", check=False)
        assert done.returncode in (1, 2), done.stderr
        assert self.run("server", "exec", "echo $((40 + 2))").stdout == "42\n"
        return done.stderr

    def prepare(self, profile: str) -> list[str]:
        self.write("host.yml", profile)
        # The last step notes which recipe it was.
        return [step for step in self.bootstrap() if step != "finish"]


@pytest.fixture
def door(control: Control, fresh: Host) -> Door:
    return Door(control, fresh)


def ports(host: Host) -> set[str]:
    """The ports that SSH answers on."""
    lines = host.exec("ss -Hltnp").stdout.splitlines()
    found = {line.split()[3].rpartition(":")[2] for line in lines if '"sshd"' in line or '"systemd"' in line}
    return found - {"80", "443"}


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


def test_keys_that_the_profile_does_not_name_stay(door: Door, rig: Rig, fresh: Host) -> None:
    door.come_to(2201)
    own = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    path = "/home/deploy/.ssh/authorized_keys"
    colleague = f"ssh-ed25519 {'A' * 68} colleague\n"
    fresh.write(path, f"# {own}\n{colleague}", mode=0o600, owner="deploy:deploy")
    assert door.prepare("ssh: {port: 2201}\n") == ["user-deploy"]
    assert fresh.read(path) == f"# {own}\n{colleague}{own}\n"
    door.come_to(2201, "deploy")
    assert door.bootstrap() == []

    # Named keys are the whole; not without the one that is in use.
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE other"
    named = f"ssh: {{port: 2201}}\nusers: [{{name: deploy, keys: ['{other}']}}]\n"
    assert "the key that let you in to door as deploy is not among those" in door.refused(named)
    assert colleague in fresh.read(path)
    assert door.prepare(named.replace("keys: [", f"keys: ['{own}', ")) == ["user-deploy"]
    assert fresh.read(path) == f"{own}\n{other}\n"
    door.come_to(2201)
    assert "you log in to door as root" in door.refused("ssh: {port: 2201, root: false}\n")
    door.come_to(2201, "deploy")
    assert door.prepare("ssh: {port: 2201, root: false}\n") == ["ssh"]
    door.prepare("ssh: {port: 2201}\n")


def test_a_new_key_takes_the_place_of_the_old_one_once_it_has_let_us_in(
    door: Door, rig: Rig, fresh: Host
) -> None:
    home, path = door.control.directory, "/home/deploy/.ssh/authorized_keys"
    old = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    fresh.write(path, f"no-pty {old}\n", mode=0o600, owner="deploy:deploy")
    door.control.run("ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "new", "-f", home / "new")
    new = (home / "new.pub").read_text().strip()
    shut = f'from="192.0.2.1" {new}'

    def profile(*keys: str) -> str:
        return f"ssh: {{port: 2201}}\nusers: [{{name: deploy, keys: {json.dumps(keys)}}}]\n"

    try:
        # Nothing is changed while the new one is not at hand.
        door.come_to(2201, "deploy")
        assert "of those you have none at hand" in " ".join(door.refused(profile(new)).split())
        assert fresh.read(path) == f"no-pty {old}\n"
        # sshd takes the new one from elsewhere only: the old one stays as it was, run after run.
        door.come_to(2201, "deploy", (str(home / "new"),))
        for _ in range(2):
            said = " ".join(door.refused(profile(shut)).split())
            assert "door: keys: the host lets deploy in with none of the keys of config/host.yml" in said
            assert "was left beside them" in said
            assert fresh.read(path) == f"{shut}\nno-pty {old}\n"
        assert door.prepare(profile(new)) == ["user-deploy"]
        assert fresh.read(path) == f"{new}\n"
        assert door.drift() == {}
        assert door.bootstrap() == []
        # Who has the old one alone does not come in; who has both comes back to it in the same way.
        door.come_to(2201, "deploy")
        assert "lets nobody in as 'deploy'" in door.run("server", "exec", "true", check=False).stderr
        door.come_to(2201, "deploy", (str(home / "new"),))
        assert door.prepare(profile(old)) == ["user-deploy"]
        assert fresh.read(path) == f"{old}\n"
        assert door.bootstrap() == []
    finally:
        fresh.write(path, f"{old}\n", mode=0o600, owner="deploy:deploy")


def test_files_of_the_hosts_own_shut_out_neither_users_nor_who_is_at_work(door: Door, fresh: Host) -> None:
    door.come_to(2201, "deploy")
    client = door.run("server", "exec", "echo $SSH_CONNECTION").stdout.split()[0]
    base, vendor = "ssh: {port: 2201}\n", "/etc/ssh/sshd_config.d/00-vendor.conf"
    before = fresh.exec("cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*").stdout
    for text, by in (
        ("AllowUsers root admin@192.0.2.0/24", "AllowUsers"),
        ("AllowUsers root\nDenyUsers d?ploy", "DenyUsers"),
        ("AllowGroups wheel", "AllowGroups"),
        ("DenyGroups doc*", "DenyGroups"),
        ("AuthorizedKeysFile /etc/ssh/keys/%u", "AuthorizedKeysFile"),
        ("AuthenticationMethods publickey,publickey", "AuthenticationMethods"),
        ("PubkeyAuthentication no", "PubkeyAuthentication"),
        ("RevokedKeys /etc/ssh/revoked", "RevokedKeys"),
    ):
        fresh.write(vendor, f"{text}\n")
        said = " ".join(door.refused(base).split())
        fresh.exec(f"rm {vendor}")
        assert f"sshd would not let deploy in, by {by}: {vendor}:{by}" in said, said

    # In the profile's own, about the one who is at work.
    def own(where: str, what: str) -> str:
        block = f"Match {where}\n  {what}\n"
        entry = json.dumps({"path": "/etc/ssh/sshd_config.d/20-own.conf", "content": block})
        return f"{base}files: [{entry}]\n"

    for where, what in (
        ("User deploy", "ForceCommand /bin/true"),
        (f"Address {client}", "MaxSessions 1"),
        ("LocalPort 2201", "ChrootDirectory /srv"),
        ("Group freehold", "AllowUsers root"),
    ):
        said = " ".join(door.refused(own(where, what)).split())
        assert f"sshd would not let deploy from {client} in, by {what.split()[0]}: " in said, said
    assert fresh.exec("cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*").stdout == before
    assert door.prepare(own("User deploy Address 192.0.2.1", "ForceCommand /bin/true")) == ["ssh"]
    assert door.bootstrap() == []
    # Of a block that asks for a port sshd -T says nothing unless it is told one.
    assert door.prepare(own("LocalPort 22", "AllowTcpForwarding no")) == ["ssh"]
    assert door.bootstrap() == []
    assert door.drift() == {}
    door.prepare(base)


def test_the_lists_are_read_as_sshd_reads_them(rig: Rig, hosts: tuple[Host, Host]) -> None:
    host = hosts[0]
    call = ("ssh", f"deploy@{host.name}", "echo $SSH_CONNECTION; id -nG")
    client, _, _, _, *groups = rig.control_run(call).stdout.split()
    path = "/etc/ssh/sshd_config.d/00-lists.conf"
    # systemd counts starts that follow each other closely.
    again = "systemctl reset-failed ssh; systemctl restart ssh"
    outcomes = set()
    try:
        for options in (
            {"AllowUsers": "root *"},
            {"AllowUsers": "root d?pl*"},
            {"AllowUsers": "!deploy"},
            {"AllowUsers": '"deploy"'},
            {"AllowUsers": "!root deploy"},
            {"AllowUsers": "Deploy"},
            {"AllowUsers": f"deploy@{client}"},
            {"AllowUsers": "deploy@198.18.0.0/15"},
            {"AllowUsers": "deploy@192.0.2.0/24"},
            {"AllowUsers": "deploy@198.18.*"},
            {"AllowUsers": f"deploy@198.18.0.0/15,!{client}"},
            {"AllowUsers": f"deploy@!{client},*"},
            {"AllowUsers": "deploy@!192.0.2.1"},
            {"AllowUsers": "deploy@!192.0.2.1,*"},
            {"AllowUsers": "deploy@*.example.com"},
            {"DenyUsers": "* !deploy"},
            {"DenyUsers": f"deploy@!{client},*"},
            {"DenyUsers": "deploy@192.0.2.0/24"},
            {"AllowUsers": "deploy", "DenyUsers": "dep*"},
            {"DenyGroups": "doc*"},
            {"DenyGroups": "!docker"},
            {"AllowGroups": "wheel sudo"},
            {"AllowGroups": "wheel"},
            {"AllowGroups": "deploy", "DenyGroups": "sudo"},
        ):
            host.write(path, "".join(f"{name} {value}\n" for name, value in options.items()))
            host.exec(again)
            let_in = rig.control_run(call, check=False).returncode == 0
            assert (not shut_out_by(options, "deploy", groups, client)) is let_in, options
            outcomes.add(let_in)
    finally:
        host.exec(f"rm {path}; {again}")
    assert outcomes == {True, False}


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
