from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cloudinit.profile import HostProfile, parse_profile
from deployer.bootstrap import QUESTION, Look, keep_the_door, look
from deployer.remote import Output
from freehold.errors import HostError, InputError

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
    assert (found.client, found.port) == ("192.0.2.7", 2222)
    assert found.machine == subprocess.run(["uname", "-m"], capture_output=True, text=True).stdout.strip()


def test_a_host_that_does_not_say_where_we_come_from_is_no_reason_to_stop() -> None:
    found = ask("none\nx86_64\nv2.11.1 h1:x\nDebian GNU/Linux 13 (trixie)\npassword\nadmin\n")
    assert found == Look("", 0, "x86_64", "v2.11.1 h1:x", "Debian GNU/Linux 13 (trixie)", "password", "admin")
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


def test_the_key_that_let_us_in_is_not_taken_away() -> None:
    named = parse_profile(f"users: [{{name: deploy, keys: ['{OTHER}']}}]")
    with pytest.raises(InputError, match="the key that let you in to web-1 as deploy") as caught:
        keep_the_door(FOUND, named, "web-1", ED)
    assert "add the key SHA256:" in caught.value.hint
    keep_the_door(FOUND, named, "web-1", OTHER)
    # A certificate, or another user's account, is none of the profile's.
    keep_the_door(FOUND, named, "web-1", "")
    keep_the_door(replace(FOUND, user="admin"), named, "web-1", ED)
    (user,) = named.users
    keep_the_door(FOUND, replace(named, users=(replace(user, keys_added=True),)), "web-1", ED)
