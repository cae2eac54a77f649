"""Backups of accessories: the `backups` section, which Kamal does not have."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from freehold.settings import fail, read, setting
from freehold.wording import describe
from freehold.yamlfile import Node

Kind = Literal["postgres", "mysql", "sqlite", "volume"]
IMAGES: tuple[tuple[str, Kind], ...] = (
    ("postgres", "postgres"),
    ("postgis", "postgres"),
    ("pgvector", "postgres"),
    ("timescale", "postgres"),
    ("mysql", "mysql"),
    ("mariadb", "mysql"),
    ("percona", "mysql"),
)


@dataclass(frozen=True)
class BackupSettings:
    """How an accessory is backed up; databases are known by their image and need no entry."""

    kind: Kind | None = setting(
        None,
        help="What is in it: a database that is dumped while it runs, a SQLite file, or plain files; "
        "by the name of the image where absent.",
        example="postgres",
    )
    path: str | None = setting(
        None,
        help="Directory (volume) or database file (sqlite) in the container.",
        pattern="/.*",
        example="/data/app.sqlite3",
    )
    keep: int = setting(7, help="Backups kept on the host; older ones are removed.", minimum=1)
    pause: bool = setting(
        True, help="Hold the container's processes while plain files are copied, so that they fit together."
    )
    drill: str | None = setting(
        None,
        help="Check of one's own after `backup drill` has restored it: a command in its container, which "
        "fails where something is missing.",
        example="psql -U postgres shop -c 'SELECT 1 / count(*) FROM orders'",
    )

    def __post_init__(self) -> None:
        if self.kind in ("sqlite", "volume") and self.path is None:
            raise ValueError(f"a backup of kind {self.kind} needs 'path'")
        if self.path is not None and not self.path.strip("/"):
            raise ValueError("'path' is the whole file system of the container")
        if self.kind == "sqlite" and self.path is not None and self.path.count("/") < 2:
            raise ValueError("the file stands in the root of the container; give it a directory of its own")


def backups(node: Node) -> Mapping[str, BackupSettings]:
    """Backups by accessory."""
    if node.kind != "map":
        fail(node, f"expected a map of accessories, found {describe(node)}")
    return types.MappingProxyType({name: read(BackupSettings, entry) for name, entry in node.items()})


def kind_of(image: str, settings: BackupSettings) -> Kind | None:
    """What an accessory holds: as the file says, else as its image is called."""
    if settings.kind is not None:
        return settings.kind
    name = image.rsplit("/", 1)[-1].partition(":")[0].lower()
    return next((kind for word, kind in IMAGES if word in name), None)
