"""What dpkg's database says is installed in an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Installed:
    """A package of an image, as dpkg knows it. `size` in bytes, as the package itself claims."""

    name: str
    version: str
    arch: str
    source: str
    size: int
    homepage: str = ""


def installed(status: str) -> tuple[Installed, ...]:
    """The installed packages of a dpkg status file, by name."""
    found = []
    for paragraph in status.split("\n\n"):
        fields = _fields(paragraph.splitlines())
        if fields.get("Status", "").endswith(" installed"):
            found.append(
                Installed(
                    name=fields["Package"],
                    version=fields["Version"],
                    arch=fields["Architecture"],
                    source=fields.get("Source", fields["Package"]),
                    size=int(fields.get("Installed-Size", "0")) * 1024,
                    homepage=fields.get("Homepage", ""),
                )
            )
    return tuple(sorted(found, key=lambda package: (package.name, package.arch)))


def _fields(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in lines if line[:1].isalpha() and ":" in line)
    return {name: value.strip() for name, value in pairs}
