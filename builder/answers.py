"""Answer files of the distributions' own installers, checked before they go onto a medium.

Debian: https://www.debian.org/releases/stable/amd64/apb.en.html (preseeding; the format is debconf's).
Ubuntu: https://canonical-subiquity.readthedocs-hosted.com/en/latest/reference/autoinstall-reference.html
"""

from __future__ import annotations

import re
from pathlib import Path

from freehold.errors import ConfigError
from freehold.settings import near
from freehold.source import Location
from freehold.yamlfile import Node, parse, read_text

# Templates' types (debconf-devel(7)).
TYPES = ("string", "boolean", "select", "multiselect", "password", "note", "text", "error", "title")
# A hash as crypt(5) knows it; the weak kinds ($1$ and the nameless one) are not among them.
HASH = re.compile(r"^(\$(5|6|y|gy|7|2[aby])\$\S+|[!*])$")
HASH_HINT = "make a hash with `openssl passwd -6`"
# Debian's questions for a plain password, and what answers them without one.
PLAIN_PASSWORDS = {
    "passwd/root-password": f"passwd/root-password-crypted instead: {HASH_HINT}",
    "passwd/user-password": f"passwd/user-password-crypted instead: {HASH_HINT}",
    "grub-installer/password": "grub-installer/password-crypted instead: see `grub-mkpasswd-pbkdf2`",
    "network-console/password": "network-console/authorized_keys_url instead",
}

AUTOINSTALL_KEYS = (
    "version",
    "interactive-sections",
    "early-commands",
    "locale",
    "refresh-installer",
    "keyboard",
    "source",
    "network",
    "proxy",
    "apt",
    "storage",
    "identity",
    "active-directory",
    "ubuntu-pro",
    "ssh",
    "codecs",
    "drivers",
    "oem",
    "snaps",
    "debconf-selections",
    "packages",
    "kernel",
    "kernel-crash-dumps",
    "kernel-cmdline",
    "timezone",
    "updates",
    "shutdown",
    "late-commands",
    "error-commands",
    "reporting",
    "user-data",
    "zdevs",
)


def read_preseed(path: Path) -> str:
    """The text of a preseed file; ConfigError with its line where debconf would not read it."""
    text = read_text(path, str(path))
    check_preseed(text, str(path))
    return text


def check_preseed(text: str, name: str) -> None:
    """ConfigError unless each line is `owner question type value`, with no plain password."""
    count = 0
    joined = ""
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        whole, at = (joined + line).strip(), first
        joined, first = "", 0
        if not whole or whole.startswith("#"):
            continue
        _check_line(whole, Location(name, at))
        count += 1
    if joined:
        raise ConfigError("the last line goes on after its end", where=Location(name, first))
    if not count:
        raise ConfigError("the file answers nothing", where=Location(name))


def _check_line(line: str, where: Location) -> None:
    parts = line.split(None, 3)
    if len(parts) < 3:
        raise ConfigError(
            f"{line!r} is no answer", where=where, hint="write it as `d-i mirror/country string manual`"
        )
    _, question, kind = parts[:3]
    value = parts[3] if len(parts) > 3 else ""
    # `seen` marks a question as asked.
    if kind == "seen":
        return
    if kind not in TYPES:
        guess = near(kind, list(TYPES))
        raise ConfigError(
            f"{kind!r} is no type of an answer",
            where=where,
            hint=f"did you mean {guess!r}?" if guess else f"known: {', '.join(TYPES)}",
        )
    if kind == "boolean" and value not in ("true", "false"):
        raise ConfigError(f"{question} is true or false, not {value!r}", where=where)
    instead = PLAIN_PASSWORDS.get(question.removesuffix("-again"))
    if instead and value:
        raise ConfigError(
            f"{question} holds a plain password, which everybody who has the medium could read",
            where=where,
            hint=f"write {instead}",
        )
    if question.endswith("-password-crypted") and not HASH.match(value):
        raise ConfigError(f"{question} is no hash of a strong kind", where=where, hint=HASH_HINT)


def read_autoinstall(path: Path) -> str:
    """The text of an autoinstall file as user-data; ConfigError with line and key where it is wrong."""
    text = read_text(path, str(path))
    node = parse(text, str(path))
    found = node.get("autoinstall")
    if found is None:
        raise ConfigError(
            "the file has no key `autoinstall`",
            where=node.where,
            hint="everything stands below `autoinstall:`",
        )
    check_autoinstall(found)
    return text if text.startswith("#cloud-config") else f"#cloud-config\n{text}"


def check_autoinstall(node: Node) -> None:
    """ConfigError where the installer would stop, or ask."""
    if node.kind != "map":
        raise ConfigError(f"autoinstall is a {node.kind}, and should be a map", where=node.where)
    for key, value in node.items():
        if key not in AUTOINSTALL_KEYS:
            guess = near(key, list(AUTOINSTALL_KEYS))
            raise ConfigError(
                f"unknown key {key!r}",
                where=value.key_where or value.where,
                hint=f"did you mean {guess!r}?" if guess else f"known: {', '.join(AUTOINSTALL_KEYS)}",
            )
    version = node.get("version")
    if version is None or version.plain() != 1:
        raise ConfigError(
            "version is missing, or not 1", where=(version or node).where, hint="write `version: 1`"
        )
    asked = node.get("interactive-sections")
    if asked is not None and asked.plain():
        raise ConfigError(
            "interactive sections wait for a person", where=asked.where, hint="leave interactive-sections out"
        )
    identity = node.get("identity")
    if identity is None:
        if node.get("user-data") is None:
            raise ConfigError(
                "neither identity nor user-data says who may log in", where=node.where, hint="add one of them"
            )
        return
    _check_identity(identity)


def _check_identity(identity: Node) -> None:
    for name in ("hostname", "username", "password"):
        part = identity.get(name) if identity.kind == "map" else None
        if part is None or not isinstance(part.plain(), str):
            raise ConfigError(f"identity needs {name}, as text", where=(part or identity).where)
        if name == "password" and not HASH.match(part.plain()):
            raise ConfigError(
                "identity.password is no hash of a strong kind", where=part.where, hint=HASH_HINT
            )
