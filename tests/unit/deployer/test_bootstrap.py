from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cloudinit.profile import HostProfile, parse_profile
from deployer.bootstrap import QUESTION, Look, look
from deployer.door import keep_the_door, keeping, leaving_key
from deployer.remote import Output
from freehold.errors import ConfigError, HostError, InputError

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuF"
FOUND = Look("192.0.2.7", 22, "x86_64", "none", "Debian GNU/Linux 12 (bookworm)", "root", "deploy")


@dataclass
class Answering:
    """A host that says one thing."""

    stdout: str
    name: str = "web-1"

    def exec(self, _command: str, **_: Any) -> Output:
        return Output(0, self.stdout, "sh: not found")


def ask(stdout: str) -> Look:
    remote: Any = Answering(stdout)
    return look(remote)


def test_the_question_is_answered_by_a_real_shell() -> None:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SSH_CONNECTION": "192.0.2.7 51000 192.0.2.10 2222",
    }
    done = subprocess.run(
        ["sh", "-c", QUESTION], capture_output=True, text=True, timeout=60, env=environment, check=True
    )
    found = ask(done.stdout)
    assert found.user == pwd.getpwuid(os.getuid()).pw_name
    assert (found.client, found.address, found.port) == ("192.0.2.7", "192.0.2.10", 2222)
    assert grp.getgrgid(os.getgid()).gr_name in found.groups
    assert found.machine == subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip()


def test_a_host_that_does_not_say_where_we_come_from_is_no_reason_to_stop() -> None:
    found = ask("none\nx86_64\nv2.11.1 h1:x\nDebian GNU/Linux 13 (trixie)\npassword\nadmin\nadmin sudo\n")
    system = "Debian GNU/Linux 13 (trixie)"
    assert found == Look("", 0, "x86_64", "v2.11.1 h1:x", system, "password", "admin", "", ("admin", "sudo"))
    keep_the_door(found, parse_profile("ssh: {allow: 198.51.100.0/24}"), "web-1")


def test_a_host_that_answers_otherwise_is_an_error() -> None:
    with pytest.raises(HostError, match="does not answer as a Debian server would") as caught:
        ask("Welcome to the router\n")
    assert "Welcome to the router" in caught.value.details


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("ssh: {allow: 192.0.2.0/24}", "192.0.2.7"),
        ("ssh: {allow: ['2001:db8::/32', 198.51.100.0/24]}", "2001:db8::1"),
        ("ssh: {allow: [fe80::/10]}", "fe80::1%eth0"),
        ("", "192.0.2.7"),
        ("ssh: {allow: 198.51.100.0/24}\nfirewall: {enabled: false}", "192.0.2.7"),
    ],
)
def test_the_door_stays_open_for_this_computer(text: str, client: str) -> None:
    keep_the_door(replace(FOUND, client=client), parse_profile(text), "web-1")


def test_a_list_without_this_computer_is_refused() -> None:
    with pytest.raises(InputError, match=r"web-1 sees this computer as 192\.0\.2\.7") as caught:
        keep_the_door(FOUND, parse_profile("ssh: {allow: 198.51.100.0/24}"), "web-1")
    assert "add 192.0.2.7" in caught.value.hint


def test_a_port_that_the_profile_does_not_name_is_not_shut_by_the_firewall() -> None:
    found = replace(FOUND, port=2222)
    with pytest.raises(InputError, match="sshd on web-1 listens on port 2222") as caught:
        keep_the_door(found, parse_profile("ssh: {root: true}"), "web-1")
    assert "`ssh: {port: 2222}`" in caught.value.hint
    for said in ("ssh: {port: 2222}", "ssh: {port: 22}", "ssh: {port: 2200}"):
        keep_the_door(found, parse_profile(said), "web-1")


def test_root_does_not_shut_its_own_door() -> None:
    found = replace(FOUND, user="root")
    keep_the_door(found, HostProfile(), "web-1", ED)
    with pytest.raises(InputError, match="you log in to web-1 as root") as caught:
        keep_the_door(found, parse_profile("ssh: {root: false}"), "web-1", ED)
    assert "nothing was changed" in caught.value.hint


