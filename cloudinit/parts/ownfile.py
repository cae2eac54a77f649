"""A file of the user's own, in whichever step it belongs to."""

from __future__ import annotations

from cloudinit.extrafiles import ExtraFile
from cloudinit.steps import File


def as_file(item: ExtraFile) -> File:
    """The file; sudo, which refuses everybody where one of its files is wrong, is asked about its own."""
    check = "visudo -cf" if item.path.startswith("/etc/sudoers.d/") else ""
    return File(item.path, item.content, item.mode, item.owner, item.group, check=check)
