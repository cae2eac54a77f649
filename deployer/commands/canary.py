"""A version that is tried on a share of the visitors, beside the one that serves."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deployer.commands import layout, phases
from deployer.config import DeployConfig, Role
from deployer.script import Script, ScriptResult, Step, heredoc
from freehold.errors import UsageError

PARTS = 256
"""Visitors are told apart by two hexadecimal digits."""


_NAMED = re.compile(r"(header|cookie) ([A-Za-z0-9_-]+)=([A-Za-z0-9_.~:/@+=,;!$&()-]+)")
_HINT = "write 'header NAME=VALUE', 'cookie NAME=VALUE', 'address 203.0.113.0/24', or none"


@dataclass(frozen=True)
class Allowed:
    """Visitors who get the version that is tried, whatever their part: by a header, a cookie, an address."""

    kind: Literal["header", "cookie", "address"]
    value: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}={self.value}" if self.name else f"{self.kind} {self.value}"

    @property
    def matcher(self) -> str:
        """As Caddy says it. Values hold nothing that a Caddyfile or a matcher would read otherwise."""
        match self.kind:
            case "header":
                return f'header {self.name} "{self.value}"'
            case "cookie":
                return f'vars {{cookie.{self.name}}} "{self.value}"'
            case "address":
                return f"remote_ip {self.value}"


@dataclass(frozen=True)
class Tried:
    """What a role tries on a host."""

    version: str
    percent: float
    allowed: tuple[str, ...] = ()


def parse_allowed(texts: Sequence[str]) -> tuple[Allowed, ...]:
    """The visitors that a command line names; `none`: nobody. UsageError where a text says no one."""
    return tuple(_parse_allowed(text) for text in texts if text.strip() != "none")


def _parse_allowed(text: str) -> Allowed:
    text = " ".join(text.split())
    named = _NAMED.fullmatch(text)
    if named is not None:
        kind: Literal["header", "cookie"] = "header" if named[1] == "header" else "cookie"
        return Allowed(kind, named[3], named[2])
    kind_, _, address = text.partition(" ")
    if kind_ != "address":
        raise UsageError(f"--allow {text!r} names no visitors", hint=_HINT)
    try:
        return Allowed("address", str(ipaddress.ip_network(address)))
    except ValueError as exc:
        raise UsageError(f"--allow {text!r}: {exc}", hint=_HINT) from exc


def rules(allowed: Sequence[Allowed]) -> str:
    """What the route imports: a comment for people, a matcher, and the part that always gets the version."""
    return "".join(
        f"# {one}\n@allowed_{number} {one.matcher}\nvars @allowed_{number} freehold_part canary\n"
        for number, one in enumerate(allowed)
    )


def split(
    config: DeployConfig,
    roles: Sequence[Role],
    version: str,
    percent: float,
    *,
    allowed: Sequence[Allowed] | None = None,
    audit: str,
) -> Script:
    """Give a share of the visitors to the container of a version that runs, and to those who are `allowed`.

    None leaves these as they are.
    """
    steps = []
    for role in roles:
        if role.proxy is None:
            continue
        words = [
            config.container_name(role, version),
            config.container_prefix(role),
            str(role.proxy.app_port),
            version,
            str(parts(percent)),
        ]
        if allowed is not None:
            shell = f"allow_visitors {shlex.quote(words[1])} {heredoc(rules(allowed))}"
            steps.append(Step(f"allow-{role.name}", shell, "who gets it anyway"))
        steps.append(
            Step(f"split-{role.name}", shlex.join(["split_to", *words]), f"{percent:g}% to {version}")
        )
    return phases.guarded(config, [*steps, phases.audit_step(config, audit)])


def parts(percent: float) -> int:
    """How many of the parts a percentage is; at least one where it is more than nothing."""
    return max(1, round(percent * PARTS / 100)) if percent > 0 else 0


def state(config: DeployConfig, roles: Sequence[Role]) -> Script:
    """Which version is being tried."""
    lines = []
    for role in roles:
        if role.proxy is not None:
            prefix = config.container_prefix(role)
            place = shlex.quote(layout.canary(prefix))
            chosen = shlex.quote(f"{layout.allowed(prefix)}/rules.caddy")
            lines.append(
                f"[ ! -e {place} ] || printf '%s\\t%s\\t%s\\t%s\\n' {shlex.quote(prefix)} "
                f'"$(cat {place}/version)" "$(cat {place}/count)" '
                f'"$(sed -n "s/^# //p" {chosen} 2>/dev/null | paste -s)"'
            )
    return Script((Step("canary", "\n".join([*lines, "true"]), "what is tried"),))


def parse_state(result: ScriptResult) -> dict[str, Tried]:
    """What is tried, by service and role."""
    found = {}
    for line in result.lines("canary"):
        prefix, version, count, *allowed = line.split("\t")
        found[prefix] = Tried(version, int(count) * 100 / PARTS, tuple(filter(None, allowed)))
    return found
