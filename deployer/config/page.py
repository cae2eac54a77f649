"""docs/keys.md: every key of `config/deploy.yml`, out of the same declarations as `freehold docs`.

.venv/bin/python -m deployer.config.page > docs/keys.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from deployer.config.reference import section
from deployer.config.supported import REFUSED
from freehold.reference import KeyDoc

CHAPTERS = (
    *("configuration", "servers", "env", "proxy", "builder", "registry", "accessories", "boot"),
    *("logging", "output", "ssh", "sshkit", "jobs", "backups"),
)
_HEAD = """\
# Keys of `config/deploy.yml`

<!-- Made by `python -m deployer.config.page` out of the declarations; a test keeps it up to date. -->

What `freehold docs` says, on one page. A key that stands in none of these tables is refused, with the nearest
one that there is. [configuration.md](configuration.md) is about files, templates and secrets.
"""
_REFUSED = """\
## Refused by name

Kamal has these keys, and here they can have no meaning: whoever wrote one wants something that would not be
done.

| key | why | instead |
|---|---|---|
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [_HEAD]
    refused = {path for path in REFUSED if "*" not in path}
    for name in CHAPTERS:
        title = "At the top of the file" if name == "configuration" else f"`{name}`"
        rows = (row for row in section(name) if row.path not in refused)
        parts.append(f"## {title}\n\n| key | is | default | |\n|---|---|---|---|\n{_table(rows)}")
    rows_refused = (
        f"| `{path}` | {_cell(why.reason)} | {_cell(why.hint)} |\n"
        for path, why in REFUSED.items()
        if path in refused
    )
    return "\n".join([*parts, f"{_REFUSED}{''.join(rows_refused)}"])


def _table(rows: Iterable[KeyDoc]) -> str:
    return "".join(
        f"| `{row.path}` | {_cell(row.type)} | {_default(row)} | {_cell(row.help)} |\n" for row in rows
    )


def _default(row: KeyDoc) -> str:
    if row.required:
        return "required"
    return f"`{row.default}`" if row.default else ""


def _cell(text: str) -> str:
    # A table's own sign, and what Markdown would take for a tag.
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(page())
