"""Keys and host keys as text: what is read, what is written, what is refused."""

from __future__ import annotations

import io
import logging
import socket
from pathlib import Path

import paramiko
import pytest

from deployer.config import DeployConfig
from deployer.connect import build, log_protocol, private_key, reason
from deployer.endpoint import CONNECT_TIMEOUT, endpoints
from deployer.hostkeys import Shown, trust
from deployer.link import KEEPALIVE, SILENCE, patience
from freehold.errors import ConfigError
from freehold.secret import Secret
from tests.unit.deployer import samples


def pem(key: paramiko.PKey, password: str | None = None) -> str:
    stream = io.StringIO()
    key.write_private_key(stream, password=password)
    return stream.getvalue()


@pytest.fixture(scope="module")
def key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


def test_a_key_out_of_its_text(key: paramiko.PKey) -> None:
    # As a dotenv file or a template leaves it: without the last line end, or with more of them.
    for text in (pem(key), pem(key).strip(), f"\n{pem(key)}\n\n"):
        assert private_key(Secret(text)) == key


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"ssh\.key_data"):
        private_key(Secret(text))


def test_a_key_with_a_passphrase_is_refused(key: paramiko.PKey) -> None:
    with pytest.raises(ConfigError, match="passphrase") as caught:
        private_key(Secret(pem(key, "words")))
    assert "ssh-add" in caught.value.hint


def with_ssh(directory: Path, key: paramiko.PKey, **ssh: object) -> DeployConfig:
    return samples.config(directory, secrets={"DEPLOY_KEY": pem(key)}, ssh=ssh)


def test_keys_are_named_or_written_out(tmp_path: Path, key: paramiko.PKey) -> None:
    config = with_ssh(tmp_path, key, key_data=["DEPLOY_KEY", pem(key)], forward_agent=True)
    for end in endpoints(config).values():
        assert [private_key(data) for data in end.key_data] == [key, key]
        assert end.forward_agent and end.dns_retries == 3
        assert "PRIVATE" not in repr(end)


def test_a_key_is_added_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "new" / "known_hosts"
    for name in ("a", "b"):
        trust(Shown(name, name, "ssh-ed25519", "SHA256:x", f"{name} ssh-ed25519 AAAA\n", False, file))
        file.write_text(file.read_text().rstrip("\n"))
    assert file.read_text() == "a ssh-ed25519 AAAA\nb ssh-ed25519 AAAA"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "nobody knows this name"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "Temporary failure"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
    ],
)
def test_why_there_is_no_connection(failure: OSError, words: str) -> None:
    assert words in reason(failure)


def test_the_protocol_is_heard_from_a_level_on() -> None:
    heard: list[str] = []
    logger = logging.getLogger("paramiko.transport")
    try:
        for level, expected in (("fatal", []), ("warn", ["ssh: two"]), ("info", ["ssh: one", "ssh: two"])):
            heard.clear()
            log_protocol(level, heard.append)
            logger.info("one")
            logger.warning("two")
            assert heard == expected
    finally:
        log_protocol("fatal", heard.append)


@pytest.mark.parametrize(
    ("lines", "connect", "watched"),
    [
        ("", CONNECT_TIMEOUT, (KEEPALIVE, SILENCE)),
        ("ConnectTimeout 4\nServerAliveInterval 2\nServerAliveCountMax 5", 4, (2, 10)),
        ("ServerAliveInterval 30", CONNECT_TIMEOUT, (30, 90)),
        ("ServerAliveInterval 0\nConnectTimeout 0", CONNECT_TIMEOUT, (KEEPALIVE, SILENCE)),
        ("ServerAliveInterval soon\nConnectTimeout 1m", CONNECT_TIMEOUT, (KEEPALIVE, SILENCE)),
    ],
)
def test_how_long_a_silent_host_is_waited_for(
    tmp_path: Path, lines: str, connect: int, watched: tuple[int, int]
) -> None:
    file = tmp_path / "ssh_config"
    file.write_text(f"Host *\n{lines}\n")
    jumped = samples.config(tmp_path, ssh={"config": str(file), "proxy": "jump"})
    for config in (samples.config(tmp_path, ssh={"config": str(file)}), jumped):
        made = build(next(iter(endpoints(config).values())))
        while made is not None:
            assert (made.connect_timeout, patience(made.ssh_config)) == (connect, watched)
            made = made.gateway
