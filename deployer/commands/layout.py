"""Where things are on a host (the contract with the recipe of `cloudinit`; see docs/architecture.md)."""

from __future__ import annotations

import shlex
from importlib.resources import files

from cloudinit.parts.caddyfile import ADMIN, ASK, CADDYFILE, CERTS, DEFAULT_ROUTES, LOG
from cloudinit.parts.lastgood import REFUSED
from cloudinit.proxybinary import BINARY as CADDY

STATE = "/var/lib/freehold"
PROXY = f"{STATE}/proxy"
LOCKS = "/run/lock/freehold"
NETWORK = "freehold"
ADMIN_ADDRESS = f"unix/{ADMIN}"
DEFAULT_HOST = DEFAULT_ROUTES.rsplit("/", 1)[1]
ASKED = "_ask"
"""The site that only the proxy itself visits, as if it were a host name."""
BALANCED = "_balance"
"""No site: what spreads the requests of a role, whatever their name, as if it were a host name."""

__all__ = [
    "ADMIN_ADDRESS",
    "ASK",
    "ASKED",
    "BALANCED",
    "CADDY",
    "CADDYFILE",
    "CERTS",
    "DEFAULT_HOST",
    "LOCKS",
    "NETWORK",
    "PROXY",
    "REFUSED",
    "STATE",
]


def app(name: str) -> str:
    """The directory of a service (and destination)."""
    return f"{STATE}/apps/{name}"


LAST_OF_ROLE = """$3 == "" || index("," $3 ",", "," role ",") { found = $2 } END { print found }"""
"""For awk, with `role` set, over a history: the version that serves the role."""


def history(name: str) -> str:
    """What served, oldest first: `TIME VERSION ROLE,ROLE` (without roles: all, as earlier releases wrote)."""
    return f"{app(name)}/history"


def serving(name: str, role: str) -> str:
    """Shell words that yield the version that serves for a role; nothing where none has yet."""
    return f"$(awk -v role={shlex.quote(role)} '{LAST_OF_ROLE}' {history(name)} 2>/dev/null || true)"


def version(name: str, version: str) -> str:
    """What belongs to one version: environment files, routes."""
    return f"{app(name)}/versions/{version}"


def before(name: str, version: str = "") -> str:
    """What a version's directory held before a deploy of that very version; without one, all of them."""
    return f"{app(name)}/before" + (f"/{version}" if version else "")


def env_file(name: str, version_: str, role: str) -> str:
    """The environment of a role's container at a version, 0600."""
    return f"{version(name, version_)}/{role}.env"


def probe_file(name: str, version_: str, role: str) -> str:
    """The command that waits until a role's container is ready, as it was for this version."""
    return f"{version(name, version_)}/{role}.probe"


def names_file(name: str, version_: str, role: str) -> str:
    """The names of the secrets in a role's environment at a version."""
    return f"{version(name, version_)}/{role}.secrets"


def run_file(name: str, version_: str, role: str) -> str:
    """How a role's container is run at a version: one option a line, without version and environment."""
    return f"{version(name, version_)}/{role}.run"


def port_file(name: str, version_: str, role: str) -> str:
    """The port on which a role's container listens at a version."""
    return f"{version(name, version_)}/{role}.port"


def role_files(role: str) -> tuple[str, ...]:
    """What a role has in a version's directory, by name."""
    return tuple(f"{role}.{kind}" for kind in ("env", "env.multi", "probe", "secrets", "run", "port"))


def routes(name: str, version_: str) -> str:
    """The proxy's files at a version, as a tree like that below `PROXY`."""
    return f"{version(name, version_)}/proxy"


def target(prefix: str) -> str:
    """The file that the route of a role reads for each request."""
    return f"{PROXY}/targets/{prefix}"


def paused(prefix: str) -> str:
    """Where a role's target is kept while its requests wait."""
    return f"{PROXY}/targets/.{prefix}.paused"


def maintenance(prefix: str) -> str:
    """The page that answers instead of a role for as long as the file is there."""
    return f"{PROXY}/maintenance/{prefix}.html"


def current(prefix: str) -> str:
    """What the version that serves brings for the proxy: `pages/`, `docroot/`. Links, replaced by rename."""
    return f"{PROXY}/current/{prefix}"


def canary(prefix: str) -> str:
    """Of a version that is tried: `version`, `target`, a file for each part of the visitors that gets it."""
    return f"{PROXY}/canary/{prefix}"


def allowed(prefix: str) -> str:
    """Who gets the version that is tried whatever their part: `rules.caddy`, which the route imports."""
    return f"{PROXY}/allowed/{prefix}"


def balancers(directory: str, role: str) -> str:
    """A file for each address from which the hosts in front of a role come, in a version's directory."""
    return f"{directory}/balancers-{role}"


def assets(name: str, version_: str, role: str) -> str:
    """The assets of a version, joined with those of the versions before; mounted into its containers."""
    return f"{app(name)}/assets/{version_}/{role}"


def everything(name: str, version_: str) -> tuple[str, str]:
    """All directories of a version: what to remove once nobody needs it."""
    return version(name, version_), f"{app(name)}/assets/{version_}"


def open_streams(name: str) -> str:
    """Which containers go on serving what was open at a switch, and until when."""
    return f"{app(name)}/open"


def guard(name: str) -> str:
    """Held by every script that changes a service on this host, for as long as it runs."""
    return f"{LOCKS}/{name}.host.lock"


def library() -> str:
    """The shell functions of `data/host/` with the places they work on."""
    places = {
        "STATE": STATE,
        "PROXY": PROXY,
        "LOCKS": LOCKS,
        "NETWORK": NETWORK,
        "CADDY": CADDY,
        "CADDYFILE": CADDYFILE,
        "ADMIN": ADMIN_ADDRESS,
        "PROXY_LOG": LOG,
        "REFUSED": REFUSED,
    }
    parts = sorted(files("deployer").joinpath("data/host").iterdir(), key=lambda part: part.name)
    # Needs: bash, docker, curl, flock, ss, awk; openssl where certificates are looked at.
    texts = [part.read_text(encoding="utf-8") for part in parts]
    # What is said to people stays at home.
    lines = [line for text in texts for line in text.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join([*(f"{name}={value}" for name, value in places.items()), *lines])
