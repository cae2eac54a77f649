"""Bringing an existing server to the state of the recipe, over SSH, as root or with sudo."""

from __future__ import annotations

import ipaddress
import platform
import shlex
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cloudinit.profile import HostProfile
from cloudinit.proxybinary import BINARY, MINIMUM, UPLOAD_PATH, VERSION, local_caddy
from cloudinit.recipe import make_recipe
from cloudinit.script import as_script, shell_library, without_comments
from deployer.become import Become, Way
from deployer.door import demand_another_key, keep_the_door, keeping, leaving_key, prove_another_key
from deployer.remote import Remote
from deployer.report import text_error
from deployer.script import ScriptResult
from freehold.board import Progress
from freehold.errors import ConfigError, HostError

QUESTION = f"""\
echo "${{SSH_CONNECTION:-none}}"
uname -m
{{ {BINARY} version || echo none; }} 2>/dev/null | head -n 1
. /etc/os-release && echo "$PRETTY_NAME"
if [ "$(id -u)" = 0 ]; then echo root
elif ! command -v sudo >/dev/null; then echo none
elif sudo -n true 2>/dev/null; then echo sudo
else echo password
fi
id -un
id -nG
"""
TIMEOUT = 1800.0

# The lists of a fresh image are missing or old: what they do not name is looked up once more.
_UNKNOWN = """\
missing() {
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' -- "$package" 2>/dev/null | grep -qx installed ||
            apt-cache show --no-all-versions -- "$package" >/dev/null 2>&1 || echo "$package"
    done
}
[ -z "$(missing "$@")" ] || update_lists >&2
missing "$@"
"""


@dataclass(frozen=True)
class Look:
    """A host before the recipe: its machine (`x86_64`), proxy, system, and how one becomes root on it.

    `client` is the address that we come from, as the host sees it, and `port` the one that we came to;
    empty and 0 where the host does not say; `address` is the host's own one that we came to. `user` is whom
    we log in as, and `groups` are that user's.
    """

    client: str
    port: int
    machine: str
    caddy: str
    system: str
    way: Way
    user: str
    address: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bootstrapped:
    """What the recipe did on a host: the steps that changed something."""

    host: str
    changed: tuple[str, ...]
    result: ScriptResult


