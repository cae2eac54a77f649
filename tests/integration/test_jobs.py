"""Scheduled jobs: real timers, the version that serves, one host, a record of every run."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Control
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

UNITS = "ls /etc/systemd/system | grep ^freehold-job- || true"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.config["jobs"] = {
        "tidy": {"schedule": "* * * * *", "cmd": "echo $KAMAL_VERSION $GREETING $TOKEN; exit 3"},
        "report": {"schedule": "30 3 * * mon", "cmd": "echo one; sleep 3600", "host": "web-2", "timeout": 2},
    }
    made.save()
    return made


def test_jobs_run_by_the_clock_and_follow_the_version(project: Project) -> None:
    first, second = project.hosts
    project.deploy("v1")
    try:
        assert first.exec(UNITS).stdout.split() == [
            "freehold-job-shop-tidy.service",
            "freehold-job-shop-tidy.timer",
        ]
        rows = {row["job"]: row for row in json.loads(project.freehold("jobs", "list", "--json").stdout)}
        assert rows["report"]["host"] == "web-2" and "03:30:00" in rows["report"]["next"]
        assert "Mon" in rows["report"]["next"] and rows["tidy"]["host"] == "web-1"

        done = project.freehold("jobs", "run", "tidy", expect=3)
        assert done.stdout.split() == ["v1", "hello", "s3cret-of-the-test"]
        said = squeezed(project.freehold("jobs", "run", "report", expect=124))
        assert "one" in said and "ended after 2 s" in said, said

        # What the timer starts, without waiting for the minute to be over.
        project.config["env"]["clear"]["GREETING"] = "changed"
        project.save()
        project.deploy("v2")
        first.exec("systemctl start freehold-job-shop-tidy.service", check=False)
        runs = json.loads(project.freehold("jobs", "logs", "tidy", "-n", "9", "--json").stdout)
        assert [run["why"] for run in runs if run["why"] == "asked"] == ["asked"]
        last = runs[-1]
        assert (last["why"], last["version"], last["code"]) == ("schedule", "v2", 3)
        assert last["output"].split() == ["v2", "changed", "s3cret-of-the-test"]
        assert first.exec("systemctl is-active freehold-job-shop-tidy.timer").stdout.strip() == "active"

        # A rollback brings back the jobs of its version; a deploy without a job takes its timer away.
        del project.config["jobs"]["report"]
        project.save()
        project.deploy("v3")
        assert second.exec(UNITS).stdout == ""
        project.rollback("v1")
        assert "freehold-job-shop-report.timer" in second.exec(UNITS).stdout
        assert project.freehold("jobs", "run", "tidy", expect=3).stdout.split()[:2] == ["v1", "hello"]
    finally:
        project.freehold("app", "remove", "-y")
    assert first.exec(UNITS).stdout == second.exec(UNITS).stdout == ""


def test_jobs_that_cannot_be(project: Project) -> None:
    for change, words in (
        ({"schedule": "61 * * * *", "cmd": "x"}, "the minute '61' is not between 0 and 59"),
        ({"schedule": "@daily", "cmd": "x", "host": "web-9"}, "'web-9' is no host of the role 'web'"),
        ({"schedule": "@daily", "cmd": "x", "role": "worker"}, "there is no role 'worker'"),
    ):
        project.config["jobs"] = {"tidy": change}
        project.save()
        said = squeezed(project.freehold("jobs", "list", expect=2))
        assert words in said and "config/deploy.yml:" in said, said
