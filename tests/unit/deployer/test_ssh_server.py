"""Ways to a host, and the keys it is offered: a real server on the loopback says what it was shown."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from paramiko import common

from deployer.config import Sshkit
from deployer.connect import CONNECT_TRIES, holds, open_connection
from deployer.endpoint import Endpoint
from deployer.fleet import Fleet
from deployer.remote import Remote
from deployer.report import step_error
from deployer.script import Script, Step
from deployer.sshkeys import public_parts
from freehold.console import Console
from freehold.errors import ConnectError
from freehold.secret import Secret
from tests.unit.deployer.sshserver import Server, make, public

PASSPHRASE = "open sesame"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    made = Server(home)
    yield made
    made.close()


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = home / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield path
        process.terminate()


def add(home: Path, file: Path) -> None:
    """Put a key into the agent; its passphrase comes from a program, as there is no terminal."""
    ask = home / "ask"
    ask.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    ask.chmod(0o755)
    env = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    env["SSH_AUTH_SOCK"] = str(home / "agent")
    subprocess.run(["ssh-add", "-q", file], env=env, check=True)


def enter(end: Endpoint) -> None:
    open_connection(end).close()


def test_files_that_are_missing_are_passed_over(home: Path, server: Server) -> None:
    good = make(home, "good")
    server.door.accepted.append(public(good))
    enter(server.endpoint(keys=("~/missing", "~/good")))
    config = home / "config"
    config.write_text(f"Host *\nIdentityFile {home}/missing\nIdentityFile none\nIdentityFile {good}\n")
    enter(server.endpoint(config_files=(str(config),)))
    assert server.door.shown == [public(good)] * 2
    with pytest.raises(ConnectError, match=r"lets nobody in as 'deploy'.*there is no key to offer"):
        enter(server.endpoint(keys=("~/missing",)))
    # A host that answers is asked once.
    assert server.door.connections == 3


class Mute(paramiko.Transport):
    """Grants the service for logging in without a word of it."""

    granted = 0

    def _send_message(self, data: paramiko.Message) -> None:
        if data.asbytes().startswith(common.cMSG_SERVICE_ACCEPT):
            Mute.granted += 1
        else:
            super()._send_message(data)  # type: ignore[misc]


def test_keys_are_offered_without_a_wait_for_the_service_that_takes_them(home: Path, server: Server) -> None:
    server.made = Mute
    files = [make(home, f"key{number}") for number in range(3)]
    server.door.accepted.append(public(files[2]))
    enter(server.endpoint(keys=tuple(map(str, files))))
    assert server.door.shown == [public(file) for file in files]
    assert Mute.granted == 1


def test_every_kind_of_key_is_offered_once(home: Path, server: Server) -> None:
    files = [
        make(home, "rsa", "rsa"),
        make(home, "pem", "rsa", form="PEM"),
        make(home, "ecdsa", "ecdsa"),
        make(home, "ed25519"),
    ]
    with pytest.raises(ConnectError, match=r"\(Authentication failed\)"):
        enter(server.endpoint(keys=tuple(map(str, files)), key_data=(Secret(files[0].read_text()),)))
    assert list(dict.fromkeys(server.door.shown)) == [public(file) for file in files]
    assert server.door.connections == 1


def test_connects_are_tried_again_and_commands_never(home: Path, server: Server) -> None:
    good = make(home, "good")
    server.door.accepted.append(public(good))
    end, door = server.endpoint(keys=(str(good),)), server.door
    door.refusals = CONNECT_TRIES - 1
    with Remote(end) as remote:
        remote.connect()
        assert door.connections == CONNECT_TRIES
        # What it had begun to do nobody knows.
        script = Script((Step("step", "true"),))
        assert "the connection was lost" in step_error(script, remote.run(script, timeout=60)).message
    assert len(door.commands) == 1 and door.connections == CONNECT_TRIES
    door.refusals = door.connections + CONNECT_TRIES
    with Remote(end) as remote, pytest.raises(ConnectError, match="no SSH connection to"):
        remote.exec("true")
    assert len(door.commands) == 1 and door.connections == 2 * CONNECT_TRIES


def test_a_hundred_hosts_are_connected_to_few_at_a_time(home: Path, server: Server) -> None:
    good, names = make(home, "good"), [f"web-{number}" for number in range(100)]
    server.door.accepted.append(public(good))
    ends = {name: server.endpoint(name=name, keys=(str(good),)) for name in names}
    with Fleet(ends, Console(quiet=True), Sshkit(max_concurrent_starts=4)) as fleet:
        answers = fleet.each(names, lambda name: fleet[name].reached().port)
        assert answers.all() == dict.fromkeys(names, server.port)
    assert server.door.connections == 100 and 1 < server.door.most_entering <= 4


def test_a_key_with_a_passphrase_comes_from_the_agent(home: Path, server: Server, agent: Path) -> None:
    locked, other = make(home, "locked", passphrase=PASSPHRASE), make(home, "other")
    server.door.accepted.append(public(locked))
    end = server.endpoint(keys=(str(locked),), keys_only=True)
    with pytest.raises(ConnectError, match="locked is protected by a passphrase") as caught:
        enter(end)
    assert caught.value.hint == f"load the key into the agent: ssh-add {locked}"
    add(home, other)
    add(home, locked)
    # With the public part beside it, and without.
    enter(end)
    (home / "locked.pub").unlink()
    enter(end)
    assert server.door.shown == [public(locked)] * 2
    enter(server.endpoint())
    assert public(other) in server.door.shown


def test_keys_only_means_the_keys_of_the_agent_too(home: Path, server: Server, agent: Path) -> None:
    mine, other = make(home, "mine"), make(home, "other")
    add(home, other)
    server.door.accepted.append(public(other))
    with pytest.raises(ConnectError, match="lets nobody in"):
        enter(server.endpoint(keys=(str(mine),), keys_only=True))
    assert server.door.shown == [public(mine)]
    # As with OpenSSH, the public part is enough to choose a key that only the agent has.
    other.unlink()
    enter(server.endpoint(keys=(f"{other}.pub",), keys_only=True))


def test_without_keys_of_its_own_the_usual_ones_are_offered(home: Path, server: Server) -> None:
    (home / ".ssh").mkdir()
    usual = make(home, ".ssh/id_ed25519")
    server.door.accepted.append(public(usual))
    for only in (False, True):
        enter(server.endpoint(keys_only=only))
    named = make(home, "named")
    enter(server.endpoint(keys=(str(named),)))
    with pytest.raises(ConnectError):
        enter(server.endpoint(keys=(str(named),), keys_only=True))


def test_of_the_keys_at_hand_some_alone_are_offered(home: Path, server: Server, agent: Path) -> None:
    (home / ".ssh").mkdir()
    authority, usual, held = make(home, "authority"), make(home, ".ssh/id_ed25519"), make(home, "held")
    words = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "deploy", f"{usual}.pub"]
    subprocess.run(words, check=True)
    add(home, held)
    server.door.accepted += [public(make(home, "named")), public(held)]
    named = server.endpoint(keys=(str(home / "named"),))
    data = {file: base64.b64encode(part).decode() for file in (usual, held) for part in (key_part(file),)}
    # Without its certificate, which would let in for another reason.
    with pytest.raises(ConnectError, match="lets nobody in"):
        enter(replace(named, among=frozenset({data[usual]})))
    assert server.door.shown == [key_part(usual)]
    enter(replace(named, among=frozenset({data[held]})))
    assert server.door.shown[1:] == [key_part(held)]
    connections = server.door.connections
    assert [holds(replace(named, among=frozenset({text}))) for text in (*data.values(), "AAAA")] == [
        True,
        True,
        False,
    ]
    assert holds(named)
    assert server.door.connections == connections


def key_part(file: Path) -> bytes:
    """The public part of a key itself."""
    return base64.b64decode(Path(f"{file}.pub").read_text().split()[1])


def test_a_certificate_goes_with_its_key(home: Path, server: Server) -> None:
    authority, mine = make(home, "authority"), make(home, "mine")
    words = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "deploy", f"{mine}.pub"]
    subprocess.run(words, check=True)
    certificate = home / "mine-cert.pub"
    assert len(public_parts(mine)) == 2
    server.door.accepted += public_parts(mine)
    for name in (mine, certificate):
        enter(server.endpoint(keys=(str(name),), keys_only=True))


def test_a_proxy_command_is_told_where_to_and_as_whom(home: Path, server: Server) -> None:
    mine, relay = make(home, "mine"), home / "relay"
    server.door.accepted.append(public(mine))
    relay.write_text('#!/bin/bash\necho "$@" >>~/told\nexec 3<>"/dev/tcp/$1/$2"\ncat <&3 & exec cat >&3\n')
    relay.chmod(0o755)
    command = "~/relay %h %p %r '100%%h'"
    enter(server.endpoint(keys=(str(mine),), proxy_command=command))
    # In ~/.ssh/config as well: the port and the user are those of deploy.yml.
    config = home / "config"
    config.write_text(f"Host web\nHostName 127.0.0.1\nPort 1\nUser nobody\nProxyCommand {command}\n")
    enter(server.endpoint(address="web", keys=(str(mine),), config_files=(str(config),)))
    assert (home / "told").read_text() == f"127.0.0.1 {server.port} deploy 100%h\n" * 2
