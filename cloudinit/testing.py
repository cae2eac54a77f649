"""The checks of a prepared host in a pytest suite of one's own, as a plugin.

    # conftest.py
    pytest_plugins = ["cloudinit.testing"]

    # test_hosts.py
    def test_host(freehold_check):
        assert freehold_check.ok, freehold_check.detail

    pytest --hosts=ssh://deploy@web-1,ssh://deploy@web-2

Hosts are testinfra's (its fixture `host`), one round trip each. A project's own `freehold_profile`
fixture takes the place of the one here.
"""

from __future__ import annotations

import pytest

from cloudinit.checks import CHECKS, Check, CheckedHost, CheckResult, gather
from cloudinit.facts import Facts
from cloudinit.profile import HostProfile, load_profile


@pytest.fixture(scope="session")
def freehold_profile(pytestconfig: pytest.Config) -> HostProfile:
    """`config/host.yml` of the project that pytest runs in; the default profile without one.

    Keys that the file only names (`gh:NAME`, files, the agent) are not read: a user needs some key.
    """
    path = pytestconfig.rootpath / "config" / "host.yml"
    return load_profile(path, name="config/host.yml") if path.exists() else HostProfile()


@pytest.fixture(scope="module")
def freehold_facts(host: CheckedHost, freehold_profile: HostProfile) -> Facts:
    """What testinfra's host is, observed in one round trip."""
    return gather(host, freehold_profile)


@pytest.fixture(params=CHECKS, ids=lambda check: check.id)
def freehold_check(
    request: pytest.FixtureRequest, freehold_facts: Facts, freehold_profile: HostProfile
) -> CheckResult:
    """The outcome of each check in turn: a test that asks for it runs once a check."""
    check: Check = request.param
    problem = check.problem(freehold_facts, freehold_profile)
    return CheckResult(check.id, check.title, not problem, problem)