def look(remote: Remote) -> Look:
    """Ask a host what it is; HostError where it does not answer as a Debian would."""
    answer = remote.exec(shlex.join(["sh", "-c", QUESTION]), timeout=120)
    lines = [line.strip() for line in answer.stdout.splitlines()]
    if len(lines) != 7 or lines[4] not in ("root", "sudo", "password", "none"):
        raise HostError(
            "the host does not answer as a Debian server would",
            host=remote.name,
            step="bootstrap",
            hint="Debian 12 and 13 and their derivatives are supported",
            details=[*lines[-5:], *answer.stderr.splitlines()[-5:]],
        )
    client, _, address, port = lines[0].split() if lines[0].count(" ") == 3 else ("", "", "", "0")
    if not _is_address(client) or not _is_address(address):
        # A sshd that something else than a socket feeds calls both UNKNOWN.
        client, address, port = "", "", "0"
    groups = tuple(lines[6].split())
    return Look(
        client, int(port), lines[1], lines[2], lines[3], cast(Way, lines[4]), lines[5], address, groups
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bootstrap(
    remote: Remote,
    profile: HostProfile,
    progress: Progress,
    found: Look,
    become: Become,
    *,
    upgrade: bool = False,
) -> Bootstrapped:
    """Run the recipe of a profile on a host; a second run changes nothing.

    The proxy's program is sent where the host has none or one that is too old; with `upgrade` also
    where it has another version than this installation carries.
    """
    wanted = _older(found.caddy) or (upgrade and not found.caddy.startswith(f"v{VERSION} "))
    if upgrade and found.machine != platform.machine():
        raise HostError(
            f"this machine carries the proxy for {platform.machine()}, the host is {found.machine}",
            host=remote.name,
            step="upgrade",
            hint="`freehold server bootstrap` lets a host fetch the program itself where it is too old",
        )
    key = remote.proven_key()
    keep_the_door(found, profile, remote.name, key)
    old = leaving_key(found, profile, key)
    if old is not None:
        demand_another_key(remote, found, profile, old)
    if profile.packages:
        progress.update(remote.name, "looking packages up")
        _check_packages(remote, profile, found, become)
    if profile.proxy.enabled and wanted and found.machine == platform.machine():
        progress.update(remote.name, "sending the proxy's program")
        folder = shlex.quote(str(Path(UPLOAD_PATH).parent))
        receive = (
            f"mkdir -p {folder} && gzip -dc >{UPLOAD_PATH}.part && mv -f {UPLOAD_PATH}.part {UPLOAD_PATH}"
        )
        command = become.command(f"sh -c {shlex.quote(receive)}")
        status, output = remote.feed(command, _gzipped(local_caddy(), become.head.encode()))
        if status != 0:
            raise HostError("the proxy's program could not be written", host=remote.name, details=[output])
    if old is None:
        return _run(remote, profile, progress, found, become)
    # No run takes the key away that it came by, before another one has let it in.
    first = _run(remote, keeping(profile, found, old), progress, found, become)
    progress.update(remote.name, "logging in with another key")
    prove_another_key(remote, found, profile, old)
    last = _run(remote, profile, progress, found, become)
    return Bootstrapped(remote.name, tuple(dict.fromkeys((*first.changed, *last.changed))), last.result)


def _run(
    remote: Remote, profile: HostProfile, progress: Progress, found: Look, become: Become
) -> Bootstrapped:
    """Run the recipe of a profile; FreeholdError with the step that failed."""
    changed: list[str] = []
    recipe = make_recipe(profile)
    titles = {step.name: step.title for step in recipe.steps}
    result = remote.run_text(
        become.head + _door(found) + as_script(recipe, offline=False),
        command=become.command("bash -s"),
        timeout=TIMEOUT,
        on_event=lambda event: (
            progress.update(remote.name, titles.get(event.step, event.step))
            if event.state == "start"
            else changed.append(event.step)
            if event.state == "changed"
            else None
        ),
    )
    if not result.ok:
        raise text_error(result)
    return Bootstrapped(remote.name, tuple(changed), result)


def _door(found: Look) -> str:
    """What asks sshd whom it lets in, and who came from where: sudo keeps that from a script."""
    came = f"{found.user} {found.client} {found.address} {found.port}" if found.client else ""
    return f"FREEHOLD_CAME={shlex.quote(came)}\n{without_comments(shell_library('door'))}"


def _check_packages(remote: Remote, profile: HostProfile, found: Look, become: Become) -> None:
    """ConfigError at the line of a package that the host's distribution does not have."""
    text = shell_library("lists") + _UNKNOWN
    answer = remote.exec(
        become.command(shlex.join(["sh", "-c", text, "packages", *profile.packages])),
        stdin=become.head.encode() or None,
        timeout=600,
    )
    for index, name in enumerate(profile.packages):
        if name in answer.stdout.split():
            raise ConfigError(
                f"{found.system} on {remote.name} has no package {name!r}",
                where=profile.places.get(f"packages[{index}]"),
                hint="`apt-cache search WORD` on the host finds the name; nothing was changed",
                details=answer.stderr.splitlines()[-5:],
            )


def _older(version: str) -> bool:
    numbers = version.strip().removeprefix("v").split()[0].split(".")[:2] if version.strip() else []
    try:
        return tuple(int(number) for number in numbers) < MINIMUM
    except ValueError:
        return True


def _gzipped(path: Path, head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    packer = zlib.compressobj(1, wbits=31)
    with path.open("rb") as stream:
        while data := stream.read(1 << 18):
            yield packer.compress(data)
    yield packer.flush()
