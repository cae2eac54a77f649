"""The last configuration that the proxy accepted: kept on the disk, served where the present one is refused.

A reload with a broken file is refused and changes nothing. A start would serve nobody: after a reboot, one
broken file of one service would be everyone's.
"""

from __future__ import annotations

import json
from pathlib import Path

from cloudinit.parts.caddyfile import ACME_ROOT, ADMIN, CADDYFILE, CERTS, DATA, LOG
from cloudinit.parts.listeners import SERVICE_UNIT
from cloudinit.proxybinary import BINARY
from cloudinit.steps import File

PROGRAM = "/usr/local/lib/freehold/proxy"
PATH_UNIT = "freehold-proxy-keep.path"
KEEP_UNIT = "freehold-proxy-keep.service"
ID = "freehold-last-good"
"""Marks the kept configuration, so that the proxy itself can be asked whether it runs with it."""
ASK_URL = f"http://localhost/id/{ID}/admin"
RUN = "/run/freehold-proxy"
OVER = f"{RUN}/over"
"""What the proxy's first process does when another Caddy is to take over; a deployer writes it."""
REFUSED = f"{RUN}/refused"
"""Why the configuration on the disk was refused; for the group, gone with the proxy."""

REASON = f"""\
if curl -sf -m 5 -o /dev/null --unix-socket {ADMIN} {ASK_URL}; then
    cat {REFUSED} 2>/dev/null || echo unknown
fi"""
"""Shell text that prints why the proxy serves by the kept configuration; nothing where it does not."""

FAILING = f"""\
case $(systemctl is-active {SERVICE_UNIT}) in activating | failed)
    log=(journalctl --quiet --unit {SERVICE_UNIT} --lines 200 --output cat)
    [ "$(id -u)" = 0 ] || log=(sudo -n "${{log[@]}}")
    "${{log[@]}}" 2>/dev/null | grep -E '^Error: |"level":"error"' | tail -n 1 ;;
esac"""
"""Shell text that prints what Caddy said last of why it cannot start; nothing where it runs or shall not."""


def reason(said: str) -> str:
    """Caddy's last line, in words; empty where it said nothing."""
    try:
        told = json.loads(said)
    except ValueError:
        return said
    return str(told["msg"]) if isinstance(told, dict) and "msg" in told else said


def program() -> str:
    """The program that starts the proxy and keeps what it accepted."""
    places = {
        "ACME_ROOT": ACME_ROOT,
        "CADDY": BINARY,
        "CADDYFILE": CADDYFILE,
        "CERTS": CERTS,
        "DATA": DATA,
        "ID": ID,
        "LOG": LOG,
        "REFUSED": REFUSED,
        "RUN": RUN,
    }
    text = Path(__file__).parent.with_name("data").joinpath("proxy.sh").read_text(encoding="utf-8")
    # User-data has 16 KiB for the whole recipe: what is said to people stays at home.
    lines = [line.split(" # ")[0].strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(["#!/bin/bash", *(f"{name}={value}" for name, value in places.items()), *lines, ""])


def files() -> tuple[File, ...]:
    """The program, and the units that call it whenever Caddy has taken a configuration."""
    return (
        File(PROGRAM, program(), 0o755),
        File(f"/etc/systemd/system/{KEEP_UNIT}", _KEEP),
        File(f"/etc/systemd/system/{PATH_UNIT}", _PATH, notify=(("restart", PATH_UNIT),)),
    )


_KEEP = f"""[Unit]
Description=Keep what the Freehold proxy accepted
StartLimitIntervalSec=0

[Service]
Type=oneshot
User=freehold-proxy
ExecStart={PROGRAM} keep
NoNewPrivileges=yes
"""

_PATH = f"""[Unit]
Description=What the Freehold proxy accepts
Before={SERVICE_UNIT}

[Path]
PathChanged={DATA}/caddy/autosave.json

[Install]
WantedBy=multi-user.target
"""
