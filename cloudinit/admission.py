"""Whom sshd lets in: its lists of users and groups, read as it reads them (auth.c and match.c of OpenSSH)."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping

# The order in which sshd asks them; the first that shuts somebody out counts.
LISTS = ("DenyUsers", "AllowUsers", "DenyGroups", "AllowGroups")


def shut_out_by(options: Mapping[str, str], name: str, groups: Iterable[str], address: str = "") -> str:
    """The list of `ssh.options` that shuts a user out, by its name there; empty where none does.

    `address` is where the user comes from. Without it a list shuts out whom it lets in from nowhere.
    """
    given = {option.lower(): (option, words(value)) for option, value in options.items()}
    dns = options_say(options, "UseDNS") == "yes"
    for kind in LISTS:
        option, patterns = given.get(kind.lower(), ("", ()))
        if not option:
            continue
        denies = kind.startswith("Deny")
        if kind.endswith("Users"):
            found = any(_is_user(pattern, name, address, dns, denies) for pattern in patterns)
        else:
            # sshd has no part behind @ here.
            found = any(matches(pattern, group) for pattern in patterns for group in groups)
        if found is denies:
            return option
    return ""


def options_say(options: Mapping[str, str], name: str) -> str:
    """The value of an option in small letters; empty where it is not set."""
    return next((value.lower() for option, value in options.items() if option.lower() == name.lower()), "")


def words(value: str) -> tuple[str, ...]:
    """The arguments of a setting, which may stand in quotes."""
    try:
        return tuple(shlex.split(value))
    except ValueError:
        return tuple(value.split())


def matches(pattern: str, text: str) -> bool:
    """sshd's match_pattern: `*` and `?`, and no sign besides. An exclamation mark is one of a name here."""
    signs = {"*": ".*", "?": "."}
    regex = "".join(signs.get(sign) or re.escape(sign) for sign in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def _is_user(pattern: str, name: str, address: str, dns: bool, denies: bool) -> bool:
    user, at, hosts = pattern.rpartition("@")
    if not at:
        return matches(pattern, name)
    if not matches(user, name):
        return False
    named = dns and re.search("[g-zG-Z]", hosts) is not None
    if not address or named:
        # From somewhere it may hold: that lets a user in, and does not shut one out.
        return hosts == "*" or (not denies and any(not host.startswith("!") for host in hosts.split(",")))
    return is_from(hosts, address)


def is_from(hosts: str, address: str) -> bool:
    """A list of addresses, networks and patterns, where ! denies. Without UseDNS sshd knows no names."""
    found = False
    for host in hosts.split(","):
        denied, pattern = host.startswith("!"), host.removeprefix("!")
        try:
            here = ipaddress.ip_address(address.partition("%")[0]) in ipaddress.ip_network(pattern)
        except ValueError:
            here = matches(pattern.lower(), address.lower())
        if here and denied:
            return False
        found = found or here
    return found


def accepts(algorithms: str, kind: str) -> bool:
    """Whether `PubkeyAcceptedAlgorithms` of this value takes keys of a type, such as `ssh-ed25519`."""
    if algorithms.startswith(("+", "^")):
        # What sshd takes without being told: every type that a profile may hold.
        return True
    # RSA keys sign with these; SHA-1, after which the type is called, has gone.
    signatures = ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)
    patterns = algorithms.removeprefix("-").split(",")
    named = [any(matches(pattern, name) for pattern in patterns) for name in signatures]
    return not all(named) if algorithms.startswith("-") else any(named)
