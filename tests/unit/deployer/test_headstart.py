"""Connections that are begun before the SSH client is there: only to where it would go itself."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.endpoint import Endpoint
from deployer.headstart import HeadStart, begin, place
from deployer.remote import Remote
from freehold.console import Console
from freehold.errors import ConnectError
from tests.unit.deployer.sshserver import Server, make, public

CONFIG = """\
# who we are
Host web-*  !web-9
    HostName 127.0.0.7
    Port=2222
Host "web-2" db
    HostName other.test
    ProxyJump gate
Host *
    User anna
    Port 2200
"""


@pytest.mark.parametrize(
    ("address", "port", "texts", "found"),
    [
        ("web-1", None, (CONFIG,), ("127.0.0.7", 2222)),
        ("web-1", 22022, (CONFIG,), ("127.0.0.7", 22022)),
        ("web-9", None, (CONFIG,), ("web-9", 2200)),
        ("web-9", None, (), ("web-9", 22)),
        # By way of another host.
        ("web-2", None, (CONFIG,), None),
        ("db", None, (CONFIG,), None),
        ("web-1", None, ("hostname %h.test",), None),
        ("web-1", None, ("Port ssh",), None),
        ("web-1", None, ("ConnectTimeout 5",), None),
        ("web-1", None, ("Match exec true\n  Port 1",), None),
        # The client does not read what it names.
        ("web-1", None, ("Include /etc/ssh/ssh_config.d/*.conf\n", "Port 7"), ("web-1", 7)),
        # The first word counts, of whichever file.
        ("web-1", None, ("Port 6", "Port 7\nHostName a.test"), ("a.test", 6)),
    ],
)
def test_where_a_host_is(
    address: str, port: int | None, texts: tuple[str, ...], found: tuple[str, int] | None
) -> None:
    assert place(texts, address, port) == found


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with contextlib.closing(Server(tmp_path)) as made:
        yield made


def test_the_client_goes_on_with_it(tmp_path: Path, server: Server) -> None:
    key = make(tmp_path, "good")
    server.door.accepted.append(public(key))
    end = server.endpoint(keys=(str(key),))
    started = begin({"web-1": end}, 5)
    with Remote(end, debug=Console(quiet=True).detail, started=started["web-1"]) as remote:
        remote.connect()
        remote.close()
        assert server.door.connections == 1
        remote.connect()
    assert server.door.connections == 2


def test_one_that_leads_elsewhere_is_not_used(tmp_path: Path, server: Server) -> None:
    key = make(tmp_path, "good")
    server.door.accepted.append(public(key))
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as elsewhere:
        started = HeadStart(*elsewhere.getsockname())
        other, _ = elsewhere.accept()
        end = server.endpoint(keys=(str(key),))
        with contextlib.closing(other), Remote(end, started=started) as remote:
            remote.connect()
            other.settimeout(30)
            assert other.recv(100) == b"", "it was closed without a word"
    assert server.door.connections == 1


def test_a_refused_one_is_tried_as_ever(server: Server) -> None:
    server.close()
    end = server.endpoint()
    started = begin({"web-1": end}, 5)
    with Remote(end, started=started["web-1"]) as remote, pytest.raises(ConnectError, match="refused"):
        remote.connect()


def test_a_silent_host_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.headstart.CONNECT_TIMEOUT", 0.5)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # Nobody is let in behind those who wait already.
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        end = Endpoint("web-1", "127.0.0.1", "deploy", port=port, config_files=())
        began = time.monotonic()
        with (
            Remote(end, started=begin({"web-1": end}, 5)["web-1"]) as remote,
            pytest.raises(ConnectError, match="no answer in time"),
        ):
            remote.connect()
        assert time.monotonic() - began < 10, "its own patience, 15 seconds, did not begin"


def test_what_nobody_wanted_is_closed() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address, port = listener.getsockname()
        end = Endpoint("web-1", address, "deploy", port=port, config_files=())
        with Remote(end, started=begin({"web-1": end}, 5)["web-1"]):
            accepted, _ = listener.accept()
        with contextlib.closing(accepted):
            accepted.settimeout(30)
            assert accepted.recv(100) == b""


def test_only_so_many_and_only_simple_ones_are_begun() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        end = Endpoint("web", "127.0.0.1", "deploy", port=listener.getsockname()[1], config_files=())
        ends = {
            "jump": replace(end, jump="gate"),
            "command": replace(end, proxy_command="nc %h %p"),
            **{f"web-{number}": end for number in range(3)},
        }
        started = begin(ends, 2)
        assert list(started) == ["web-0", "web-1"]
        for one in started.values():
            one.close()
