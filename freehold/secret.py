"""A value that must not be seen: it prints as `[redacted]` wherever it is formatted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NoReturn

REDACTED = "[redacted]"


class Secret:
    """A secret string. `reveal()` is the only way out, so a search for it shows every use."""

    __slots__ = ("__value",)

    def __init__(self, value: str | Secret) -> None:
        self.__value: str = value.reveal() if isinstance(value, Secret) else value

    def reveal(self) -> str:
        """The secret itself."""
        return self.__value

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__value == other.reveal()

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with every secret of four or more characters replaced.

    Shorter values ("1", "on") would blot out ordinary words and give no protection. Output comes line by
    line, so each line of a secret of several is replaced as well, if it has eight or more characters.
    The longest are replaced first, so that a secret inside another leaves no remainder.
    """
    values = {part for secret in secrets for part in _parts(secret.reveal())}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, REDACTED)
    return text


def _parts(value: str) -> Iterator[str]:
    """A secret, and where it has several lines what each of them gives away."""
    whole = value.strip()
    if len(whole) >= 4:
        yield value
        yield whole
    lines = [line.strip() for line in whole.splitlines()]
    for line in lines if len(lines) > 1 else ():
        if len(line) >= 8 and not line.startswith(("-----BEGIN ", "-----END ")):
            yield line
