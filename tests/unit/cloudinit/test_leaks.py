from __future__ import annotations

import pytest

from cloudinit.leaks import in_cloud_config, in_text
from freehold.source import Location
from freehold.yamlfile import parse

WHERE = Location("own.sh", 1)
SECRETS = [
    ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
    ("-----BEGIN PRIVATE KEY-----", "a private key"),
    ("export GH=ghp_" + "a1B2" * 9, "a GitHub token"),
    ("docker login -p dckr_pat_" + "x" * 27, "a Docker Hub token"),
    ("aws AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
    ("DATABASE_URL=postgres://app:hunter2@db/app", "a password in a URL"),
    ("curl -H 'Authorization: Bearer abcdef123456' x", "a bearer token"),
    ("POSTGRES_PASSWORD=hunter2hunter2", "a password or token"),
    ('api_key: "0123456789abcdef"', "a password or token"),
    ('{"token": "0123456789abcdef"}', "a password or token"),
]
HARMLESS = [
    "-----BEGIN PUBLIC KEY-----",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me",
    "PASSWORD=$(cat /run/secret)",
    'TOKEN="$TOKEN"',
    "password: ${PASSWORD}",
    "PasswordAuthentication no",
    "PASSWORD_FILE=/run/secrets/password",
    "token = <your token here>",
    "curl https://example.com:8443/path@v1",
    "echo change your password soon",
    "secret: false",
]


@pytest.mark.parametrize(("line", "what"), SECRETS, ids=[case[1] + case[0][:8] for case in SECRETS])
def test_a_secret_is_named_with_its_line_and_never_shown(line: str, what: str) -> None:
    (leak,) = in_text(f"#!/bin/sh\n\n{line}\n", WHERE)
    assert (leak.what, leak.where.line) == (what, 3)
    assert str(leak) == f"{what} (own.sh:3)"


@pytest.mark.parametrize("line", HARMLESS)
def test_what_is_no_secret_is_let_through(line: str) -> None:
    assert list(in_text(line, WHERE)) == []


def test_secrets_of_a_cloud_config_are_found_by_key_and_by_text() -> None:
    text = """\
users:
  - name: ops
    plain_text_passwd: hello
  - name: other
    lock_passwd: true
chpasswd: {expire: false}
ssh_keys:
  ed25519_public: ssh-ed25519 AAAA
write_files:
  - path: /etc/key
    content: |
      first
      -----BEGIN RSA PRIVATE KEY-----
runcmd:
  - [sh, -c, "API_TOKEN=0123456789 run"]
"""
    found = [(leak.what, leak.where.line) for leak in in_cloud_config(parse(text, "own.yml"))]
    assert found == [("a plain password", 3), ("a private key", 13), ("a password or token", 15)]
    closed = "ssh_keys: {ed25519_private: x}\nchpasswd:\n  users: [{name: a, password: b}]\n"
    found = [(leak.what, leak.where.line) for leak in in_cloud_config(parse(closed, "own.yml"))]
    assert found == [("a private SSH host key", 1), ("passwords", 2)]
