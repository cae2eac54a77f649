from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudinit.cli import seed
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.providers import PROVIDERS
from freehold.reference import reference

PAGE = Path("docs/host.md")


def test_the_page_shows_every_key_as_it_is_declared_and_no_other() -> None:
    text = PAGE.read_text().partition("## Every key")[2]
    listed = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]*) \| ([^|]+) \|$", text, re.MULTILINE)
    declared = []
    for row in reference(HostProfile):
        default = "required" if row.required else f"`{row.default}`" if row.default else ""
        declared.append((row.path, row.type, default, row.help))
    assert listed == declared


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_pages_examples_are_read(example: str) -> None:
    assert parse_profile(example) != HostProfile()


def test_the_page_names_every_providers_limit() -> None:
    for provider in PROVIDERS.values():
        assert f"| `{provider.name}` | {provider.limit:,} |" in PAGE.read_text()
        assert provider.source


def test_the_command_line_offers_every_provider() -> None:
    (option,) = [option for option in seed.params if option.name == "provider"]
    assert list(getattr(option.type, "choices", ())) == list(PROVIDERS)
