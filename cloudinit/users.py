"""The people and programs that log in on a host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudinit import names
from cloudinit.keys import KeySource, PublicKey, read_keys
from freehold.secret import Secret
from freehold.settings import convert, fail, read, setting
from freehold.yamlfile import Node

# shadow-utils on Debian: lower case, at most 32 characters.
NAME = r"[a-z_][a-z0-9_-]{0,31}"

# crypt(5) prefixes with a cost that still holds: SHA-256, SHA-512, bcrypt, scrypt, yescrypt.
STRONG_HASHES = ("$5$", "$6$", "$2b$", "$2y$", "$7$", "$y$", "$gy$")
WEAK_HASHES = ("$1$", "$sha1$", "$md5", "$2a$", "$2x$")


@dataclass(frozen=True)
class User:
    """An account with SSH keys. Every user may drive Docker, the proxy and the deploy state."""

    name: str = setting(help="Login name.", parse=lambda node: _read_name(node), example="deploy")
    keys: tuple[PublicKey | KeySource, ...] = setting(
        (),
        help="Public keys: the key's text, `gh:NAME`, `agent`, or the path of a `.pub` file.",
        parse=read_keys,
        form="text or list of text",
        schema={"type": ["array", "string"], "items": {"type": "string"}},
        example=["gh:octocat", "~/.ssh/id_ed25519.pub"],
    )
    sudo: bool = setting(True, help="May become root by sudo, without a password.")
    groups: tuple[str, ...] = setting(
        (), help="Groups beyond docker and freehold.", pattern=NAME, example=["adm"]
    )
    shell: str = setting("/bin/bash", help="Login shell.", pattern=r"/[\w./-]+", example="/bin/bash")
    password: Secret | None = setting(
        None,
        help="Hash of a password for the console (SSH never takes passwords): `openssl passwd -6`.",
        parse=lambda node: _read_password(node),
        form="text",
        schema={"type": "string"},
    )

    # Not of the file: it names no keys, and these are added to what the host has instead of replacing it.
    keys_added: bool = False
    # Data of keys that leave the file, and stay on a host for as long as no other has let their owner in.
    keys_kept: tuple[str, ...] = ()

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """The keys that are known by now; references that are still to be read are left out."""
        return tuple(key for key in self.keys if isinstance(key, PublicKey))

    @property
    def all_groups(self) -> tuple[str, ...]:
        """Every supplementary group, the ones that each user has first."""
        wanted = ("docker", "freehold", *(("sudo",) if self.sudo else ()), *self.groups)
        return tuple(dict.fromkeys(wanted))


def read_users(node: Node) -> tuple[User, ...]:
    """Read `users:`: a list of names or maps, or a map of name to settings."""
    if node.kind == "map":
        users = tuple(_read_entry(name, entry) for name, entry in node.items())
    elif node.kind == "list":
        users = tuple(_read_user(item) for item in node.elements())
    else:
        fail(node, "expected a list of users", hint="write '- deploy', or '- name: deploy' with its keys")
    seen: set[str] = set()
    for user, item in zip(users, node.elements() or [entry for _, entry in node.items()], strict=True):
        if user.name in seen:
            fail(item, f"the user {user.name!r} stands twice", hint="keep one of them")
        seen.add(user.name)
    return users


def read_groups(node: Node) -> tuple[str, ...]:
    """Read `groups:`, a list of names that are no group of the system's."""
    wanted = convert(tuple[str, ...], node)
    assert isinstance(wanted, tuple)
    for index, (name, item) in enumerate(zip(wanted, node.elements(), strict=True)):
        if not re.fullmatch(NAME, name):
            fail(
                item,
                f"the system forbids the group name {name!r}",
                hint="lower case letters, digits, - and _",
            )
        if names.is_reserved_group(name):
            fail(item, f"the group {name!r} belongs to the system", hint="leave it out; it is there")
        if name in wanted[:index]:
            fail(item, f"the group {name!r} stands twice", hint="keep one of them")
    return wanted


def _read_user(node: Node) -> User:
    return User(_read_name(node)) if node.kind == "str" else read(User, node)


def _read_entry(name: str, entry: Node) -> User:
    inner = entry.get("name")
    if inner is not None:
        fail(inner.key_where or entry.where, "the name stands twice", hint="remove the key 'name'")
    named = {"name": Node(name, entry.key_where or entry.where), **dict(entry.items())}
    if entry.kind not in ("map", "null"):
        fail(entry, f"expected the settings of {name}", hint="write 'keys:' and so on below the name")
    return read(User, Node(named, entry.where, entry.key_where))


def _read_name(node: Node) -> str:
    return _check_name(convert(str, node), node)


def _check_name(name: str, node: Node) -> str:
    if not re.fullmatch(NAME, name):
        guess = re.sub(r"[^a-z0-9_-]", "-", name.lower()).lstrip("-0123456789")[:32]
        hint = "lower case letters, digits, - and _, at most 32, not beginning with a digit"
        if guess:
            hint += f"; for example {guess!r}"
        fail(node, f"the system forbids the user name {name!r}", hint=hint)
    reason, hint = names.why_not(name)
    if reason:
        fail(node, f"no user can be called {name!r}: {reason}", hint=hint)
    return name


def _check_cost(text: str, node: Node) -> None:
    # crypt(5): SHA has 5,000 rounds unless it says otherwise; bcrypt's number is a power of two.
    rounds = re.match(r"\$[56]\$rounds=(\d+)\$", text)
    bcrypt = re.match(r"\$2[by]\$(\d\d)\$", text)
    if (rounds and int(rounds.group(1)) < 5000) or (bcrypt and int(bcrypt.group(1)) < 10):
        fail(node, "the hash of this password is guessed too fast", hint="make one with `openssl passwd -6`")


def _read_password(node: Node) -> Secret:
    text = convert(str, node)
    if text.startswith(WEAK_HASHES):
        fail(node, "the hash of this password is of a weak kind", hint="make one with `openssl passwd -6`")
    if text.startswith(STRONG_HASHES) and text.count("$") >= 3 and len(text) >= 40:
        if re.search(r"[\s:]", text):
            fail(node, "a password hash holds no blanks and no colon")
        _check_cost(text, node)
    else:
        fail(
            node,
            "a plain password does not belong into a file; expected its hash",
            hint="make one with `openssl passwd -6`, or leave the password out and use keys only",
        )
    return Secret(text)
