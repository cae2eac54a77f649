"""Methods of lists and maps that ERB tags of configuration files use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from deployer.config.template.values import Apply, Span, Value, blank, last, part, text, truthy


def _flatten(value: list[Value], depth: int = 16) -> list[Value]:
    found: list[Value] = []
    for item in value:
        found += _flatten(item, depth - 1) if isinstance(item, list) and depth else [item]
    return found


def _unique(value: list[Value]) -> list[Value]:
    found: list[Value] = []
    for item in value:
        if item not in found:
            found.append(item)
    return found


def _find(value: list[Value], apply: Apply) -> Value:
    return next((item for item in value if truthy(apply(item))), None)


def _element(value: list[Value], first: Value, length: int | None = None) -> Value:
    if isinstance(first, Span):
        return first.of(value)
    if length is not None:
        return part(value, first, length)
    return value[first] if -len(value) <= first < len(value) else None


def _dig(value: Value, *keys: Value) -> Value:
    for key in keys:
        if value is None:
            return None
        value = value.get(key) if isinstance(value, dict) else _element(value, key)
    return value


def _count(value: list[Value], apply: Apply | None = None) -> int:
    return len(value) if apply is None else sum(truthy(apply(item)) for item in value)


LIST: Mapping[str, Callable[..., Value]] = {
    "each": lambda value, apply: [apply(item) for item in value] and value,
    "each_with_index": lambda value, apply: [apply(item, at) for at, item in enumerate(value)] and value,
    "map": lambda value, apply: [apply(item) for item in value],
    "collect": lambda value, apply: [apply(item) for item in value],
    "flat_map": lambda value, apply: _flatten([apply(item) for item in value], 1),
    "filter_map": lambda value, apply: [found for item in value if truthy(found := apply(item))],
    "select": lambda value, apply: [item for item in value if truthy(apply(item))],
    "filter": lambda value, apply: [item for item in value if truthy(apply(item))],
    "reject": lambda value, apply: [item for item in value if not truthy(apply(item))],
    "find": _find,
    "detect": _find,
    "any?": lambda value, apply=truthy: any(truthy(apply(item)) for item in value),
    "all?": lambda value, apply=truthy: all(truthy(apply(item)) for item in value),
    "none?": lambda value, apply=truthy: not any(truthy(apply(item)) for item in value),
    "sort_by": lambda value, apply: sorted(value, key=apply),
    "to_h": lambda value, apply=None: dict(apply(item) if apply else item for item in value),
    "compact": lambda value: [item for item in value if item is not None],
    "compact_blank": lambda value: [item for item in value if not blank(item)],
    "flatten": _flatten,
    "uniq": _unique,
    "join": lambda value, separator="": separator.join(text(item) for item in _flatten(value)),
    "first": lambda value, count=None: (value[0] if value else None) if count is None else value[:count],
    "last": lambda value, count=None: (value[-1] if value else None) if count is None else last(value, count),
    "length": len,
    "size": len,
    "count": _count,
    "empty?": lambda value: not value,
    "include?": lambda value, item: item in value,
    "sort": sorted,
    "reverse": lambda value: value[::-1],
    "min": min,
    "max": max,
    "sum": lambda value, apply=None: sum(apply(item) if apply else item for item in value),
    "take": lambda value, count: value[:count],
    "drop": lambda value, count: value[count:],
    "zip": lambda value, *others: [list(items) for items in zip(value, *others, strict=False)],
    "index": lambda value, item: value.index(item) if item in value else None,
    "dig": _dig,
    "[]": _element,
    "slice": _element,
    "push": lambda value, *items: value.extend(items) or value,
    "concat": lambda value, items: value.extend(items) or value,
    "<<": lambda value, item: value.append(item) or value,
    "+": lambda value, other: value + other,
    "-": lambda value, other: [item for item in value if item not in other],
    "&": lambda value, other: _unique([item for item in value if item in other]),
    "|": lambda value, other: _unique(value + other),
    "*": lambda value, given: (
        given.join(map(text, value)) if isinstance(given, str) else value * min(given, 10_000)
    ),
    "to_a": lambda value: value,
}


def _pairs(value: dict[Value, Value]) -> list[Value]:
    return [[key, item] for key, item in value.items()]


HASH: Mapping[str, Callable[..., Value]] = {
    "each": lambda value, apply: [apply(key, item) for key, item in list(value.items())] and value,
    "each_pair": lambda value, apply: [apply(key, item) for key, item in list(value.items())] and value,
    "map": lambda value, apply: [apply(key, item) for key, item in value.items()],
    "collect": lambda value, apply: [apply(key, item) for key, item in value.items()],
    "flat_map": lambda value, apply: _flatten([apply(key, item) for key, item in value.items()], 1),
    "filter_map": lambda value, apply: [got for k, v in value.items() if truthy(got := apply(k, v))],
    "select": lambda value, apply: {k: v for k, v in value.items() if truthy(apply(k, v))},
    "filter": lambda value, apply: {k: v for k, v in value.items() if truthy(apply(k, v))},
    "reject": lambda value, apply: {k: v for k, v in value.items() if not truthy(apply(k, v))},
    "transform_values": lambda value, apply: {k: apply(v) for k, v in value.items()},
    "any?": lambda value, apply=None: any(truthy(apply(k, v)) if apply else True for k, v in value.items()),
    "keys": lambda value: list(value),
    "values": lambda value: list(value.values()),
    "values_at": lambda value, *keys: [value.get(key) for key in keys],
    "slice": lambda value, *keys: {key: value[key] for key in keys if key in value},
    "except": lambda value, *keys: {k: v for k, v in value.items() if k not in keys},
    "key?": lambda value, key: key in value,
    "has_key?": lambda value, key: key in value,
    "include?": lambda value, key: key in value,
    "member?": lambda value, key: key in value,
    "[]": lambda value, key: value.get(key),
    "dig": _dig,
    "merge": lambda value, other: {**value, **other},
    "compact": lambda value: {k: v for k, v in value.items() if v is not None},
    "length": len,
    "size": len,
    "count": len,
    "empty?": lambda value: not value,
    "to_a": _pairs,
    "sort": lambda value: sorted(_pairs(value)),
    "sort_by": lambda value, apply: sorted(_pairs(value), key=lambda pair: apply(*pair)),
    "to_h": lambda value: value,
}
