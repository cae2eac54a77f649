"""Connecting before there is anything to do: what fails is told once, to whoever asks first."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from deployer import connect
from deployer.endpoint import Endpoint
from deployer.remote import Remote
from deployer.script import Script, Step
from freehold.errors import ConfigError, ConnectError
from freehold.secret import Secret

SCRIPT = Script((Step("one", "true"),))


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this computer on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_refused_host_is_told_to_the_first_use(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "CONNECT_TRIES", 1)
    with Remote(Endpoint("web-1", "127.0.0.1", user="deploy", port=port)) as remote:
        remote.connect_ahead()
        with pytest.raises(ConnectError, match="Connection refused"):
            remote.run(SCRIPT, timeout=5)


def test_a_key_that_is_none_leaves_no_trace_of_a_thread(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loud: list[object] = []
    monkeypatch.setattr(threading, "excepthook", loud.append)
    end = Endpoint("web-1", "127.0.0.1", user="deploy", port=port, key_data=(Secret("no key"),))
    with Remote(end) as remote:
        remote.connect_ahead()
        with pytest.raises(ConfigError, match="key_data"):
            remote.run(SCRIPT, timeout=5)
    assert loud == []
