"""Files and directories of accessories on a host: made, filled, given mode and owner."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.commands.accessory import home_path
from deployer.config import Accessory, Mount
from deployer.script import Step, heredoc

FILE_MODE = "0755"
"""Kamal's. The directory in which they lie is open to its owner only."""
KEY_MODE = "0600"


@dataclass(frozen=True)
class Content:
    """What a file is to hold. It may hold secrets, so it is not shown."""

    data: bytes

    def __repr__(self) -> str:
        return f"Content({len(self.data)} bytes)"

    @property
    def private(self) -> bool:
        """It is, or holds, a private key."""
        return b"PRIVATE KEY-----" in self.data


def directories_step(accessory: Accessory) -> Step:
    """The directories it mounts. One that exists keeps its content, and its mode and owner unless given."""
    lines = [f"[ -d {home_path(accessory.service)} ] || mkdir -m 0700 {home_path(accessory.service)}"]
    for mount in accessory.directories:
        path = home_path(accessory.directory_path(mount))
        lines.append(
            f"mkdir -p {path} 2>/dev/null || sudo -n mkdir -p {path} || "
            f'{{ echo "failed: $(id -un) may not make "{path}; exit 1; }}'
        )
        lines += _rights(accessory, mount, path, mount.mode)
    return Step(f"directories-{accessory.name}", "\n".join(lines), f"directories of {accessory.name}")


def files_step(accessory: Accessory, contents: Mapping[str, Content]) -> Step:
    """The files it mounts; `contents` by their path in the project. Each is replaced by rename."""
    lines = ["umask 077"]
    for mount in accessory.files:
        content = contents[mount.local]
        path = home_path(accessory.file_path(mount))
        lines.append(f"mkdir -p {home_path(accessory.file_path(mount).rsplit('/', 1)[0])}")
        text = base64.encodebytes(content.data).decode("ascii")
        lines.append(f"base64 -d >{path}.new {heredoc(text)}")
        mode = mount.mode or (KEY_MODE if content.private else FILE_MODE)
        lines += _rights(accessory, mount, f"{path}.new", mode)
        lines.append(f"mv -f {path}.new {path}")
    return Step(f"files-{accessory.name}", "\n".join(lines), f"files of {accessory.name}")


def _rights(accessory: Accessory, mount: Mount, path: str, mode: str | None) -> list[str]:
    image = shlex.quote(accessory.image)
    lines = [f"as_owner {image} {path} chmod {mode}"] if mode else []
    if mount.owner:
        lines.append(f"as_owner {image} {path} chown {shlex.quote(mount.owner)}")
    return lines
