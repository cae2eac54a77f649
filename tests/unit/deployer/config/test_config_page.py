"""The page of all keys: what the declarations say now, and every one of them."""

from __future__ import annotations

import re
from pathlib import Path

from deployer.config.document import Document
from deployer.config.page import page
from deployer.config.supported import REFUSED
from freehold.reference import reference

ROOT = Path(__file__).parents[4]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/keys.md").read_text(encoding="utf-8") == page(), (
        "`.venv/bin/python -m deployer.config.page > docs/keys.md` makes it anew"
    )


def test_no_key_is_missing() -> None:
    """Also of those that are declared inside of others: what is refused has its reason instead."""
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*)", page(), re.M)
    # Names of one's own are called otherwise in each table.
    shown = {re.sub(r"\b[A-Z]+\b", "NAME", path) for path, _ in rows}
    # Kamal 1 has the probe at the top.
    declared = {re.sub(r"^healthcheck\.", "proxy.healthcheck.", row.path) for row in reference(Document)}
    assert len(declared) > 100 and declared <= shown
    reasons = dict(rows)
    assert all(reasons[path].strip() == why.reason for path, why in REFUSED.items() if "*" not in path)
