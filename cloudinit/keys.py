"""SSH public keys: where they come from and what is accepted as one.

The wire format is RFC 4253, section 6.6: a length-prefixed type, then the key's own fields.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from freehold.settings import fail
from freehold.source import Location
from freehold.yamlfile import Node

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
MINIMUM_RSA_BITS = 2048
GITHUB_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})"


@dataclass(frozen=True)
class PublicKey:
    """One public key as a line of `authorized_keys` holds it."""

    type: str
    data: str
    comment: str = ""
    options: str = ""

    @property
    def line(self) -> str:
        """The line, without the newline."""
        return " ".join(part for part in (self.options, self.type, self.data, self.comment) if part)

    @property
    def fingerprint(self) -> str:
        """`SHA256:...` as `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.data)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@dataclass(frozen=True)
class KeySource:
    """A reference to keys that are read when a seed or script is made."""

    kind: Literal["file", "agent", "github"]
    value: str = ""
    where: Location | None = None

    def __str__(self) -> str:
        return {"agent": "agent", "github": f"gh:{self.value}"}.get(self.kind, self.value)


def parse_public_key(text: str) -> PublicKey:
    """Parse one line; ValueError says what is wrong with it.

    Options before the type (`restrict,command="..." ssh-ed25519 ...`) are kept as they stand.
    """
    line = text.strip()
    if "PRIVATE KEY" in line:
        raise ValueError("this is a private key; give the public one (the file that ends in .pub)")
    if "\n" in line or "\r" in line:
        raise ValueError("a public key is one line")
    found = re.search(rf"(?:^|\s)({'|'.join(re.escape(name) for name in TYPES)})\s+(\S+)(?:\s+(.*))?$", line)
    if found is None:
        word = line.split(" ", 1)[0][:30]
        if word in ("ssh-dss", "ssh-dsa"):
            raise ValueError("DSA keys are refused by OpenSSH; make one with `ssh-keygen -t ed25519`")
        raise ValueError(f"not an SSH public key: it begins with {word!r}, not with ssh-ed25519 or the like")
    kind, data, comment = found.group(1), found.group(2), (found.group(3) or "").strip()
    _check_data(kind, data)
    return PublicKey(kind, data, comment, line[: found.start()].strip())


def _check_data(kind: str, data: str) -> None:
    try:
        blob = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the key's data is not base64; was the line cut or wrapped?") from None
    fields = _wire_fields(blob)
    if not fields or fields[0] != kind.encode():
        inner = fields[0].decode("ascii", "replace")[:30] if fields else "nothing"
        raise ValueError(f"the key says {kind} but its data holds {inner!r}")
    if kind == "ssh-ed25519" and (len(fields) != 2 or len(fields[1]) != 32):
        raise ValueError("the key's data is incomplete; was the line cut?")
    if kind == "ssh-rsa":
        if len(fields) != 3:
            raise ValueError("the key's data is incomplete; was the line cut?")
        bits = int.from_bytes(fields[2], "big").bit_length()
        if bits < MINIMUM_RSA_BITS:
            raise ValueError(f"an RSA key of {bits} bits is too weak; the least is {MINIMUM_RSA_BITS}")


def _wire_fields(blob: bytes) -> list[bytes]:
    fields: list[bytes] = []
    position = 0
    while position < len(blob):
        size = int.from_bytes(blob[position : position + 4], "big")
        position += 4
        if position + size > len(blob):
            raise ValueError("the key's data is incomplete; was the line cut?")
        fields.append(blob[position : position + size])
        position += size
    return fields


def parse_authorized_keys(text: str) -> tuple[PublicKey, ...]:
    """The keys in the text of a `.pub` or `authorized_keys` file; blank lines and comments are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(parse_public_key(line) for line in lines if line and not line.startswith("#"))


def read_keys(node: Node) -> tuple[PublicKey | KeySource, ...]:
    """Read a `keys:` entry: one or several of a key's text, `gh:NAME`, `agent`, or the path of a file."""
    nodes = node.elements() if node.kind == "list" else (node,)
    return tuple(_read_key(item) for item in nodes)


def _read_key(node: Node) -> PublicKey | KeySource:
    if not isinstance(node.value, str) or not node.value.strip():
        fail(node, "expected a public key, gh:NAME, agent or the path of a .pub file")
    text = node.value.strip()
    if text == "agent":
        return KeySource("agent", where=node.where)
    if text.startswith("gh:"):
        name = text.removeprefix("gh:")
        if not re.fullmatch(GITHUB_NAME, name):
            fail(node, f"{name!r} is no GitHub user name", hint="write gh:NAME")
        return KeySource("github", name, node.where)
    looks_like_path = " " not in text and (text.startswith(("/", "~", ".")) or text.endswith(".pub"))
    if looks_like_path:
        if not text.endswith(".pub") and "authorized_keys" not in text:
            fail(node, f"{text} is not a public key file", hint=f"did you mean {text}.pub?")
        return KeySource("file", text, node.where)
    try:
        return parse_public_key(text)
    except ValueError as exc:
        fail(node, str(exc), hint="write the key itself, gh:NAME, agent, or the path of a .pub file")
