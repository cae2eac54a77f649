"""Certificates of one's own on a host: `certs/<name>.crt` and `.key`, named after what they hold.

A renewed certificate is another pair, so a site that names it changes and Caddy loads it; a rollback
finds the pair that its version names. Only the group `freehold` (the proxy, and the users who may
write here) can read them.
"""

from __future__ import annotations

import datetime
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.commands import layout
from deployer.config import DeployConfig, Proxy, Role
from deployer.script import ScriptResult, Step, heredoc
from freehold.errors import ConfigError
from freehold.secret import Secret

PATIENCE = 30
"""Seconds that a deploy gives the proxy to get a certificate for a name that is new."""
MISSING = "no certificate: "


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


def examine(config: DeployConfig, roles: Sequence[Role], now: datetime.datetime) -> list[str]:
    """Raise ConfigError for a pair that Caddy would refuse; warnings for one that visitors would."""
    # Costs 60 ms, and few services have a certificate of their own.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    warnings = []
    for role in roles:
        proxy = role.proxy
        wanted = proxy.certificate if proxy is not None else None
        if proxy is None or wanted is None:
            continue
        made = pair(config, proxy, f"servers.{role.name}")
        assert made is not None
        try:
            chain = x509.load_pem_x509_certificates(made.certificate.reveal().encode())
        except ValueError as exc:
            raise _refused(wanted.certificate_pem, "no certificate in PEM form") from exc
        try:
            key = serialization.load_pem_private_key(made.key.reveal().encode(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise _refused(wanted.private_key_pem, "no private key in PEM form without a password") from exc
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        public = [one.public_bytes(encoding, form) for one in (chain[0].public_key(), key.public_key())]
        if public[0] != public[1]:
            raise ConfigError(
                f"the key in {wanted.private_key_pem} does not belong to the certificate in "
                f"{wanted.certificate_pem}",
                hint="the site's own certificate comes first, then those that signed it",
            )
        if chain[0].not_valid_after_utc < now:
            warnings.append(f"the certificate in {wanted.certificate_pem} has expired")
    return warnings


def _refused(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"the secret {name} holds {what}",
        hint="it begins with -----BEGIN …; quote it in the secrets file, or fetch it with $(cat file.pem)",
    )


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


def await_step(roles: Sequence[Role]) -> Step | None:
    """Look whether the proxy has got the certificates that it is to get by itself; None where it has none."""
    names = [name for role in roles if role.proxy for name in role.proxy.automatic]
    if not names:
        return None
    shell = shlex.join(["await_certificates", str(PATIENCE), *dict.fromkeys(names)])
    return Step("https", shell, "certificates of the authority", PATIENCE)


def missing(result: ScriptResult) -> list[str]:
    """What `await_step` found: `shop.test` and, where the proxy's log says so, why."""
    lines = result.lines("https")
    return [line.removeprefix(MISSING) for line in lines if line.startswith(MISSING)]


def prune_fragment() -> str:
    """Remove the pairs that neither the proxy nor a kept version of any service names."""
    return f"""for path in {layout.CERTS}/*.crt; do
    [ -e "$path" ] || continue
    name=$(basename "$path" .crt)
    grep -rqsF --include='*.caddy' "$name" {layout.PROXY}/sites {layout.STATE}/apps ||
        rm -f "${{path%.crt}}".*
done"""
