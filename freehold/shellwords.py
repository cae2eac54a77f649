"""A command line as words, by the rules of a POSIX shell.

`shlex.split` keeps the backslash of `"\\$5"`: in double quotes it knows two escapes of five.
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | '(?P<single>[^']*)'
      | "(?P<double>(?:[^"\\]|\\.)*)"
      | \\(?P<escaped>.)
      | (?P<plain>[^ \t\r\n'"\\]+)""",
    re.VERBOSE | re.DOTALL,
)
_IN_DOUBLE = re.compile(r'\\([$`"\\]|\n)')


def split_words(line: str) -> list[str]:
    """The words of a line; nothing in it is filled in or run. ValueError where a quote is left open."""
    words: list[str] = []
    word: str | None = None
    at = 0
    while at < len(line):
        found = _PIECE.match(line, at)
        if found is None:
            raise ValueError("No escaped character" if line[at] == "\\" else "No closing quotation")
        at = found.end()
        kind, text = found.lastgroup, found[found.lastgroup or 0]
        if kind == "space":
            if word is not None:
                words.append(word)
            word = None
        elif kind == "double":
            word = (word or "") + _IN_DOUBLE.sub(lambda match: match[1].strip("\n"), text)
        elif kind != "escaped" or text != "\n":
            word = (word or "") + text
    return words if word is None else [*words, word]
