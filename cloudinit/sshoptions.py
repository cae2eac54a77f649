"""`ssh.options`: settings of sshd's beside the profile's own, without those that would shut everybody out."""

from __future__ import annotations

import re
from collections.abc import Mapping

from freehold.settings import convert, fail
from freehold.yamlfile import Node

_NEVER = "passwords are never taken; leave it out"
_OWN_FILE = "write a file of your own below /etc/ssh/sshd_config.d with files:"
# What the profile itself says about sshd, what would open a door that it shuts, or shut the only one.
_OWN = {
    "port": "say it with port",
    "permitrootlogin": "say it with root",
    "maxsessions": "say it with max_sessions",
    "maxstartups": "say it with max_sessions",
    "passwordauthentication": _NEVER,
    "kbdinteractiveauthentication": _NEVER,
    "challengeresponseauthentication": _NEVER,
    "permitemptypasswords": _NEVER,
    "pubkeyauthentication": "keys are the only way in; leave it out",
    "authorizedkeysfile": "users' keys are in ~/.ssh/authorized_keys; leave it out",
    "usepam": "Debian's sshd needs PAM; leave it out",
    "include": "leave it out",
    "match": _OWN_FILE,
    "refuseconnection": "nobody could log in any more; leave it out",
}
# What would hold for everybody, deployer and administrators alike; a Match block can say it of one user.
_FOR_ALL = {
    "forcecommand": "every login would run this one command, and no deploy could",
    "chrootdirectory": "every login would be shut into it, and no deploy could leave it",
}


def read_options(node: Node) -> Mapping[str, str]:
    """Read `ssh.options`; ConfigError at what is Freehold's own, or would let nobody in."""
    values = {name: _value(entry) for name, entry in convert(Mapping[str, Node], node).items()}
    seen: set[str] = set()
    for name, entry in node.items():
        at, lower = entry.key_where or entry, name.lower()
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]+", name):
            fail(at, f"{name!r} is no setting of sshd", hint="for example AllowTcpForwarding")
        if lower in _OWN:
            fail(at, f"the setting {name!r} is Freehold's own", hint=_OWN[lower])
        if lower in seen:
            fail(at, f"the setting {name!r} stands twice", hint="sshd does not tell capitals apart")
        seen.add(lower)
        _refuse_for_all(name, values[name], entry)
    return values


def _refuse_for_all(name: str, value: str, entry: Node) -> None:
    lower = name.lower()
    if lower in _FOR_ALL and value.lower() != "none":
        fail(entry, f"{name}: {_FOR_ALL[lower]}", hint=f"for one user, {_OWN_FILE}: Match User NAME")
    if lower == "authenticationmethods" and not {"any", "publickey"} & set(value.lower().split()):
        fail(
            entry,
            f"{name} asks for more than a key, and keys are the only way in: nobody could log in any more; "
            "expected publickey among the ways",
            hint=f"leave it out; for one user, {_OWN_FILE}: Match User NAME",
        )


def _value(node: Node) -> str:
    # sshd says yes and no; YAML 1.1 makes true and false of them.
    text = ("yes" if node.value else "no") if node.kind == "bool" else str(convert(str | int, node)).strip()
    if not text or re.search(r"[\n\r#]", text):
        fail(node, "a setting of sshd is one line, without a comment")
    return text
