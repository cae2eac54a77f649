"""Pages that the proxy itself shows: its errors, and maintenance. Kamal's pages are Go templates.

Of the template language a page may use what Kamal's own pages do: `{{ .Message }}`, and
`{{ if .Message }} … {{ else }} … {{ end }}`.
"""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Mapping

from deployer.commands import layout
from deployer.config import DeployConfig
from deployer.script import discard, heredoc

MAINTENANCE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Maintenance</title>
<style>body { font: 1.2rem/1.5 sans-serif; margin: 20vh auto; max-width: 32rem; padding: 0 1rem }</style>
{{ if .Message }}<p>{{ .Message }}</p>{{ else }}<p>This site is down for maintenance and will be back soon.</p>{{ end }}
</html>
"""  # noqa: E501 - one paragraph a line
_CHOICE = re.compile(
    r"\{\{-?\s*if \.Message\s*-?\}\}(.*?)(?:\{\{-?\s*else\s*-?\}\}(.*?))?\{\{-?\s*end\s*-?\}\}", re.DOTALL
)
_MESSAGE = re.compile(r"\{\{-?\s*\.Message\s*-?\}\}")


def filled(page: str, message: str = "") -> str:
    """A page with its message; the message is text, not HTML."""
    text = _CHOICE.sub(lambda found: (found[1] if message else found[2]) or "", page)
    return _MESSAGE.sub(lambda _: html.escape(message), text)


def store_fragment(name: str, version: str, pages: Mapping[str, str]) -> str:
    """Keep the error pages of a version beside it."""
    root = f"{layout.version(name, version)}/pages"
    lines = [discard(root)]
    if pages:
        lines.append(f"mkdir -p {shlex.quote(root)}")
    for file, text in sorted(pages.items()):
        lines.append(f"cat >{shlex.quote(f'{root}/{file}')} {heredoc(filled(text))}")
    return "\n".join(lines)


def maintenance_page(config: DeployConfig, message: str) -> str:
    """The project's own 503.html, or Freehold's."""
    return filled(config.error_pages.get("503.html", MAINTENANCE), message)
