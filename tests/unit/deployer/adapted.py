"""What the real Caddy makes of the proxy's files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cloudinit.parts.caddyfile import caddyfile
from cloudinit.profile import HostProfile
from deployer.commands import layout, proxy
from tests.unit.deployer import samples

CADDY = Path(sys.executable).parent / "caddy"


def adapted(
    directory: Path, *, more: dict[str, Any] | None = None, host: str = "web-1", **proxies: Any
) -> dict[str, Any]:
    """What Caddy understands of the main file of a host with the routes of these services."""
    place = directory / "proxy"
    for service, settings in proxies.items():
        config = samples.config(
            directory,
            secrets={"CERT": "a certificate", "KEY": "its key"},
            **{"service": service, "proxy": settings, "servers": ["web-1"], **(more or {})},
        )
        for path, text in proxy.files(config, config.routed_on(host), host).items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text.replace(layout.PROXY, str(place)))
    (place / "routes" / layout.DEFAULT_HOST).mkdir(parents=True, exist_ok=True)
    (place / "sites").mkdir(exist_ok=True)
    main = directory / "Caddyfile"
    main.write_text(caddyfile(HostProfile()).replace(layout.PROXY, str(place)))
    done = subprocess.run(
        [CADDY, "adapt", "--config", main, "--adapter", "caddyfile"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def found(value: Any, key: str) -> list[Any]:
    """Every value under a key, anywhere, in order."""
    if isinstance(value, dict):
        return [x for k, v in value.items() for x in ([v] if k == key else []) + found(v, key)]
    return [x for item in value for x in found(item, key)] if isinstance(value, list) else []


def proxies(made: dict[str, Any], *, tried: bool = False) -> list[dict[str, Any]]:
    """What passes requests on; `tried`: to a version that is being tried."""
    return [
        handler
        for handle in found(made["apps"]["http"], "handle")
        for handler in handle
        if handler["handler"] == "reverse_proxy"
        and handler["upstreams"][0]["dial"].endswith("/target}") is tried
    ]


def hosts(made: dict[str, Any]) -> list[str]:
    servers = made["apps"]["http"]["servers"].values()
    return [name for server in servers for names in found(server.get("routes", []), "host") for name in names]


def handlers(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    servers = made["apps"]["http"]["servers"].values()
    return [
        handler
        for server in servers
        for handle in found(server.get("routes", []), "handle")
        for handler in handle
        if handler["handler"] == kind
    ]
