"""The user's own files and commands."""

from __future__ import annotations

import hashlib

from cloudinit.leaks import in_text
from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step
from freehold.source import Location


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Files, then commands; nothing where the profile has none."""
    found: list[Step] = []
    if profile.files:
        files = (File(item.path, item.content, item.mode, item.owner, item.group) for item in profile.files)
        found.append(Step("files", "Own files", files=tuple(files)))
    if profile.commands:
        found.append(Step("commands", "Own commands", script="\n".join(map(_once, profile.commands))))
    return tuple(found)


def secrets(profile: HostProfile) -> tuple[str, ...]:
    """What in the user's own files and commands looks like a secret, with its line in the profile."""
    texts = [(f"files[{index}]", item.content) for index, item in enumerate(profile.files)]
    texts += [(f"commands[{index}]", text) for index, text in enumerate(profile.commands)]
    found: list[str] = []
    for key, text in texts:
        where = profile.places.get(key, Location("config/host.yml", key=key))
        found += [str(leak) for leak in in_text(text, where)]
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
