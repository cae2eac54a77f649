"""Secrets in text that is about to become user-data, which any program on a machine may read.

A provider's metadata service answers whoever asks from the machine, containers included. What looks
like a secret is therefore named with its line, and refused unless the user insists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from freehold.source import Location
from freehold.yamlfile import Node


@dataclass(frozen=True)
class Leak:
    """A secret: what it is, and where the user wrote it. The secret itself is never kept."""

    what: str
    where: Location

    def __str__(self) -> str:
        return f"{self.what} ({self.where})"


# Forms that their issuers document, so that a scanner can find them.
_TOKENS = (
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
    ("an age key", r"\bAGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"),
    ("a GitLab token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("a Docker Hub token", r"\bdckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}"),
    ("an AWS access key", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    ("a DigitalOcean token", r"\bdo[opr]_v1_[0-9a-f]{40,}"),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}"),
    ("a Slack token", r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}"),
    ("a Stripe key", r"\b[rs]k_live_[0-9A-Za-z]{16,}"),
    ("a JSON web token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    ("a bearer token", r"(?i)authorization:\s*(?:bearer|basic)\s+[A-Za-z0-9+/=._-]{8,}"),
    ("a password in a URL", r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]+:(?!\$)[^\s/:@'\"]+@"),
    (
        "a password or token",
        # NAME=value with a value of its own: no reference, no command, no placeholder.
        r"(?i)\b[a-z0-9_]*(?:password|passwd|passphrase|secret|token|api_?key|access_?key|private_?key)"
        r"[\"']?\s*[=:]\s*[\"']?(?![\"'$<{%]|true\b|false\b|none\b|null\b|yes\b|no\b|/)[^\s\"',}]{6,}",
    ),
)
_PATTERNS = tuple((what, re.compile(pattern)) for what, pattern in _TOKENS)
# Keys of cloud-config whose very purpose is a secret; the hash of a password is one too.
_KEYS = {
    "passwd": "the hash of a password",
    "hashed_passwd": "the hash of a password",
    "plain_text_passwd": "a plain password",
    "password": "a password",
    "chpasswd": "passwords",
}


def in_text(text: str, where: Location, *, first_line: int | None = None) -> Iterator[Leak]:
    """Secrets in a text; `first_line` is the line of the file on which the text begins."""
    begin = where.line if first_line is None else first_line
    for number, line in enumerate(text.splitlines()):
        for what, pattern in _PATTERNS:
            if pattern.search(line):
                yield Leak(what, Location(where.file, begin + number, 0, where.key))
                break


def in_scalar(node: Node) -> Iterator[Leak]:
    """Secrets in a text value; a block scalar (`|`) begins on the line below its mark."""
    text = node.raw or str(node.value)
    shift = 1 if "\n" in text else 0
    yield from in_text(text, node.where, first_line=node.where.line + shift)


def in_cloud_config(node: Node) -> Iterator[Leak]:
    """Secrets anywhere in a cloud-config: by key, and in every text."""
    for name, entry in node.items():
        where = entry.key_where or entry.where
        if name == "ssh_keys":
            private = [key for key, _ in entry.items() if key.endswith("_private")]
            if private:
                yield Leak("a private SSH host key", where)
        elif name in _KEYS and entry.kind != "null" and (entry.kind != "map" or entry.get("users")):
            yield Leak(_KEYS[name], where)
        else:
            yield from in_cloud_config(entry)
    for element in node.elements():
        yield from in_cloud_config(element)
    if node.kind == "str":
        yield from in_scalar(node)
