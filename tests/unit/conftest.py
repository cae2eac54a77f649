"""What unit tests of several parts share."""

from __future__ import annotations

import pytest

from builder.sandbox import Sandbox
from freehold.errors import BuildError
from freehold.process import LocalRunner
from tests.conftest import cannot_run


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    """Where scripts are root in namespaces of their own."""
    made = Sandbox.here(LocalRunner())
    try:
        made.run("true", epoch=0, what="probing")
    except BuildError as exc:
        cannot_run("unit", f"no namespaces here: {exc.hint or exc.details}")
    return made
