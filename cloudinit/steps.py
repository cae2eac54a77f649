"""What a recipe is made of: directories, files, named steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file. `notify` is what a live host does when it changed: `("reload", "ssh.service")`.

    `check` is a command that takes a path; what it refuses on a live host does not take the file's name.
    """

    path: str
    content: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    notify: tuple[tuple[str, str], ...] = ()
    check: str = ""


@dataclass(frozen=True)
class Directory:
    """A directory."""

    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Step:
    """A named part of the recipe: directories, then files, then the fragment.

    `before` runs ahead of the files, `live` only on a running host, after `script`.
    """

    name: str
    title: str
    directories: tuple[Directory, ...] = ()
    files: tuple[File, ...] = ()
    before: str = ""
    script: str = ""
    live: str = ""
