"""A host's further files: their text in the profile, or in files of the project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from cloudinit.users import NAME
from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.settings import convert, fail, setting
from freehold.source import Location
from freehold.yamlfile import Node


def _read_mode(node: Node) -> int:
    # YAML 1.1 reads 0644 as an octal number already; "0644" and 0o644 are its text.
    text = (node.raw or str(node.value)).removeprefix("0o")
    if not re.fullmatch(r"[0-7]{3,4}", text):
        fail(node, f"{text!r} is no file mode", hint='for example "0644"')
    return int(text, 8)


def _absolute(node: Node) -> str:
    text = convert(str, node)
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or text.endswith("/") or re.search(r"[\n\0]", text):
        fail(node, f"{text!r} is no absolute path of a file")
    return str(path)


@dataclass(frozen=True)
class ExtraFile:
    """A file of the user's own."""

    path: str = setting(help="Where it goes.", parse=_absolute, example="/etc/motd")
    content: str = setting("", help="Its text; this or `source` is required.")
    source: str | None = setting(
        None,
        help="The file of the project that holds its text, in place of `content`.",
        example="config/motd",
    )
    mode: int = setting(
        0o644,
        parse=_read_mode,
        help="Its mode.",
        schema={"type": ["string", "integer"]},
        form="text, octal",
        shown="0644",
    )
    owner: str = setting("root", pattern=NAME, help="Its owner.")
    group: str = setting("root", pattern=NAME, help="Its group.")


def read_files(node: Node) -> tuple[ExtraFile, ...]:
    """Read `files:`; texts that stand in files of their own are read by `fill`."""
    files = convert(tuple[ExtraFile, ...], node)
    assert isinstance(files, tuple)
    seen: set[str] = set()
    for item, element in zip(files, node.elements(), strict=True):
        content, source = element.get("content"), element.get("source")
        if content is None and source is None:
            fail(
                element, "the key 'content' is missing", hint="write its text, or 'source' and a file's path"
            )
        if content is not None and source is not None:
            fail(source, "'content' and 'source' stand side by side", hint="keep one of them")
        if item.path in seen:
            fail(element, f"the file {item.path} stands twice", hint="keep one of them")
        seen.add(item.path)
    return files


def fill(
    files: tuple[ExtraFile, ...], node: Node | None, root: Path | None
) -> tuple[tuple[ExtraFile, ...], Mapping[str, Location]]:
    """The files with their texts, and where those begin that were read from `source`.

    ConfigError at the source that cannot be read.
    """
    filled, places = [], {}
    for index, item in enumerate(files):
        if item.source is None:
            filled.append(item)
            continue
        where = node.elements()[index].where if node is not None else Location("config/host.yml")
        if root is None:
            raise ConfigError("a source is read from a project, and there is none", where=where)
        try:
            text = yamlfile.read_text(root / Path(item.source).expanduser(), item.source)
        except ConfigError as exc:
            raise ConfigError(
                f"the source {item.source}: {exc.message}",
                where=where,
                hint="its path begins where the project does",
            ) from exc
        filled.append(replace(item, content=text))
        places[f"files[{index}]"] = Location(item.source, 1)
    return tuple(filled), places
