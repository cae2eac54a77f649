"""cloud-init's own schemas: whether a document is one that cloud-init takes, and where it is not.

The schemas are those of the oldest and the newest release that hosts may have (Debian 12 and Debian
unstable). A document has to pass both, so that one seed serves every supported system. How cloud-init
validates: https://docs.cloud-init.io/en/latest/howto/debug_user_data.html
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from freehold.errors import ConfigError
from freehold.settings import near
from freehold.wording import describe
from freehold.yamlfile import Node

if TYPE_CHECKING:
    from jsonschema import ValidationError

Kind = Literal["cloud-config", "network-config-1", "network-config-2"]
OLDEST, NEWEST = "22.4.2", "26.2"
RELEASES = (OLDEST, NEWEST)
_TYPES = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


@functools.cache
def _schemas(release: str) -> Mapping[str, Any]:
    path = Path(__file__).with_name("data") / f"schemas-{release}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@functools.cache
def _validator(kind: Kind, release: str) -> Any:
    # Imported late: jsonschema costs 80 ms of start-up.
    from jsonschema.validators import validator_for

    schema = _schemas(release).get(kind)
    return None if schema is None else validator_for(schema)(schema)


def validate(node: Node, kind: Kind) -> None:
    """ConfigError at the first thing that a supported release of cloud-init does not take.

    The place is the user's own file. Releases that know no schema of this kind are passed over.
    """
    document = node.plain()
    # The newest release knows more and says more; the oldest has the last word.
    for release in reversed(RELEASES):
        validator = _validator(kind, release)
        if validator is None:
            continue
        errors = sorted(
            validator.iter_errors(document), key=lambda error: list(map(str, error.absolute_path))
        )
        if errors:
            raise _error(_deepest(errors), node, release)


def validate_network(node: Node) -> None:
    """A network-config of version 1 or 2, with or without the `network:` around it."""
    inner = node.get("network") or node
    version = inner.get("version")
    if inner.kind != "map" or version is None:
        raise ConfigError(
            "no network-config: the key 'version' is missing", where=inner.where, hint="write 'version: 2'"
        )
    if version.value == 1:
        validate(_wrapped(inner), "network-config-1")
    elif version.value == 2:
        validate(_wrapped(inner), "network-config-2")
    else:
        raise ConfigError(
            f"cloud-init knows no network-config version {describe(version)}",
            where=version.where,
            hint="write 1 or 2",
        )


def _wrapped(node: Node) -> Node:
    return Node({"network": node}, node.where)


def _deepest(errors: list[ValidationError]) -> ValidationError:
    """The error that is nearest to what was meant.

    `anyOf` and `oneOf` fail for every branch; the branch that got deepest into the document is the
    one that the user was writing.
    """

    def leaves(error: ValidationError) -> Iterator[ValidationError]:
        if not error.context:
            yield error
        for inner in error.context or ():
            yield from leaves(inner)

    def rank(error: ValidationError) -> tuple[int, bool]:
        return (len(error.absolute_path), error.validator not in ("type", "enum", "required"))

    (first, *_) = errors
    return max(leaves(first), key=rank)


def _error(error: ValidationError, root: Node, release: str) -> ConfigError:
    node = root.at(error.absolute_path)
    where = node.where
    message, hint = _words(error, node)
    if error.validator == "additionalProperties":
        extra = _unknown(error)
        if extra and (entry := node.get(extra[0])) is not None:
            where = entry.key_where or entry.where
    return ConfigError(f"cloud-init {release} does not take this: {message}", where=where, hint=hint)


def _unknown(error: ValidationError) -> list[str]:
    schema: Any = error.schema
    instance: Any = error.instance
    return [name for name in instance if name not in schema.get("properties", {})]


def _words(error: ValidationError, node: Node) -> tuple[str, str]:
    wanted: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "additionalProperties":
            schema: Any = error.schema
            known = list(schema.get("properties", {}))
            (name, *_) = [*_unknown(error), "?"]
            guess = near(name, known)
            return f"unknown key {name!r}", f"did you mean {guess!r}?" if guess else ""
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return (
                f"expected {' or '.join(_TYPES.get(kind, kind) for kind in kinds)}, found {describe(node)}",
                "",
            )
        case "enum":
            guess = near(str(instance), [str(item) for item in wanted])
            allowed = ", ".join(str(item) for item in wanted)
            return (
                f"expected one of {allowed}; found {describe(node)}",
                f"did you mean {guess!r}?" if guess else "",
            )
        case "required":
            missing = [name for name in wanted if name not in instance]
            return f"the key {missing[0]!r} is missing", ""
        case "pattern":
            return f"{describe(node)} does not have the right form ({wanted})", ""
        case "minItems" | "minProperties":
            return f"expected at least {wanted}, found {len(instance)}", ""
        case _:
            text = error.message
            return text if len(text) < 200 else f"{text[:197]}...", ""
