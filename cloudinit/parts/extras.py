"""The user's own files and commands."""

from __future__ import annotations

import hashlib

from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Files, then commands; nothing where the profile has none."""
    found: list[Step] = []
    if profile.files:
        files = (File(item.path, item.content, item.mode, item.owner, item.group) for item in profile.files)
        found.append(Step("files", "Own files", files=tuple(files)))
    if profile.commands:
        found.append(Step("commands", "Own commands", script="\n".join(map(_once, profile.commands))))
    return tuple(found)


def _once(command: str) -> str:
    # The stamp names the command's text: a changed command runs again.
    digest = hashlib.sha256(command.encode()).hexdigest()[:16]
    stamp = f"/var/lib/freehold-bootstrap/commands/{digest}"
    return f"""
if [ ! -e {stamp} ]; then
    bash -e /dev/stdin <<'COMMAND_{digest}'
{command}
COMMAND_{digest}
    mkdir -p {stamp.rpartition("/")[0]}
    : >{stamp}
    changed "ran a command of the profile"
fi"""
