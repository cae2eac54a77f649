from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_authorized_keys, parse_public_key
from cloudinit.keysources import resolve_keys
from cloudinit.profile import parse_profile
from freehold.errors import ConfigError

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"


def rsa(bits: int) -> str:
    def field(data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + data

    modulus = ((1 << (bits - 1)) | 1).to_bytes(bits // 8 + 1, "big")
    blob = field(b"ssh-rsa") + field(b"\x01\x00\x01") + field(modulus)
    return "ssh-rsa " + base64.b64encode(blob).decode()


def test_a_key_keeps_comment_and_options() -> None:
    key = parse_public_key(f'restrict,command="run it" {ED}  me at home ')
    assert (key.type, key.comment, key.options) == ("ssh-ed25519", "me at home", 'restrict,command="run it"')
    assert key.line == f'restrict,command="run it" {ED} me at home'


def test_a_strong_rsa_key_is_taken() -> None:
    assert parse_public_key(rsa(3072)).type == "ssh-rsa"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "private key"),
        ("ssh-dss AAAAB3NzaC1kc3M= x", "DSA"),
        ("hello world", "begins with 'hello'"),
        (ED[:-8], "incomplete"),
        (ED + "!", "not base64"),
        (ED.replace("ssh-ed25519", "ssh-rsa"), "data holds 'ssh-ed25519'"),
        (rsa(1024), "1024 bits is too weak"),
        (f"{ED}\n{ED}", "one line"),
    ],
)
def test_what_is_no_usable_key_is_refused_with_its_reason(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_public_key(text)


def test_a_key_file_may_hold_comments_and_blank_lines() -> None:
    assert len(parse_authorized_keys(f"# mine\n\n{ED} a\n{rsa(2048)} b\n")) == 2


def test_a_generated_host_key_is_one_that_ssh_keygen_reads(tmp_path: Path) -> None:
    key = generate_host_key("web-1")
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(key.private.reveal())
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert derived.split()[:2] == key.public.split()[:2]
    path.with_suffix(".pub").write_text(key.public)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", path.with_suffix(".pub")],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert key.fingerprint in shown
    assert "PRIVATE" not in repr(key)


def test_known_hosts_names_the_port_only_where_it_is_another() -> None:
    key = generate_host_key()
    assert key.known_hosts("web-1").startswith("web-1 ssh-ed25519 ")
    assert key.known_hosts("127.0.0.2", 2222).startswith("[127.0.0.2]:2222 ssh-ed25519 ")


class Sources:
    def file(self, path: str) -> str:
        if path == "missing.pub":
            raise FileNotFoundError(2, "No such file or directory")
        return f"{ED} file\n"

    def agent(self) -> str:
        return ""

    def github(self, name: str) -> str:
        return f"{rsa(2048)}\n{ED}\n"

    def own(self) -> str:
        return f"ssh-dss AAAA old\n{ED} own\n"


def test_keys_are_read_once_each_and_a_user_without_any_gets_the_operators() -> None:
    profile = parse_profile("users:\n  - deploy\n  - name: ci\n    keys: [gh:octocat, a.pub]\n")
    deploy, ci = resolve_keys(profile, Sources()).users
    assert [key.comment for key in deploy.public_keys] == ["own"]
    assert (deploy.keys_added, ci.keys_added) == (True, False)
    assert [key.type for key in ci.public_keys] == ["ssh-rsa", "ssh-ed25519"]


@pytest.mark.parametrize(
    ("key", "message"),
    [("missing.pub", "missing.pub cannot be read: No such file"), ("agent", "agent holds no key")],
)
def test_a_key_that_cannot_be_read_is_named_with_its_line(key: str, message: str) -> None:
    profile = parse_profile(f"users:\n  - name: ci\n    keys:\n      - {key}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        resolve_keys(profile, Sources())
    assert caught.value.where is not None
    assert caught.value.where.line == 4
