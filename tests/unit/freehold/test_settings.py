from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema
import pytest

from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.reference import json_schema, reference
from freehold.settings import read, setting


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True)
class Disk:
    """One disk."""

    size: int = setting(help="Size in GiB.", minimum=1, maximum=64)
    serial: str | None = setting(None, help="Serial number.", pattern="[A-Z0-9]+", example="AB12")


@dataclass(frozen=True)
class Machine:
    """A machine."""

    name: str = setting(help="Its name.")
    level: Level = setting(Level.LOW, help="Level.")
    mode: Literal["bios", "uefi"] = setting("uefi", help="Firmware.")
    fast: bool = setting(False, help="Speed.")
    load: float = setting(0.5, help="Load.")
    words: tuple[str, ...] = setting((), help="Words.")
    disks: tuple[Disk, ...] = setting((), help="Disks.")
    labels: Mapping[str, str] = setting(factory=dict, help="Labels.")
    port: int | Literal["auto"] = setting("auto", help="Port.", key="tcp-port")
    memory: int = setting(
        1 << 30, help="Memory.", parse=lambda node: int(node.raw[:-1]) << 30, form="a size", shown="1G"
    )

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ValueError("the name 'forbidden' is taken")


def parse(text: str, **kwargs: Any) -> Machine:
    return read(Machine, yamlfile.parse(text, "m.yml"), **kwargs)


def test_everything_at_once() -> None:
    machine = parse(
        "name: 08\nlevel: high\nmode: bios\nfast: true\nload: 1\nwords: [a, 1.10]\n"
        "disks: [{size: 4, serial: AB12}]\nlabels: {a: b}\ntcp-port: 80\n"
    )
    assert machine == Machine(
        "08", Level.HIGH, "bios", True, 1.0, ("a", "1.10"), (Disk(4, "AB12"),), {"a": "b"}, 80
    )


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("mode: bios\n", 1, "'name' is missing", "Its name."),
        ("name: a\nmod: bios\n", 2, "unknown key 'mod'", "did you mean 'mode'?"),
        ("name: a\nzzz: 1\n", 2, "unknown key 'zzz'", "known here: name"),
        ("name: a\nmode: bois\n", 2, "expected one of bios, uefi", "did you mean 'bios'?"),
        ("name: a\nlevel: 3\n", 2, "expected one of low, high", ""),
        ("name: a\nfast: 'true'\n", 2, "expected true or false", "without quotes"),
        ("name: a\nwords: x\n", 2, "expected a list, found the text 'x'", "- item"),
        ("name: a\nwords: [[x]]\n", 2, "expected text, found a list", ""),
        ("name: a\ndisks:\n  - size: 65\n", 3, "65 is too large", ""),
        ("name: a\ndisks:\n  - size: 5\n    serial: ab\n", 4, "right form", ""),
        ("name: a\ndisks: [4]\n", 2, "expected a map of size, serial", ""),
        ("name: a\nlabels: [x]\n", 2, "expected a map", "key: value"),
        ("name: [a]\n", 1, "expected text, found a list", ""),
        ("name: yes\n", 1, "expected text, found bool yes", 'quote it: "yes"'),
        ("name: a\ntcp-port: [1]\n", 2, "expected a whole number or auto", ""),
        ("name: forbidden\n", 1, "is taken", ""),
        ("- a\n", 1, "expected a map", ""),
        ("name: a\nx-note: 1\n", 2, "unknown key 'x-note'", ""),
    ],
)
def test_each_mistake_has_its_message(text: str, line: int, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    error = caught.value
    assert error.where is not None and error.where.line == line
    assert message in error.message
    assert hint in error.hint


def test_extensions_pass_on_request() -> None:
    assert parse("name: a\nx-note: 1\n", extensions=True).name == "a"


def test_schema_agrees_with_reading() -> None:
    schema = json_schema(Machine)
    good: dict[str, Any] = {"name": "a", "tcp-port": "auto", "disks": [{"size": 4, "serial": "AB"}]}
    jsonschema.validate(good, schema)
    for bad in (
        {},
        {"name": "a", "mod": 1},
        {"name": "a", "disks": [{"size": 65}]},
        {"name": "a", "fast": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_reference_walks_into_lists() -> None:
    rows = {row.path: row for row in reference(Machine)}
    assert rows["disks[].size"].required and rows["disks[].size"].type == "a whole number"
    assert rows["fast"].default == "false" and rows["level"].default == "low"
    assert rows["words"].default == rows["labels"].default == ""


def test_the_reference_shows_what_is_written_and_not_what_it_is_read_as() -> None:
    (memory,) = [row for row in reference(Machine) if row.path == "memory"]
    assert (memory.type, memory.default) == ("a size", "1G")
