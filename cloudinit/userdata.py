"""user-data as bytes: one cloud-config or several parts, packed where the plain text is too large.

cloud-init reads plain text, gzip, and MIME multi-part whose parts may be packed:
https://cloudinit.readthedocs.io/en/latest/explanation/format.html
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cloudinit.providers import Provider
from freehold.errors import InputError

Form = Literal["plain", "gzip", "mime"]
FORMS: tuple[Form, ...] = ("plain", "gzip", "mime")
# A fixed boundary keeps the bytes the same; base64 never holds an underscore.
_BOUNDARY = "freehold_part"


@dataclass(frozen=True)
class Part:
    """One part of multi-part user-data: its MIME type, file name and text."""

    type: str
    name: str
    text: str


def encode(text: str, form: Form, parts: Sequence[Part] = ()) -> bytes:
    """A cloud-config, and further parts, in one of the forms.

    `plain`: the text itself; MIME with readable parts where there are several. `gzip`: that, packed:
    bytes that are no text. `mime`: MIME with packed parts: text that any web form takes.
    """
    whole = (Part("text/cloud-config", "cloud-config", text), *parts)
    if form == "mime":
        return _multipart([_packed(part) for part in whole])
    plain = text.encode() if not parts else _multipart([_readable(part) for part in whole])
    return plain if form == "plain" else _zip(plain)


def fit(text: str, provider: Provider, parts: Sequence[Part] = (), *, form: Form | None = None) -> bytes:
    """`text` and further parts within the provider's limit, packed only where they have to be.

    `form`: this one and no other. InputError with the sizes where they do not fit, and where a
    provider that takes text only is to get gzip.
    """
    if form == "gzip" and not provider.binary:
        raise InputError(f"{provider.name} takes no gzip as user-data, only text", hint="use --form mime")
    plain = encode(text, form or "plain", parts)
    if len(plain) <= provider.limit:
        return plain
    packed = encode(text, form or ("gzip" if provider.binary else "mime"), parts)
    if len(packed) <= provider.limit:
        return packed
    raise InputError(
        f"the user-data is {len(plain):,} bytes, {len(packed):,} packed; "
        f"{provider.name} takes {provider.limit:,}",
        hint="use a golden image (`freehold image build`), whose seed is small, or shorten files: and users: "
        f"(the limit: {provider.source})",
    )


def _zip(data: bytes) -> bytes:
    # mtime 0: the same text is the same bytes.
    return gzip.compress(data, 9, mtime=0)


def _readable(part: Part) -> str:
    if part.text.isascii() and f"--{_BOUNDARY}" not in part.text:
        head, body = "7bit", part.text
    else:
        head, body = "base64", base64.encodebytes(part.text.encode()).decode()
    return (
        f'Content-Type: {part.type}; charset="utf-8"\nMIME-Version: 1.0\nContent-Transfer-Encoding: {head}\n'
        f'Content-Disposition: attachment; filename="{part.name}"\n\n{body}'
    )


def _packed(part: Part) -> str:
    # cloud-init unpacks a part first and tells what it is by its first line.
    body = base64.encodebytes(_zip(part.text.encode())).decode()
    return (
        "Content-Type: application/gzip\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n"
        f'Content-Disposition: attachment; filename="{part.name}.gz"\n\n{body}'
    )


def _multipart(parts: Sequence[str]) -> bytes:
    text = f'Content-Type: multipart/mixed; boundary="{_BOUNDARY}"\nMIME-Version: 1.0\n\n'
    text += "".join(f"--{_BOUNDARY}\n{part}\n" for part in parts)
    return f"{text}--{_BOUNDARY}--\n".encode()
