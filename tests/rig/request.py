"""One HTTP request from inside a namespace."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.rig import netns


@dataclass(frozen=True)
class Response:
    """What came back; header names in lower case, the last of several equal ones."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    """Connects from inside a namespace."""

    def __init__(self, namespace: netns.Namespace, address: str, port: int, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self._namespace = namespace
        self._seconds = timeout

    def connect(self) -> None:
        self.sock = netns.connect(self._namespace, self.host, self.port, self._seconds)


def request(
    namespace: netns.Namespace,
    address: str,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    port: int = 80,
    timeout: float = 10,
) -> Response:
    """Raises OSError where there is no connection and http.client.HTTPException for a broken answer."""
    connection = _Connection(namespace, address, port, timeout)
    try:
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
        except (ConnectionResetError, BrokenPipeError) as exc:
            # Closed before a word of an answer, however the kernel says it.
            raise http.client.RemoteDisconnected(str(exc)) from exc
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, found, answer.read())
    finally:
        connection.close()
