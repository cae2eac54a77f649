"""user-data as a provider takes it: its size limit, and packing where the plain text is too large.

cloud-init reads plain text, gzip, and MIME multi-part whose parts may be packed:
https://cloudinit.readthedocs.io/en/latest/explanation/format.html
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from freehold.errors import InputError

KIB = 1024


@dataclass(frozen=True)
class Provider:
    """How much user-data a provider takes, in bytes, and whether it takes bytes that are no text."""

    name: str
    limit: int
    binary: bool = False


_KNOWN = (
    Provider("azure", 64 * KIB, binary=True),
    Provider("digitalocean", 64 * KIB),
    Provider("ec2", 16 * KIB, binary=True),
    Provider("gcp", 256 * KIB),
    Provider("hetzner", 32 * KIB),
    # The unpacked form may be larger; the form in the console is the narrower one.
    Provider("linode", 16 * KIB),
    # Nova counts the base64 text: 65,535 characters.
    Provider("openstack", 65_535 // 4 * 3, binary=True),
    Provider("oracle", 32_000 // 4 * 3, binary=True),
    Provider("scaleway", 127 * KIB),
    Provider("vultr", 64 * KIB),
)
PROVIDERS: Mapping[str, Provider] = MappingProxyType({item.name: item for item in _KNOWN})
# What any provider takes.
SMALLEST = Provider("any provider", 16 * KIB)


def fit(text: str, provider: Provider) -> bytes:
    """`text` as bytes within the provider's limit, packed only where it has to be.

    InputError with the sizes where it does not fit packed either.
    """
    plain = text.encode()
    if len(plain) <= provider.limit:
        return plain
    packed = gzip.compress(plain, 9, mtime=0) if provider.binary else as_mime(text)
    if len(packed) <= provider.limit:
        return packed
    raise InputError(
        f"the user-data is {len(plain):,} bytes, {len(packed):,} packed; "
        f"{provider.name} takes {provider.limit:,}",
        hint="use a golden image (`freehold image build`), whose seed is small, or shorten files: and users:",
    )


def as_mime(text: str) -> bytes:
    """A cloud-config as MIME multi-part with one packed part: text that any web form takes."""
    body = base64.encodebytes(gzip.compress(text.encode(), 9, mtime=0)).decode()
    # A fixed boundary keeps the bytes the same; base64 never holds an underscore.
    boundary = "freehold_part"
    return (
        f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n\n'
        f"--{boundary}\n"
        "Content-Type: application/gzip\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n"
        'Content-Disposition: attachment; filename="cloud-config.gz"\n\n'
        f"{body}\n--{boundary}--\n"
    ).encode()
