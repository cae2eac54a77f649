"""Who is let in: keys and lists of users, none of which `server bootstrap` turns against who is at work."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloudinit.admission import shut_out_by
from tests.conftest import Control
from tests.integration.app.door import Door, ports
from tests.rig import Host, HostSpec, Rig


@pytest.fixture(scope="module")
def fresh(rig: Rig) -> Iterator[Host]:
    """A server of somebody else's making, which the tests of this file change one after the other."""
    (host,) = rig.boot(HostSpec("entry", "trixie", plain=True))
    yield host
    rig.remove(host.name)


@pytest.fixture
def door(control: Control, fresh: Host) -> Door:
    made = Door(control, fresh)
    # Port 22 stays free for a block of settings that nobody comes by.
    if ports(fresh) == {"22"}:
        made.come_to(22)
        made.prepare("ssh: {port: 2201}\n")
    return made


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
    assert "the key that let you in to entry as deploy is not among those" in door.refused(named)
    assert colleague in fresh.read(path)
    assert door.prepare(named.replace("keys: [", f"keys: ['{own}', ")) == ["user-deploy"]
    assert fresh.read(path) == f"{own}\n{other}\n"
    door.come_to(2201)
    assert "you log in to entry as root" in door.refused("ssh: {port: 2201, root: false}\n")
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
            assert "entry: keys: the host lets deploy in with none of the keys of config/host.yml" in said
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
