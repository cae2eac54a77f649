"""`${NAME}` in clear values, options, labels and volumes: filled in on the host that the container runs on.

Kamal leaves this form to the host's shell on purpose, and files rely on it (`${HOSTNAME}`). Here only a
plain name between the braces counts, and neither the text around it nor the host's value is ever read as
shell. A name that the host does not know is empty. Secrets are not looked at.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def names(texts: Iterable[str]) -> tuple[str, ...]:
    """The variables that texts name, each once."""
    return tuple(dict.fromkeys(name for text in texts for name in _REFERENCE.findall(text)))


def lookup(name: str) -> str:
    """A shell word with the host's value of a variable.

    A shell of its own is asked, which knows what bash itself sets but none of our scripts' variables.
    """
    return f'"$(bash -c \'printf %s "${{{name}-}}"\')"'


def word(text: str) -> str:
    """A text as one shell word."""
    parts = _REFERENCE.split(text)
    if len(parts) == 1:
        return shlex.quote(text)
    return "".join(
        lookup(part) if at % 2 else shlex.quote(part) if part else "" for at, part in enumerate(parts)
    )


def join(words: Iterable[str]) -> str:
    """Words as one shell line, as `shlex.join` does."""
    return " ".join(word(text) for text in words)


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with the values that a host has told; without one it stays as it is."""
    return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)
