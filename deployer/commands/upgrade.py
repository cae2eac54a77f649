"""Taking a host over from Kamal: which proxy holds the web ports, letting go of it, and the way back."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.commands import layout
from deployer.config import DeployConfig
from deployer.script import ScriptResult, Step

OLD_PROXIES = {"kamal-proxy": "Kamal 2's proxy", "traefik": "Kamal 1's proxy"}
PORTS = (80, 443)
SERVES = "serves: "
_FIELDS = ("{{.Names}}", "{{.Image}}", "{{.State}}", "{{.Ports}}")


@dataclass(frozen=True)
class OldProxy:
    """A container that holds the web ports, or would when it is started."""

    name: str
    image: str
    state: str
    ports: str = ""

    @property
    def running(self) -> bool:
        return self.state in ("running", "restarting", "paused")

    @property
    def known(self) -> bool:
        """It is one of Kamal's, and may be stopped."""
        return self.name in OLD_PROXIES

    @property
    def title(self) -> str:
        """What it is, for people."""
        return OLD_PROXIES.get(self.name, f"the container {self.name} ({self.image})")


@dataclass(frozen=True)
class Ports:
    """Who has ports 80 and 443 of a host: containers, and whether something else listens."""

    proxies: tuple[OldProxy, ...] = ()
    listening: tuple[int, ...] = ()
    ours: bool = False
    """Freehold's own proxy has them."""
    others: tuple[str, ...] = ()
    """Other applications of Kamal's that run there, which its proxy may serve too."""


def look_step(config: DeployConfig) -> Step:
    """Which containers publish the web ports, whatever they are called, who listens there, what else runs."""
    shown = "proxy\t" + "\t".join(_FIELDS)
    by_port = [word for port in PORTS for word in ("--filter", f"publish={port}")]
    by_name = [word for name in OLD_PROXIES for word in ("--filter", f"name=^/?{name}$")]
    ask = ["docker", "ps", "--all", "--format", shown]
    # Accessories have no role.
    apps = ["docker", "ps", "--filter", "label=service", "--filter", "label=role", "--format"]
    apps.append('other\t{{.Label "service"}}\t{{.Label "destination"}}')
    own = shlex.quote(f"other\t{config.service}\t{config.destination or ''}")
    ports = " or ".join(f"sport = :{port}" for port in PORTS)
    return Step(
        "ports",
        f"""{{ {shlex.join([*ask, *by_port])}; {shlex.join([*ask, *by_name])}; }} | sort -u
ss -Hltn '( {ports} )' | awk '{{ sub(/.*:/, "", $4); print "listen\\t" $4 }}' | sort -u
if systemctl --quiet is-active freehold-proxy.socket; then echo ours; fi
{shlex.join(apps)} | sort -u | {{ grep -Fvx -- {own} || true; }}""",
        "who has the web ports",
    )


def parse_look(lines: Sequence[str]) -> Ports:
    """The answer of `look_step`."""
    proxies: dict[str, OldProxy] = {}
    listening: list[int] = []
    others: list[str] = []
    ours = False
    for line in lines:
        kind, _, rest = line.partition("\t")
        cells = rest.split("\t")
        if kind == "proxy" and len(cells) == len(_FIELDS):
            proxies[cells[0]] = OldProxy(*cells)
        elif kind == "listen" and rest.isdigit():
            listening.append(int(rest))
        elif kind == "other" and len(cells) == 2:
            others.append("-".join(filter(None, cells)))
        elif kind == "ours":
            ours = True
    return Ports(tuple(proxies.values()), tuple(sorted(listening)), ours, tuple(others))


def let_go_step(proxies: Sequence[OldProxy]) -> Step:
    """Stop them, also for the next boot of the host. They stay, so that there is a way back."""
    names = shlex.join(proxy.name for proxy in proxies)
    shell = f"docker update --restart no {names} >/dev/null\ndocker stop {names}"
    return Step("let-go", shell, "stop the old proxy")


def take_back_step(config: DeployConfig, proxies: Sequence[OldProxy]) -> Step:
    """The old proxy has the ports again; not where the application was switched to ours, see `still_served`.

    The host itself decides: whoever asks may have been interrupted at any moment.
    """
    history = layout.history(config.name)
    names = shlex.join(proxy.name for proxy in proxies)
    units = "freehold-proxy.socket freehold-proxy.service"
    return Step(
        "take-back",
        f"""if [ -s {history} ]; then
    echo "{SERVES}$(tail -n 1 {history} | cut -d' ' -f2)"
    exit 0
fi
as_root() {{ if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }}
if systemctl --quiet is-active freehold-proxy.socket; then as_root systemctl stop {units}; fi
# The firewall lets no published port of a container through; these two are open anyway.
if as_root nft list table inet freehold >/dev/null 2>&1; then
    as_root nft insert rule inet freehold forward ct status dnat meta l4proto tcp \\
        ct original proto-dst '{{ 80, 443 }}' accept
fi
docker update --restart unless-stopped {names} >/dev/null
docker start {names}""",
        "start the old proxy again",
    )


def still_served(result: ScriptResult) -> str | None:
    """The version for which `take_back_step` left everything as it was."""
    lines = (line for line in result.lines("take-back") if line.startswith(SERVES))
    return next((line.removeprefix(SERVES) for line in lines), None)
