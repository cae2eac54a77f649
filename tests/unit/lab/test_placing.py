"""Where a lab goes: the image that its machines are made of."""

import io
import ipaddress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder.image import Image
from builder.spec import ImageSpec
from cloudinit.profile import HostProfile, parse_profile
from freehold.console import Console
from freehold.process import LocalRunner
from lab import placing
from lab.address import MANAGEMENT_GATEWAY
from lab.placing import Placing
from tests.unit.lab.samples import SPEC

FOLDER = Path("/cache/i")
IMAGE = Image(FOLDER, "k", "trixie", "amd64", FOLDER, FOLDER, FOLDER, "ro", FOLDER, 1 << 30)


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[ImageSpec]:
    asked: list[ImageSpec] = []

    def build(wish: ImageSpec, **_others: Any) -> Image:
        asked.append(wish)
        return IMAGE

    monkeypatch.setattr(placing, "build_image", build)
    return asked


def image_for(profile: HostProfile | None) -> None:
    console = Console(out=io.StringIO(), err=io.StringIO())
    Placing(replace(SPEC, profile=profile), None, runner=LocalRunner(), console=console).image()


def test_an_image_lets_this_computer_in(wishes: list[ImageSpec]) -> None:
    image_for(parse_profile("ssh: {allow: [203.0.113.0/24]}"))
    assert wishes[0].profile is not None
    client = ipaddress.ip_address(MANAGEMENT_GATEWAY)
    assert any(client in network for network in wishes[0].profile.ssh.allow)


def test_an_image_is_the_profiles_own_where_nobody_is_shut_out(wishes: list[ImageSpec]) -> None:
    """So that it is the one that `image build` has made."""
    profile = parse_profile("ssh: {port: 2200}")
    image_for(profile)
    image_for(None)
    assert [wish.profile for wish in wishes] == [profile, None]
