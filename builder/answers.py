"""Answer files of the distributions' own installers, checked before they go onto a medium.

Debian: https://www.debian.org/releases/stable/amd64/apb.en.html (preseeding; the format is debconf's).
Ubuntu: https://canonical-subiquity.readthedocs-hosted.com/en/latest/reference/autoinstall-reference.html
"""

from __future__ import annotations

import re
from pathlib import Path

from builder.autoinstall import Autoinstall
from freehold.errors import ConfigError
from freehold.settings import near, read
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

# Keys of cloud-config that hold one.
PLAIN_KEYS = ("plain_text_passwd", "password", "chpasswd")
# Questions whose very answer is a secret, whatever its type.
WIRELESS = ("netcfg/wireless_wep", "netcfg/wireless_wpa")
GRUB_HASH = re.compile(r"grub\.pbkdf2\.sha512\.\d{5,}\.[0-9A-F]+\.[0-9A-F]+")
URL_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/@]*:[^\s/@]+@", re.IGNORECASE)
# Cheaper than these a hash is guessed faster than it should be (crypt(5) has the costs).
ROUNDS = 5000
BCRYPT_COST = 10
# Of yescrypt and scrypt the cost is one character of `./0-9A-Za-z`.
COST = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def is_strong(text: str) -> bool:
    """Whether a text is the hash of a password of a strong kind, made at no less than the usual cost."""
    if not HASH.match(text):
        return False
    if found := re.match(r"\$[56]\$rounds=(\d+)\$", text):
        return int(found[1]) >= ROUNDS
    if found := re.match(r"\$2[aby]\$(\d\d)\$", text):
        return int(found[1]) >= BCRYPT_COST
    if found := re.match(r"\$g?y\$.(.)", text):
        return COST.index(found[1]) >= COST.index("9") if found[1] in COST else False
    if found := re.match(r"\$7\$(.)", text):
        return COST.index(found[1]) >= COST.index("C") if found[1] in COST else False
    return True


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
    if question in WIRELESS and value:
        raise ConfigError(
            f"{question} holds a wireless network's secret, which everybody who has the medium could read",
            where=where,
            hint="install over a cable",
        )
    if kind == "password" and value and "-crypted" not in question:
        raise ConfigError(
            f"{question} holds a plain password, which everybody who has the medium could read",
            where=where,
            hint="leave it out, or let preseed/early_command fetch it",
        )
    if question == "grub-installer/password-crypted":
        if not GRUB_HASH.fullmatch(value):
            raise ConfigError(
                f"{question} is no hash of a strong kind", where=where, hint="see `grub-mkpasswd-pbkdf2`"
            )
    elif question.endswith("-password-crypted") and not is_strong(value):
        raise ConfigError(f"{question} is no hash of a strong kind", where=where, hint=HASH_HINT)
    if URL_PASSWORD.search(value):
        raise ConfigError(
            f"{question} holds a password in a URL, which everybody who has the medium could read",
            where=where,
            hint="let the proxy or mirror know the machine by its address",
        )


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
    """ConfigError where the installer would stop, ask, or carry what others must not read."""
    if node.kind != "map":
        raise ConfigError(f"autoinstall is a {node.kind}, and should be a map", where=node.where)
    version = node.get("version")
    if version is None or version.plain() != 1:
        raise ConfigError(
            "version is missing, or not 1", where=(version or node).where, hint="write `version: 1`"
        )
    answers = read(Autoinstall, node)
    if answers.interactive_sections:
        raise ConfigError(
            "interactive sections wait for a person",
            where=node.at(["interactive-sections"]).where,
            hint="leave interactive-sections out",
        )
    if answers.identity is None and answers.user_data is None:
        raise ConfigError(
            "neither identity nor user-data says who may log in", where=node.where, hint="add one of them"
        )
    if answers.identity is not None and not is_strong(answers.identity.password):
        raise ConfigError(
            "identity.password is no hash of a strong kind",
            where=node.at(["identity", "password"]).where,
            hint=HASH_HINT,
        )
    for place in (["proxy"], ["apt", "proxy"], ["apt", "http_proxy"], ["apt", "https_proxy"]):
        _refuse_url_password(node, place)
    _check_user_data(node.get("user-data"))


def _refuse_url_password(node: Node, place: list[str]) -> None:
    found: Node | None = node
    for key in place:
        found = found.get(key) if found is not None else None
    if found is not None and URL_PASSWORD.search(str(found.value)):
        raise ConfigError(
            "a password in a URL, which everybody who has the medium could read",
            where=found.where,
            hint="let the proxy know the machine by its address",
        )


def _check_user_data(node: Node | None) -> None:
    """cloud-config for the installed system: strong hashes may be in it, no plain passwords."""
    if node is None:
        return
    for name, entry in node.items():
        if name in ("passwd", "hashed_passwd") and entry.kind == "str":
            if not is_strong(str(entry.value)):
                raise ConfigError(f"{name} is no hash of a strong kind", where=entry.where, hint=HASH_HINT)
        elif name in PLAIN_KEYS and entry.kind != "null":
            raise ConfigError(
                f"{name} holds a plain password, which everybody who has the medium could read",
                where=entry.key_where or entry.where,
                hint=f"write hashed_passwd instead: {HASH_HINT}",
            )
        else:
            _check_user_data(entry)
    for element in node.elements():
        _check_user_data(element)
