"""Raw disks in memory, where there is enough of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import scratch
from builder.scratch import roomy


def test_memory_must_have_room_and_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "disk_free", lambda path: scratch.RAW + scratch.KEEP)
    plenty, little = "MemTotal: 9 kB\nMemAvailable:   9000000 kB\n", "MemAvailable:   3000000 kB\n"
    assert roomy(tmp_path, plenty)
    assert not roomy(tmp_path, little)
    assert not roomy(tmp_path, "")
    assert not roomy(tmp_path / "missing", plenty)
    monkeypatch.setattr(scratch, "disk_free", lambda path: scratch.RAW)
    assert not roomy(tmp_path, plenty)


def test_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "SHARED_MEMORY", tmp_path / "missing")
    with pytest.raises(RuntimeError), scratch.scratch(tmp_path) as place:
        (place / "disk.raw").write_bytes(b"x")
        assert place.parent == tmp_path
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
