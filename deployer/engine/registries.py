"""What an engine has been told of registries: which are without TLS, and which mirrors there are."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Registries:
    """`insecure`: hosts with their ports, and networks. `mirrors`: addresses of mirrors of Docker's own."""

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()

    def trusts(self, host: str) -> bool:
        """Whether a registry (host and port) may be asked without TLS."""
        if host in self.insecure:
            return True
        with suppress(ValueError):
            address = ipaddress.ip_address(host.rpartition(":")[0] or host)
            return any(
                address in ipaddress.ip_network(entry, strict=False)
                for entry in self.insecure
                if "/" in entry
            )
        return False


def parse_registries(info: Mapping[str, object]) -> Registries:
    """`.RegistryConfig` of `docker info`."""
    indexes = info.get("IndexConfigs")
    hosts = [
        name
        for name, found in (indexes.items() if isinstance(indexes, dict) else ())
        if isinstance(found, dict) and not found.get("Secure", True)
    ]
    return Registries((*hosts, *_texts(info.get("InsecureRegistryCIDRs"))), _texts(info.get("Mirrors")))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(entry) for entry in value) if isinstance(value, list) else ()
