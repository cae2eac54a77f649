"""NoCloud volumes: an ISO 9660 image with the label `cidata`, byte for byte the same for the same files.

cloud-init looks for the label in either case and reads the names by Joliet or Rock Ridge:
https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import struct_time
from types import ModuleType
from typing import Any

from freehold.errors import FreeholdError
from freehold.files import write_atomic

LABEL = "cidata"
# 1 January 2020, UTC: some readers take a date before 1980 for a damaged volume.
EPOCH = 1_577_836_800
_CLOCK_LOCK = threading.Lock()


def iso_bytes(files: Mapping[str, bytes], *, label: str = LABEL, epoch: int = EPOCH) -> bytes:
    """The image as bytes. `files` stand in the root directory, by name; `epoch` dates them all."""
    import pycdlib

    with _pinned_clock(epoch):
        iso = pycdlib.PyCdlib()
        try:
            iso.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
            for number, (name, data) in enumerate(sorted(files.items())):
                _check_name(name)
                # The plain ISO name is never read; a number keeps it legal and unique.
                iso.add_fp(
                    BytesIO(data),
                    len(data),
                    f"/FILE{number:04d}.;1",
                    rr_name=name,
                    joliet_path=f"/{name}",
                    file_mode=0o100400,
                )
            image = BytesIO()
            iso.write_fp(image)
        except pycdlib.pycdlibexception.PyCdlibException as exc:
            raise FreeholdError(f"the volume {label} cannot be made: {exc}") from exc
        finally:
            iso.close()
    return image.getvalue()


def write_iso(files: Mapping[str, bytes], path: Path, *, label: str = LABEL) -> None:
    """Write the image to `path`, whole or not at all, readable by its owner only: it may carry keys."""
    write_atomic(path, iso_bytes(files, label=label), mode=0o600)


def _check_name(name: str) -> None:
    if not name or "/" in name or len(name) > 64:
        raise FreeholdError(f"{name!r} is no file name for a volume")


class _Clock:
    """Stands for the module `time` inside pycdlib, which stamps the current time on everything."""

    def __init__(self, epoch: int) -> None:
        self.epoch = float(epoch)

    def time(self) -> float:
        return self.epoch

    def localtime(self, seconds: float | None = None) -> struct_time:
        # The machine's time zone would be written into every date.
        return time.gmtime(self.epoch if seconds is None else seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@contextmanager
def _pinned_clock(epoch: int) -> Iterator[None]:
    from pycdlib import dates, headervd, pycdlib, rockridge, utils

    modules: list[ModuleType] = [
        module for module in (dates, headervd, pycdlib, rockridge, utils) if hasattr(module, "time")
    ]
    clock = _Clock(epoch)
    with _CLOCK_LOCK:
        for module in modules:
            vars(module)["time"] = clock
        try:
            yield
        finally:
            for module in modules:
                vars(module)["time"] = time
