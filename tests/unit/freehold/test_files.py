"""Directories that strangers may not change."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import FreeholdError
from freehold.files import guarded_dir, new_private_dir


def foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it another user's, as this user sees it."""
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)


@pytest.mark.parametrize("make", [guarded_dir, new_private_dir])
def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    path = tmp_path / "freehold-0"
    path.mkdir(mode=0o777)
    foreign(path, monkeypatch)
    with pytest.raises(FreeholdError, match=str(path)):
        make(path)


def test_what_strangers_could_write_is_closed_and_a_sticky_one_stays(tmp_path: Path) -> None:
    made = guarded_dir(tmp_path / "new" / "below")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o775)
    assert guarded_dir(made).stat().st_mode & 0o777 == 0o755
    made.chmod(0o1777)
    assert guarded_dir(made).stat().st_mode & 0o7777 == 0o1777
