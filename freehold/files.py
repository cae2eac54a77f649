"""Files written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import FreeholdError


@contextmanager
def replace_atomically(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well.

    When the block raises, the temporary file is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, data: bytes | str, mode: int = 0o644) -> None:
    """Write `data` (text as UTF-8) to `path` atomically; secret data never passes a wider mode."""
    with replace_atomically(path, mode=mode) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def new_private_dir(path: Path) -> Path:
    """`path` as a directory of mode 0700 that belongs to this user, made where it is missing."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.lstat()
    if found.st_uid != os.getuid() or not path.is_dir() or path.is_symlink():
        raise FreeholdError(f"{path} is not a directory of this user", hint="remove it, then run again")
    if found.st_mode & 0o077:
        path.chmod(0o700)
    return path


def guarded_dir(path: Path) -> Path:
    """`path`, made where it is missing, as a directory in which only this user and root can replace anything.

    A directory with the sticky bit is one, as `/tmp` is; others lose the write permission of strangers.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = path.stat()
    owners = {path.lstat().st_uid, found.st_uid}
    loose = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if owners - {0, os.getuid()} or (loose and found.st_uid != os.getuid()):
        raise FreeholdError(
            f"{path} can be changed by other users",
            hint="remove it, or set FREEHOLD_RUNTIME to another place",
        )
    if loose:
        path.chmod(found.st_mode & ~0o022 & 0o7777)
    return path
