"""Dockerfiles whose arguments stand in more than commands."""

from __future__ import annotations

import pytest

from deployer.images.dockerfile import set_by_args


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM scratch\nARG BROKEN=0\nENV BROKEN=$BROKEN\n", True),
        ("FROM scratch\narg A=1 B=2\nLABEL x=y \\\n  z=${B:-3}\n", True),
        ("FROM scratch\nARG A\nCOPY --chown=$A . .\n", True),
        ("ARG RUBY=3\nFROM ruby:$RUBY\nARG A=1\nRUN echo $A\nENV PATH=/x:$PATH\n", False),
        ("FROM scratch\nENV A=$A\n", False),
        ("", False),
    ],
)
def test_what_podmans_cache_would_miss(text: str, expected: bool) -> None:
    assert set_by_args(text) is expected
