"""Bringing an existing server to the state of the recipe, over SSH, as root or with sudo."""

from __future__ import annotations

import platform
import shlex
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloudinit.profile import HostProfile
from cloudinit.proxybinary import BINARY, MINIMUM, UPLOAD_PATH, VERSION, local_caddy
from cloudinit.recipe import make_recipe
from cloudinit.script import as_script
from deployer.remote import Remote
from deployer.report import text_error
from deployer.script import ScriptResult
from freehold.board import Progress
from freehold.errors import HostError

QUESTION = f"""\
id -u
uname -m
{{ {BINARY} version || echo none; }} 2>/dev/null | head -n 1
[ "$(id -u)" = 0 ] || sudo -n true && echo root
"""
TIMEOUT = 1800.0


@dataclass(frozen=True)
class Bootstrapped:
    """What the recipe did on a host: the steps that changed something."""

    host: str
    changed: tuple[str, ...]
    result: ScriptResult


def bootstrap(
    remote: Remote, profile: HostProfile, progress: Progress, *, upgrade: bool = False
) -> Bootstrapped:
    """Run the recipe of a profile on a host; a second run changes nothing.

    The proxy's program is sent where the host has none or one that is too old; with `upgrade` also
    where it has another version than this installation carries.
    """
    answer = remote.exec(shlex.join(["bash", "-c", QUESTION]), timeout=120)
    lines = answer.stdout.split("\n")
    if len(lines) < 4 or lines[3].strip() != "root":
        raise HostError(
            "neither root nor a user who may use sudo without a password",
            host=remote.name,
            step="bootstrap",
            hint="set `ssh.user` to root, or give the user NOPASSWD in sudoers",
            details=(answer.stderr.strip(),) if answer.stderr.strip() else (),
        )
    sudo = "" if lines[0].strip() == "0" else "sudo -n "
    wanted = _older(lines[2]) or (upgrade and not lines[2].startswith(f"v{VERSION} "))
    if upgrade and lines[1].strip() != platform.machine():
        raise HostError(
            f"this machine carries the proxy for {platform.machine()}, the host is {lines[1].strip()}",
            host=remote.name,
            step="upgrade",
            hint="`freehold server bootstrap` lets a host fetch the program itself where it is too old",
        )
    if profile.proxy.enabled and wanted and lines[1].strip() == platform.machine():
        progress.update(remote.name, "sending the proxy's program")
        folder = shlex.quote(str(Path(UPLOAD_PATH).parent))
        receive = (
            f"mkdir -p {folder} && gzip -dc >{UPLOAD_PATH}.part && mv -f {UPLOAD_PATH}.part {UPLOAD_PATH}"
        )
        status, output = remote.feed(f"{sudo}sh -c {shlex.quote(receive)}", _gzipped(local_caddy()))
        if status != 0:
            raise HostError("the proxy's program could not be written", host=remote.name, details=[output])
    script = as_script(make_recipe(profile), offline=False)
    changed: list[str] = []
    result = remote.run_text(
        script,
        command=f"{sudo}bash -s",
        timeout=TIMEOUT,
        on_event=lambda event: (
            progress.update(remote.name, event.step)
            if event.state == "start"
            else changed.append(event.step)
            if event.state == "changed"
            else None
        ),
    )
    if not result.ok:
        raise text_error(result)
    return Bootstrapped(remote.name, tuple(changed), result)


def _older(version: str) -> bool:
    numbers = version.strip().removeprefix("v").split()[0].split(".")[:2] if version.strip() else []
    try:
        return tuple(int(number) for number in numbers) < MINIMUM
    except ValueError:
        return True


def _gzipped(path: Path) -> Iterator[bytes]:
    packer = zlib.compressobj(1, wbits=31)
    with path.open("rb") as stream:
        while data := stream.read(1 << 18):
            yield packer.compress(data)
    yield packer.flush()
