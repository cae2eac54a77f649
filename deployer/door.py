"""The door that a run comes in by: what a profile may not shut, and the keys that may be exchanged in it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudinit.admission import accepts, is_from, options_say, shut_out_by
from cloudinit.keys import PublicKey
from cloudinit.lockouts import split_address
from cloudinit.profile import HostProfile
from cloudinit.users import User
from deployer.connect import holds
from deployer.remote import Remote
from freehold.errors import ConfigError, HostError, InputError

if TYPE_CHECKING:
    from deployer.bootstrap import Look

UNCHANGED = "nothing was changed"
_PROOF = "freehold-was-let-in"


def keep_the_door(found: Look, profile: HostProfile, host: str, key: str = "") -> None:
    """InputError where the recipe would shut out the very computer that it is run from.

    `key` is the one that let it in, as `TYPE DATA`, where that is known. That the profile takes it away is
    another matter: `leaving_key`.
    """
    if found.user == "root" and not profile.ssh.root:
        raise InputError(
            f"you log in to {host} as root, whom ssh.root: false in config/host.yml shuts out",
            hint="leave ssh.root out until another user can log in (ssh: {user: NAME} in deploy.yml); "
            f"{UNCHANGED}",
        )
    _keep_the_lists(found, profile, host)
    _keep_the_kinds_of_keys(profile, key)
    _keep_the_keys_rights(found, profile, host, key)
    _keep_the_port(found, profile, host)


def _keep_the_lists(found: Look, profile: HostProfile, host: str) -> None:
    user = _user(found, profile)
    groups = {*found.groups, *(user.all_groups if user is not None else ())}
    option = shut_out_by(profile.ssh.options, found.user, groups, found.client)
    if option:
        came = f" from {found.client}" if found.client else ""
        raise ConfigError(
            f"you log in to {host} as {found.user}{came}, whom {option} shuts out: expected a list that "
            f"lets {found.user} in from there",
            where=profile.places.get(f"ssh.options.{option.lower()}"),
            hint=f"a pattern is NAME or NAME@ADDRESS, with * and ?, and networks behind @; {UNCHANGED}",
        )


def _keep_the_kinds_of_keys(profile: HostProfile, key: str) -> None:
    mine = [("the key that let you in", key.split()[0])] if key else []
    for name in ("PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes"):
        value = options_say(profile.ssh.options, name)
        given = [
            (f"any key of {user.name}", *(known.type for known in user.public_keys))
            for user in profile.users
            if user.public_keys and not user.keys_added
        ]
        for whose, *kinds in (*mine, *given):
            if value and not any(accepts(value, kind) for kind in kinds):
                raise ConfigError(
                    f"{name} does not take {whose}: expected one of {', '.join(sorted(set(kinds)))}",
                    where=profile.places.get(f"ssh.options.{name.lower()}"),
                    hint=f"write {name}: +{kinds[0]}, or leave it out; {UNCHANGED}",
                )


def _keep_the_keys_rights(found: Look, profile: HostProfile, host: str, key: str) -> None:
    user = _user(found, profile)
    if user is None or not key:
        return
    mine = [known for known in user.public_keys if known.data == key.split()[1]]
    for known in mine[:1]:
        wrong = ""
        if re.search(r'(?:^|,)command="', known.options, re.IGNORECASE):
            wrong = "is let in for one command only"
        hosts = re.search(r'(?:^|,)from="([^"]*)"', known.options, re.IGNORECASE)
        if hosts and found.client and not is_from(hosts[1], found.client):
            wrong = f"is let in from {hosts[1]} only, and {host} sees this computer as {found.client}"
        if wrong:
            raise InputError(
                f"the key that let you in to {host} as {user.name} ({known.fingerprint}) {wrong}, "
                "as its options in config/host.yml say",
                hint=f"log in with another key, or change its options; {UNCHANGED}",
            )


def _keep_the_port(found: Look, profile: HostProfile, host: str) -> None:
    if found.port not in (0, profile.ssh.port) and "ssh.port" not in profile.places:
        raise InputError(
            f"sshd on {host} listens on port {found.port}, and config/host.yml does not say so: "
            f"the firewall would leave only port {profile.ssh.port} open",
            hint=f"write `ssh: {{port: {found.port}}}` into config/host.yml to keep the port, "
            f"or `ssh: {{port: {profile.ssh.port}}}` to move sshd there; {UNCHANGED}",
        )
    _keep_the_address(found, profile, host)
    allow = profile.ssh.allow
    if not allow or not profile.firewall.enabled or not found.client:
        return
    client = _address(found.client)
    if not any(client in network for network in allow):
        raise InputError(
            f"{host} sees this computer as {client}, which ssh.allow in config/host.yml shuts out",
            hint=f"add {client}, or the network of the host that you come through; {UNCHANGED}",
        )


def _keep_the_address(found: Look, profile: HostProfile, host: str) -> None:
    """sshd on other addresses than the one that we came to is as good as none."""
    if not found.address:
        return
    here = _address(found.address)
    family = {"inet": 4, "inet6": 6}.get(options_say(profile.ssh.options, "AddressFamily"), here.version)
    value = options_say(profile.ssh.options, "ListenAddress")
    try:
        there = ipaddress.ip_address(split_address(value)[0].partition("%")[0]) if value else here
    except ValueError:
        # A name: what it means the host alone knows.
        there = here
    listens = there == here or (there.is_unspecified and there.version == here.version)
    for name, fine in (("AddressFamily", family == here.version), ("ListenAddress", listens)):
        if not fine:
            raise ConfigError(
                f"you reach {host} at {here}, where sshd would not listen any more: {name} says otherwise",
                where=profile.places.get(f"ssh.options.{name.lower()}"),
                hint=f"leave {name} out, or reach the host at an address that it names; {UNCHANGED}",
            )


def leaving_key(found: Look, profile: HostProfile, key: str) -> PublicKey | None:
    """The key that let us in, `TYPE DATA`, where the profile takes it away from the user; else None."""
    user = _user(found, profile)
    if user is None or user.keys_added or not user.public_keys or not key:
        return None
    kind, data = key.split()
    return None if data in _data(user) else PublicKey(kind, data)


def keeping(profile: HostProfile, found: Look, key: PublicKey) -> HostProfile:
    """The profile, with a key that leaves it still on the host."""
    users = (
        replace(user, keys_kept=(key.data,)) if user.name == found.user else user for user in profile.users
    )
    return replace(profile, users=tuple(users))


def demand_another_key(remote: Remote, found: Look, profile: HostProfile, old: PublicKey) -> None:
    """InputError where we hold none of the keys that are to take the place of the one that let us in.

    And where sshd is to move as well: its new port is nobody's whose key we know.
    """
    user = _user(found, profile)
    assert user is not None
    if found.port not in (0, profile.ssh.port):
        raise InputError(
            f"sshd on {remote.name} is to move from port {found.port} to {profile.ssh.port} (ssh.port in "
            f"config/host.yml), and the key that let you in as {user.name} to be taken away: one at a time",
            hint=f"leave the key {old.fingerprint} in config/host.yml until the port has moved, and "
            f"deploy.yml and known_hosts say so; {UNCHANGED}",
        )
    if not holds(replace(remote.endpoint, among=_data(user))):
        raise InputError(
            f"the key that let you in to {remote.name} as {user.name} is not among those that "
            f"config/host.yml gives {user.name}, and would be taken away; of those you have none at hand",
            hint=f"load one of them into the agent (ssh-add) or name it under ssh.keys in deploy.yml, or add "
            f"the key {old.fingerprint} to config/host.yml; {UNCHANGED}",
        )


def prove_another_key(remote: Remote, found: Look, profile: HostProfile, old: PublicKey) -> None:
    """Log in anew with a key that the profile gives; HostError where the host takes none of them."""
    user = _user(found, profile)
    assert user is not None
    details: Collection[str] = ()
    try:
        with Remote(replace(remote.endpoint, among=_data(user))) as other:
            said = other.exec(f"echo {_PROOF}", timeout=60)
            proven = other.proven_key()
        if _PROOF in said.stdout.split() and proven and proven.split()[1] in _data(user):
            return
        details = [*said.stdout.splitlines()[-3:], *said.stderr.splitlines()[-3:]]
    except HostError as exc:
        details = str(exc).splitlines()[:3]
    raise HostError(
        f"the host lets {user.name} in with none of the keys of config/host.yml that are at hand; "
        f"the key that let you in ({old.fingerprint}) was left beside them",
        host=remote.name,
        step="keys",
        hint="mend the keys and run again: the former one is taken away once one of them has let you in",
        details=list(details),
    )


def _user(found: Look, profile: HostProfile) -> User | None:
    return next((user for user in profile.users if user.name == found.user), None)


def _data(user: User) -> frozenset[str]:
    return frozenset(key.data for key in user.public_keys)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text.partition("%")[0])
