"""The root certificate of another ACME authority, out of a file of the project."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cloudinit.services import Proxy
from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.settings import fail
from freehold.yamlfile import Node


def with_root(proxy: Proxy, node: Node | None, root: Path | None) -> Proxy:
    """The proxy with the text of `acme_root`; ConfigError at the key where it cannot be of use."""
    entry = node.get("acme_root") if node is not None else None
    if proxy.acme_root is None or entry is None:
        return proxy
    if proxy.acme_ca in (None, "internal"):
        fail(
            entry.key_where or entry,
            "'acme_root' has no meaning without an authority of one's own",
            hint="write acme_ca: https://ca.example.com/acme/local/directory beside it",
        )
    if root is None:
        fail(entry, "a file is read from a project, and there is none")
    try:
        text = yamlfile.read_text(root / Path(proxy.acme_root).expanduser(), proxy.acme_root)
    except ConfigError as exc:
        fail(entry, exc.message, hint="its path begins where the project does")
    if "PRIVATE KEY" in text:
        fail(entry, f"{proxy.acme_root} holds a private key", hint="hosts need the certificate alone")
    if not _certificates(text):
        fail(entry, f"{proxy.acme_root} holds no certificate in PEM form")
    return replace(proxy, acme_root_pem=text)


def _certificates(text: str) -> bool:
    # A tenth of the start's time, and few profiles name an authority.
    import ssl

    try:
        return bool(ssl.create_default_context(cadata=text).get_ca_certs())
    except (ssl.SSLError, ValueError):
        return False
