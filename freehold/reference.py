"""JSON schema and reference pages out of declared settings (`freehold.settings`)."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from freehold.settings import Key, keys_of
from freehold.wording import type_name

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class KeyDoc:
    """One key for a reference page: dotted `path`, type in words, default as YAML text, help."""

    path: str
    type: str
    default: str
    help: str
    required: bool


def json_schema(cls: type[Any], *, title: str = "", extensions: bool = False) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) for the dataclass `cls`."""
    schema: dict[str, Any] = {"$schema": SCHEMA_DIALECT}
    if title:
        schema["title"] = title
    schema.update(_object(cls))
    if extensions:
        schema["patternProperties"] = {"^x-": {}}
    return schema


def nothing_required(schema: Any) -> Any:
    """The same schema for a file that says a part only, as another one says the rest."""
    if isinstance(schema, Mapping):
        return {
            # What may not be there stays forbidden.
            name: part if name == "not" else nothing_required(part)
            for name, part in schema.items()
            # A key of that name has a schema of its own, not a list of names.
            if not (name == "required" and isinstance(part, list))
        }
    return [nothing_required(part) for part in schema] if isinstance(schema, list) else schema


def _object(cls: type[Any]) -> dict[str, Any]:
    declared = {name: key for name, key in keys_of(cls).items() if not key.meta.hidden}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: _key_schema(key) for name, key in declared.items()},
        "additionalProperties": False,
    }
    doc = _summary(cls)
    if doc:
        schema["description"] = doc
    required = [name for name, key in declared.items() if key.required]
    if required:
        schema["required"] = required
    return schema


def _key_schema(key: Key) -> dict[str, Any]:
    schema = dict(key.meta.schema) if key.meta.schema is not None else type_schema(key.type)
    schema["description"] = key.meta.help
    if key.meta.schema is None:
        if key.meta.minimum is not None:
            schema["minimum"] = key.meta.minimum
        if key.meta.maximum is not None:
            schema["maximum"] = key.meta.maximum
        if key.meta.pattern is not None:
            target = schema["items"] if schema.get("type") == "array" else schema
            target["pattern"] = f"^(?:{key.meta.pattern})$"
    if isinstance(key.default, str | int | float | bool) and not isinstance(key.default, enum.Enum):
        schema["default"] = key.default
    if key.meta.example is not None:
        schema["examples"] = [key.meta.example]
    return schema


def type_schema(wanted: Any) -> dict[str, Any]:
    """The JSON schema of one annotation."""
    origin = typing.get_origin(wanted)
    if origin in (Union, types.UnionType):
        options = typing.get_args(wanted)
        schemas = [type_schema(option) for option in options if option is not type(None)]
        if type(None) in options:
            schemas.append({"type": "null"})
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    if origin is Literal:
        return {"enum": list(typing.get_args(wanted))}
    if origin is tuple:
        return {"type": "array", "items": type_schema(typing.get_args(wanted)[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": type_schema(typing.get_args(wanted)[1])}
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _object(wanted)
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return {"enum": [member.value for member in wanted]}
    names: dict[Any, dict[str, Any]] = {
        # YAML 1.1 makes a number of `1.10`; reading takes its text, so a schema must let it pass.
        str: {"type": ["string", "number"]},
        int: {"type": "integer"},
        float: {"type": "number"},
        bool: {"type": "boolean"},
        Path: {"type": "string"},
    }
    return dict(names.get(wanted, {}))


def reference(cls: type[Any], prefix: str = "") -> list[KeyDoc]:
    """Every key of `cls` and of the dataclasses in it, depth first."""
    rows: list[KeyDoc] = []
    for name, key in keys_of(cls).items():
        if key.meta.hidden:
            continue
        path = f"{prefix}{name}"
        written = key.meta.form or type_name(key.type)
        rows.append(KeyDoc(path, written, _default(key), key.meta.help, key.required))
        inner, suffix = _inner(key.type)
        if inner is not None:
            rows.extend(reference(inner, f"{path}{suffix}."))
    return rows


def _inner(wanted: Any) -> tuple[type[Any] | None, str]:
    """The dataclass inside an annotation and what stands between its key and the parent's."""
    origin = typing.get_origin(wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return wanted, ""
    if origin is tuple:
        inner, suffix = _inner(typing.get_args(wanted)[0])
        return inner, "[]" + suffix
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        inner, suffix = _inner(typing.get_args(wanted)[1])
        return inner, ".NAME" + suffix
    if origin in (Union, types.UnionType):
        for option in typing.get_args(wanted):
            inner, suffix = _inner(option)
            if inner is not None:
                return inner, suffix
    return None, ""


def _default(key: Key) -> str:
    value = key.default
    if key.meta.shown:
        return key.meta.shown
    if key.required or value is None or dataclasses.is_dataclass(value):
        return ""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]" if value else ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return str(value)


def _summary(cls: type[Any]) -> str:
    doc = inspect.getdoc(cls) or ""
    # dataclasses writes `Name(field: type, …)` where a class has no docstring of its own.
    return "" if doc.startswith(f"{cls.__name__}(") else doc.split("\n\n")[0].replace("\n", " ")