def test_a_key_that_leaves_the_profile_is_known_by_the_login_that_it_gave() -> None:
    named = parse_profile(f"users: [{{name: deploy, keys: ['{OTHER}']}}]")
    old = leaving_key(FOUND, named, ED)
    assert old is not None
    assert f"{old.type} {old.data}" == ED
    assert keeping(named, FOUND, old).users[0].keys_kept == (old.data,)
    assert leaving_key(FOUND, named, OTHER) is None
    # A certificate, or another user's account, is none of the profile's.
    assert leaving_key(FOUND, named, "") is None
    assert leaving_key(replace(FOUND, user="admin"), named, ED) is None
    (user,) = named.users
    assert leaving_key(FOUND, replace(named, users=(replace(user, keys_added=True),)), ED) is None


HERE = replace(FOUND, address="192.0.2.10", groups=("users", "docker"))


@pytest.mark.parametrize(
    "text",
    [
        "{AllowUsers: 'ops deploy@192.0.2.*'}",
        "{AllowUsers: 'deploy@192.0.2.0/24,!192.0.2.9'}",
        "{DenyUsers: deploy@192.0.2.8}",
        "{AllowGroups: sudo}",
        "{ListenAddress: 192.0.2.10}",
        "{ListenAddress: 0.0.0.0, AddressFamily: inet}",
        "{ListenAddress: host.example.com}",
        "{PubkeyAcceptedAlgorithms: 'ssh-ed*,rsa-sha2-512'}",
        "{PubkeyAcceptedAlgorithms: -ssh-rsa}",
        "{PubkeyAcceptedAlgorithms: +ssh-rsa}",
    ],
)
def test_settings_of_sshd_that_let_us_in_again_are_taken(text: str) -> None:
    keep_the_door(HERE, parse_profile(f"ssh: {{options: {text}}}"), "web-1", ED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{AllowUsers: deploy@198.51.100.0/24}", "as deploy from 192.0.2.7, whom AllowUsers shuts out"),
        ("{AllowUsers: 'deploy@192.0.2.0/24,!192.0.2.7'}", "whom AllowUsers shuts out"),
        # Without UseDNS sshd asks for no names.
        ("{allowusers: deploy@*.example.com}", "whom allowusers shuts out"),
        ("{DenyUsers: deploy@192.0.2.7}", "whom DenyUsers shuts out"),
        ("{DenyGroups: users}", "whom DenyGroups shuts out"),
        # The user is on the server already, without a group of its name.
        ("{AllowGroups: deploy}", "whom AllowGroups shuts out"),
        ("{ListenAddress: 127.0.0.1}", "you reach web-1 at 192.0.2.10, where sshd would not listen any more"),
        ("{ListenAddress: '::'}", "ListenAddress says otherwise"),
        ("{AddressFamily: inet6}", "AddressFamily says otherwise"),
        (
            "{PubkeyAcceptedAlgorithms: 'rsa-sha2-*'}",
            "does not take the key that let you in: expected one of ssh-ed",
        ),
        ("{PubkeyAcceptedKeyTypes: '-ssh-ed25519'}", "PubkeyAcceptedKeyTypes does not take the key"),
    ],
)
def test_settings_of_sshd_that_shut_us_out_are_named_with_their_line(text: str, message: str) -> None:
    profile = parse_profile(f"ssh:\n  options: {text}")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        keep_the_door(HERE, profile, "web-1", ED)
    assert caught.value.where is not None
    assert caught.value.where.line == 2
    assert "nothing was changed" in caught.value.hint


def test_who_comes_as_root_or_as_a_user_of_the_servers_own_is_let_in_again_too() -> None:
    profile = parse_profile("ssh: {options: {AllowUsers: deploy}}")
    for user in ("root", "admin"):
        with pytest.raises(ConfigError, match=f"you log in to web-1 as {user} from 192"):
            keep_the_door(replace(HERE, user=user), profile, "web-1", ED)
    by_group = parse_profile("ssh: {options: {AllowGroups: freehold wheel}}")
    keep_the_door(replace(HERE, user="admin", groups=("admin", "wheel")), by_group, "web-1", ED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('command="uptime"', "is let in for one command only"),
        ('no-pty,from="198.51.100.0/24,!198.51.100.7"', "and web-1 sees this computer as 192.0.2.7"),
    ],
)
def test_the_options_of_our_key_let_us_in_again(options: str, message: str) -> None:
    def profile(text: str) -> HostProfile:
        return parse_profile(json.dumps({"users": [{"name": "deploy", "keys": [f"{text} {ED}"]}]}))

    with pytest.raises(InputError, match=message):
        keep_the_door(HERE, profile(options), "web-1", ED)
    keep_the_door(HERE, profile('no-pty,from="192.0.2.*"'), "web-1", ED)
    keep_the_door(HERE, profile(options), "web-1", OTHER)
