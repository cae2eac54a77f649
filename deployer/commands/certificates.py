"""Certificates of one's own on a host: `certs/<name>.crt` and `.key`, named after what they hold.

A renewed certificate is another pair, so a site that names it changes and Caddy loads it; a rollback
finds the pair that its version names. Only the group `freehold` (the proxy, and the users who may
write here) can read them.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.commands import layout
from deployer.config import DeployConfig, Proxy, Role
from deployer.script import heredoc
from freehold.secret import Secret


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key."""

    certificate: Secret
    key: Secret

    @property
    def name(self) -> str:
        """What its files are called: a digest of both."""
        text = f"{self.certificate.reveal()}\0{self.key.reveal()}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def pair(config: DeployConfig, proxy: Proxy, owner: str) -> Pair | None:
    """The pair a proxy's `ssl` names by its secrets; ConfigError where one is not defined."""
    wanted = proxy.certificate
    if wanted is None:
        return None
    asks = f"{config.file} {owner}.proxy.ssl"
    return Pair(
        config.secret(wanted.certificate_pem, wanted_by=f"{asks}.certificate_pem"),
        config.secret(wanted.private_key_pem, wanted_by=f"{asks}.private_key_pem"),
    )


def pairs(config: DeployConfig, roles: Sequence[Role]) -> dict[str, Pair]:
    """The pairs of these roles by the role's name."""
    found = {}
    for role in roles:
        made = pair(config, role.proxy, f"servers.{role.name}") if role.proxy is not None else None
        if made is not None:
            found[role.name] = made
    return found


def store_fragment(found: Sequence[Pair]) -> str:
    """Write pairs, each file by rename, readable by nobody but the group."""
    if not found:
        return ""
    lines = [f"mkdir -p {layout.CERTS}", f"chmod 2770 {layout.CERTS} 2>/dev/null || true", "umask 027"]
    for one in found:
        for suffix, text in (("crt", one.certificate), ("key", one.key)):
            path = shlex.quote(f"{layout.CERTS}/{one.name}.{suffix}")
            lines.append(f"cat >{path}.new {heredoc(text.reveal())}")
            lines.append(f"mv -f {path}.new {path}")
    return "\n".join(lines)


def prune_fragment() -> str:
    """Remove the pairs that neither the proxy nor a kept version of any service names."""
    return f"""for path in {layout.CERTS}/*.crt; do
    [ -e "$path" ] || continue
    name=$(basename "$path" .crt)
    grep -rqsF --include='*.caddy' "$name" {layout.PROXY}/sites {layout.STATE}/apps ||
        rm -f "${{path%.crt}}".*
done"""
