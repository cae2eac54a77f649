"""The sites that a machine's proxy serves, under their own names, and browsers that find them in the lab.

A proxy answers to the name that was asked for, so an address does not do: the browser has to take the site's
name and go to the machine. Where the names of this computer do not say so, a browser is told, which needs no
root: Chromium's `--host-resolver-rules`, Firefox's `network.dns.forceResolve`, in a profile of its own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold.environment import which
from freehold.errors import FreeholdError
from freehold.files import new_private_dir, write_atomic
from lab.lab import Lab
from lab.state import LabState, MachineState

# Where a deploy writes them: docs/architecture.md, "What a prepared host looks like".
LOOK = "cat /var/lib/freehold/proxy/sites/*.caddy 2>/dev/null || true"
SITE = re.compile(r"^(https?)://([a-z0-9][a-z0-9.-]*) \{", re.MULTILINE)
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser")
FIREFOXES = ("firefox", "firefox-esr")
# What a window needs of the desktop.
DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


@dataclass(frozen=True)
class Site:
    """A name that a machine serves. `secure`: over HTTPS."""

    name: str
    secure: bool

    def url(self, machine: MachineState) -> str:
        """Where a browser finds it, which takes the name for the machine's."""
        if self.secure:
            port = "" if machine.https_port == 443 else f":{machine.https_port}"
            return f"https://{self.name}{port}/"
        port = "" if machine.http_port == 80 else f":{machine.http_port}"
        return f"http://{self.name}{port}/"


def sites(text: str) -> tuple[Site, ...]:
    """The sites in the proxy's files, in their order. Wildcards and the site of any name have no name."""
    found: dict[str, bool] = {}
    for scheme, name in SITE.findall(text):
        found[name] = found.get(name, False) or scheme == "https"
    return tuple(Site(name, secure) for name, secure in found.items())


def served(lab: Lab, machine: MachineState) -> tuple[Site, ...]:
    """What the machine serves now; nothing where it does not answer."""
    try:
        if not lab.answers(machine):
            return ()
        return sites(lab.exec(machine.name, ["sh", "-c", LOOK], timeout=60, check=False).stdout)
    except FreeholdError:
        return ()


def leads_to(name: str, address: str) -> bool:
    """Whether this computer takes a name for an address."""
    try:
        found = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return address in [str(item[4][0]) for item in found]


def hosts_lines(found: Mapping[str, Sequence[Site]], state: LabState) -> str:
    """Lines for /etc/hosts: each site under the first machine that serves it."""
    lines, seen = [], set()
    for machine in state.machines:
        names = [site.name for site in found.get(machine.name, ()) if site.name not in seen]
        seen.update(names)
        if names:
            lines.append(f"{machine.address} {' '.join(names)}\n")
    return "".join(lines)


def browser(
    machine: MachineState,
    names: Sequence[str],
    url: str,
    folder: Path,
    find: Callable[[str], Path | None] = which,
) -> tuple[str, ...] | None:
    """The command of a browser here that takes `names` for the machine's; None where there is none.

    Its profile is below `folder`: one that runs already would not be told.
    """
    for program in CHROMIUMS:
        if found := find(program):
            rules = ",".join(f"MAP {name} {machine.address}" for name in names)
            place = new_private_dir(folder / "chromium")
            return (
                str(found),
                f"--host-resolver-rules={rules}",
                f"--user-data-dir={place}",
                "--no-first-run",
                "--no-default-browser-check",
                url,
            )
    for program in FIREFOXES:
        if found := find(program):
            place = new_private_dir(folder / "firefox")
            write_atomic(
                place / "user.js",
                f'user_pref("network.dns.forceResolve", "{machine.address}");\n'
                # Off: DNS over HTTPS would be asked first.
                'user_pref("network.trr.mode", 5);\n',
            )
            return (str(found), "--no-remote", "--profile", str(place), url)
    return None


def desktop(environ: Mapping[str, str]) -> dict[str, str]:
    """What a browser gets of this environment; empty where there is no desktop."""
    found = {name: environ[name] for name in DESKTOP if environ.get(name)}
    return found if found.keys() & {"DISPLAY", "WAYLAND_DISPLAY"} else {}
