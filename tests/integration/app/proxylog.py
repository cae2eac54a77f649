"""The proxy's log: turned, and read whole."""

from __future__ import annotations

import json
from typing import Any

from tests.rig import Host

FOLDER = "/var/log/freehold-proxy"


def turn(host: Host, mebibytes: int, *, port: int = 80) -> None:
    """Ask until Caddy begins another log. To that it does not append: it writes at its own place."""
    which = f"stat --format %i {FOLDER}/proxy.log"
    before = host.exec(which).stdout.strip()
    # Each is a line of some seven thousand characters.
    path = f"/version?{'x' * 7000}[1-{mebibytes * 200}]"
    host.exec(
        ("curl", "-sf", "-o", "/dev/null", "-H", "Host: shop.test", f"http://127.0.0.1:{port}{path}"),
        timeout=180,
    )
    host.exec(f"until [ $({which}) != {before} ]; do sleep 0.1; done", timeout=180)
    assert int(host.exec(f"stat --format %s {FOLDER}/proxy.log").stdout) < mebibytes * 1024**2


def entries(host: Host) -> list[dict[str, Any]]:
    """What stands in all of its files; each line has to be whole."""
    found = []
    for path in host.exec(f"ls {FOLDER}/*.log").stdout.splitlines():
        for number, line in enumerate(host.read(path).split("\n")[:-1], 1):
            try:
                found.append(json.loads(line))
            except ValueError:
                raise AssertionError(f"{path}:{number} is no line of JSON: {line[:300]!r}") from None
    return found
