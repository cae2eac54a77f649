"""The user's own files and commands."""

from __future__ import annotations

import hashlib

from cloudinit.leaks import in_text
from cloudinit.parts import ssh
from cloudinit.parts.ownfile import as_file
from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step
from freehold.source import Location

PROGRAM = "/usr/local/lib/freehold/commands"
COMMANDS = "freehold-commands.service"
_STATE = "/var/lib/freehold-bootstrap"
# cloud-init's last stage comes after multi-user.target, which would wait for a unit of its own that waits for
# that stage. The lock keeps a recipe that arrives meanwhile waiting.
_UNIT_TEXT = f"""[Unit]
Description=Commands of the host profile, each once
DefaultDependencies=no
Wants=network-online.target
After=network-online.target multi-user.target cloud-final.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
Environment=HOME=/root
ExecStart=/usr/bin/flock --close {_STATE}/lock {PROGRAM}

[Install]
WantedBy=multi-user.target
"""
# From a file, since a program that reads its standard input would take the rest of the lines.
_PROGRAM = f"""#!/bin/bash
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
note=${{1:-/dev/null}}
text=$(mktemp)
trap 'rm -f "$text"' EXIT
once() {{
    local stamp={_STATE}/commands/$1
    if [ -e "$stamp" ]; then return 0; fi
    cat >"$text"
    bash -e "$text" </dev/null
    mkdir -p "${{stamp%/*}}"
    : >"$stamp"
    : >"$note"
    echo "changed: ran a command of the profile"
}}
"""


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Files and commands, where the profile has none too: an earlier one may have had some."""
    return (_files(profile), _commands(profile.commands))


def secrets(profile: HostProfile) -> tuple[str, ...]:
    """What in the user's own files and commands looks like a secret, with its line in the profile."""
    texts = [(f"files[{index}]", item.content) for index, item in enumerate(profile.files)]
    texts += [(f"commands[{index}]", text) for index, text in enumerate(profile.commands)]
    found: list[str] = []
    for key, text in texts:
        where = profile.places.get(key, Location("config/host.yml", key=key))
        found += [str(leak) for leak in in_text(text, where)]
    return tuple(found)


def _files(profile: HostProfile) -> Step:
    # Those of sshd's are written by its own step, ahead of its check.
    files = tuple(as_file(item) for item in profile.files if not item.path.startswith(ssh.FOLDER))
    paths = "".join(f"{item.path}\n" for item in profile.files)
    gone = f"""
paths=$(cat <<'PATHS_END'
{paths}PATHS_END
)
while read -r path; do
    # A profile without files has left an empty line.
    if [ -z "$path" ] || grep -qxF -- "$path" <<<"$paths"; then continue; fi
    case $path in {ssh.FOLDER}*) notify reload ssh.service ;; esac
    restore "$path"
done < <(recall files)
if [ -n "$paths$(recall files)" ]; then say "$paths" | remember files; fi
"""
    return Step("files", "Own files", before=gone, files=files)


def _commands(commands: tuple[str, ...]) -> Step:
    path = f"/etc/systemd/system/{COMMANDS}"
    if not commands:
        gone = f"if [ -e {path} ]; then disable {COMMANDS}; fi\nabsent {path}\nabsent {PROGRAM}"
        return Step("commands", "Own commands (none)", script=gone)
    return Step(
        "commands",
        "Own commands",
        # They may hold what others must not read.
        files=(File(PROGRAM, program(commands), 0o700), File(path, _UNIT_TEXT)),
        # An image is many hosts: each runs them on its first boot.
        script=f"if offline; then enable {COMMANDS}; fi",
        live=f'{PROGRAM} "$FREEHOLD_WORK/changed"',
    )


def program(commands: tuple[str, ...]) -> str:
    """The program that runs what its host has not run yet; where there was any, it makes the file `$1`."""
    return _PROGRAM + "".join(map(_once, commands))


def _once(command: str) -> str:
    # The stamp names the command's text: a changed command runs again.
    digest = hashlib.sha256(command.encode()).hexdigest()[:16]
    return f"once {digest} <<'COMMAND_{digest}'\n{command}\nCOMMAND_{digest}\n"
