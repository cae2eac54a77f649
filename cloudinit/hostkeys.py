"""SSH host keys made ahead of the machine, so that the first connection can be verified."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cloudinit.keys import parse_public_key
from freehold.secret import Secret


@dataclass(frozen=True)
class HostKey:
    """An Ed25519 key pair: `private` in OpenSSH's PEM form, `public` as one line."""

    private: Secret
    public: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:...` as ssh shows it."""
        return parse_public_key(self.public).fingerprint

    def known_hosts(self, address: str, port: int = 22) -> str:
        """The line for a `known_hosts` file, without the newline."""
        key = parse_public_key(self.public)
        name = address if port == 22 else f"[{address}]:{port}"
        return f"{name} {key.type} {key.data}"


def generate_host_key(comment: str = "") -> HostKey:
    """A new key pair from the system's random numbers."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return HostKey(Secret(private), f"{public} {comment}".strip())
