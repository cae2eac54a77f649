"""The main story on real hosts: deploy, deploy under load, rollback, a broken version."""

from __future__ import annotations

import pytest

from tests.conftest import Control
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

MOST_EXECS = 6


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    return Project(rig, hosts, control.directory)


def test_deploy_rollback_and_a_broken_version_under_load(project: Project) -> None:
    project.deploy("v1")
    assert project.settled("v1")
    project.image("v2")
    project.image("v3", "unhealthy")
    with project.traffic() as traffic:
        done = project.result(project.send("v2", "--json"))
        assert max(done["execs"].values()) <= MOST_EXECS, done
        assert done["version"] == "v2"
        traffic.seen(20)
        assert project.settled("v2")

        done = project.result(project.rollback("--json"))
        assert max(done["execs"].values()) <= MOST_EXECS, done
        assert done["version"] == "v1"
        traffic.seen(20)
        assert project.settled("v1")

        before = project.state()
        with project.impatient():
            failed = squeezed(project.send("v3", expect=1))
        assert "web-1" in failed and "answered 503" in failed
        project.same_as(before)
        traffic.seen(20)
    report = traffic.load.report()
    assert set(report.versions) == {"v1", "v2"}
    assert traffic.streams >= 2
    assert report.messages > 0
