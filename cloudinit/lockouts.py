"""Profiles that would shut out their own users: told from the file alone, before a host is asked."""

from __future__ import annotations

from collections.abc import Iterator

from cloudinit.admission import shut_out_by
from cloudinit.names import HARMLESS
from cloudinit.services import Ssh
from cloudinit.users import User
from freehold.settings import fail
from freehold.source import Location
from freehold.yamlfile import Node


def groups_of(user: User) -> tuple[str, ...]:
    """The groups that the recipe gives a user, with the one of the user's own name, which useradd makes."""
    return (*(() if user.name in HARMLESS else (user.name,)), *user.all_groups)


def option_places(node: Node) -> Iterator[tuple[str, Location]]:
    """Where the settings of `ssh.options` stand: `ssh.options.allowusers` in small letters, and its place."""
    for name, entry in _options(node).items():
        yield f"ssh.options.{name.lower()}", entry.where


def refuse_lockouts(users: tuple[User, ...], ssh: Ssh, node: Node) -> None:
    """ConfigError where sshd would shut out a user of the profile, or root where there is no other.

    Every user may drive Docker, and deploys; one that is to stay outside does not belong into the profile.
    """
    if not users and not ssh.root:
        root = (node.get("ssh") or node).get("root") or node
        fail(
            root, "nobody could log in: there are no users, and root may not", hint="name a user under users:"
        )
    accounts = [(user.name, groups_of(user)) for user in users] or [("root", ("root",))]
    for name, groups in accounts:
        option = shut_out_by(ssh.options, name, groups)
        if option:
            fail(_options(node)[option], *_words(option, name, ssh.options[option]))
    _refuse_other_port(ssh, node)


def _words(option: str, name: str, value: str) -> tuple[str, str]:
    allows, users = option.lower().startswith("allow"), option.lower().endswith("users")
    expected = "one that matches" if allows else "none that matches"
    message = (
        f"{option} shuts out {name}, who could not log in any more: expected {expected} {name}"
        f"{'' if users else ' or a group of that user'}"
    )
    if any(word.startswith("!") for word in value.split()):
        return message, "sshd takes ! in front of an address only, as in deploy@*,!192.0.2.7"
    # With the sudo of a user, or the group of all.
    better = f"{value} {name}" if users else f"{value} freehold"
    return message, f"write {option}: {better}" if allows else f"leave what matches {name} out"


def _refuse_other_port(ssh: Ssh, node: Node) -> None:
    for name, entry in _options(node).items():
        if name.lower() != "listenaddress":
            continue
        _, port = split_address(ssh.options[name])
        if port not in (0, ssh.port):
            fail(
                entry,
                f"{name} names port {port}, and ssh.port, the only one that the firewall leaves open, is "
                f"{ssh.port}: expected an address alone",
                hint=f"leave the port out, and write ssh: {{port: {port}}} if it is meant",
            )


def split_address(value: str) -> tuple[str, int]:
    """Address and port of a `ListenAddress`; port 0 where it names none."""
    text = value.split()[0]
    host, colon, port = text.rpartition(":")
    # An IPv6 address without brackets has colons of its own.
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        host, port = text, "0"
    return host.removeprefix("[").removesuffix("]"), int(port)


def _options(node: Node) -> dict[str, Node]:
    options = (node.get("ssh") or Node({}, node.where)).get("options")
    return dict(options.items()) if options is not None else {}
