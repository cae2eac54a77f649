"""Choosing hosts and roles by name: `web-*`, `db?`, `{web,job}`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence

from freehold.settings import near


def matching(patterns: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names that match one of the patterns, in the order of `names`."""
    plain = [pattern for given in patterns for pattern in expanded(given)]
    return tuple(name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in plain))


def expanded(pattern: str) -> list[str]:
    """A pattern with braces as those it stands for: `a-{b,c}` is `a-b` and `a-c`."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    start, end = match.span()
    return [
        whole for part in match[1].split(",") for whole in expanded(f"{pattern[:start]}{part}{pattern[end:]}")
    ]


def offer(word: str, names: Sequence[str]) -> str:
    """The hint for a name that does not exist."""
    guess = near(word, names)
    return f"did you mean {guess!r}?" if guess else f"there are: {', '.join(names) or 'none'}"
