"""Scheduled jobs: real timers, the version that serves, one host, a record of every run."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.rig import Host, Rig

UNITS = "ls /etc/systemd/system | grep ^freehold-job- || true"


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.config["jobs"] = {
        # The code by which a shell says that a program is missing.
        "tidy": {"schedule": "30 3 1 1 *", "cmd": "echo $KAMAL_VERSION $GREETING $TOKEN; exit 127"},
        "report": {
            "schedule": "30 3 * * mon",
            "cmd": "echo one; sleep 3600",
            "host": "web-2",
            "timeout": 2,
            "catch_up": False,
        },
    }
    made.save()
    return made


def scheduled(host: Host, job: str) -> list[str]:
    """The runs of a job that its timer asked for, as the host has written them down."""
    runs = host.exec(f"cat /var/lib/freehold/apps/shop/jobs/{job}/runs 2>/dev/null", check=False).stdout
    return [line for line in runs.splitlines() if line.split("\t")[2] == "schedule"]


def fired(host: Host, job: str) -> int:
    """How often the timer of a job has gone off, as systemd saw it; earlier tests are in the journal too."""
    unit = f"--unit=freehold-job-shop-{job}.service"
    return len(host.journal("--output=cat", "--grep=^Starting", unit).splitlines())


def test_jobs_run_by_the_clock_and_follow_the_version(project: Project) -> None:
    first, second = project.hosts
    every = {"schedule": "* * * * *", "host": "web-2"}
    project.config["jobs"] |= {
        "tick": {**every, "cmd": "echo $KAMAL_VERSION"},
        "long": {**every, "cmd": "echo begun; sleep 3600"},
    }
    project.save()
    before = {job: fired(second, job) for job in ("tick", "long")}
    project.deploy("v1")
    long = project.start("jobs", "run", "long")
    try:
        project.until(lambda: "begun" in project.printed, "the run that goes on")
        assert first.exec(UNITS).stdout.split() == [
            "freehold-job-shop-tidy.service",
            "freehold-job-shop-tidy.timer",
        ]
        rows = {row["job"]: row for row in json.loads(project.freehold("jobs", "list", "--json").stdout)}
        assert rows["report"]["host"] == "web-2" and "03:30:00" in rows["report"]["next"]
        assert "Mon" in rows["report"]["next"] and rows["tidy"]["host"] == "web-1"
        for host, job, missed in ((first, "tidy", "yes"), (second, "report", "no")):
            asked = f"systemctl show --value --property Persistent freehold-job-shop-{job}.timer"
            assert host.exec(asked).stdout.strip() == missed

        done = project.freehold("jobs", "run", "tidy", expect=127)
        assert done.stdout.split() == ["v1", "hello", "s3cret-of-the-test"]
        done = project.freehold("jobs", "run", "tidy", "--json", expect=127)
        assert json.loads(done.stdout) == {
            "job": "tidy",
            "host": "web-1",
            "code": 127,
            "output": "v1 hello s3cret-of-the-test",
        }
        said = squeezed(project.freehold("jobs", "run", "report", expect=124))
        assert "one" in said and "ended after 2 s" in said, said

        # What the timer starts when its time has come, which it has not.
        project.config["env"]["clear"]["GREETING"] = "changed"
        project.save()
        project.deploy("v2")
        first.exec("systemctl start freehold-job-shop-tidy.service", check=False)
        runs = json.loads(project.freehold("jobs", "logs", "tidy", "-n", "9", "--json").stdout)
        assert [run["why"] for run in runs] == ["asked", "asked", "schedule"]
        last = runs[-1]
        assert (last["version"], last["code"]) == ("v2", 127)
        assert last["output"].split() == ["v2", "changed", "s3cret-of-the-test"]
        assert first.exec("systemctl is-active freehold-job-shop-tidy.timer").stdout.strip() == "active"

        # By themselves, once for each time; not where one goes on, from before the last deploy.
        project.until(lambda: fired(second, "long") > before["long"], "a timer")
        project.until(lambda: bool(scheduled(second, "tick")), "a run by the clock")
        timers = [f"freehold-job-shop-{job}" for job in ("tick", "long")]
        second.exec(("systemctl", "stop", *(f"{name}.timer" for name in timers)))
        # Not `is-active`: a run is "activating" for as long as it lasts.
        state = ("systemctl", "show", "--property=ActiveState", *(f"{name}.service" for name in timers))
        project.until(lambda: "activating" not in second.exec(state).stdout, "the runs that had begun")
        assert len(scheduled(second, "tick")) == fired(second, "tick") - before["tick"]
        assert scheduled(second, "long") == [] and long.poll() is None
        assert "long runs already" in second.journal("--unit=freehold-job-shop-long.service")
        second.exec("docker kill shop-web-job-long")
        assert long.wait(60) == 137
        (run,) = json.loads(project.freehold("jobs", "logs", "long", "--json").stdout)
        assert (run["why"], run["version"], run["code"]) == ("asked", "v1", 137)

        # A rollback brings back the jobs of its version; a deploy without a job takes its timer away.
        for job in ("report", "tick", "long"):
            del project.config["jobs"][job]
        project.save()
        project.deploy("v3")
        assert second.exec(UNITS).stdout == ""
        project.rollback("v1")
        assert "freehold-job-shop-report.timer" in second.exec(UNITS).stdout
        assert project.freehold("jobs", "run", "tidy", expect=127).stdout.split()[:2] == ["v1", "hello"]
    finally:
        long.stop()
        project.freehold("app", "remove", "-y")
    assert first.exec(UNITS).stdout == second.exec(UNITS).stdout == ""


def test_timers_that_did_not_come_up_are_mended_by_the_next_deploy(project: Project) -> None:
    first = project.hosts[0]
    project.config["jobs"] = {
        # Both on web-1; the one that cannot be comes first.
        "ahead": {"schedule": "@daily", "cmd": "true", "timezone": "Asia/Tokyo"},
        "tidy": {"schedule": "@daily", "cmd": "true"},
    }
    project.save()
    zone, away = "/usr/share/zoneinfo/Asia/Tokyo", "/root/Tokyo"
    timers = [f"freehold-job-shop-{name}.timer" for name in ("ahead", "tidy")]

    def active() -> list[str]:
        return first.exec(("systemctl", "is-active", *timers), check=False).stdout.split()

    first.exec(f"mv {zone} {away}")
    try:
        said = squeezed(project.deploy("v1"))
        assert f"timers of jobs: systemd does not start {timers[0]}" in said, said
        assert active() == ["inactive", "active"]
        first.exec(f"mv {away} {zone}")
        project.deploy("v2")
        assert active() == ["active", "active"]
        # Cut off after the files and before the rest.
        first.exec(f"systemctl disable --now --quiet {timers[1]}")
        project.deploy("v3")
        assert active() == ["active", "active"]
        assert first.exec(("systemctl", "is-enabled", *timers)).stdout.split() == ["enabled", "enabled"]
    finally:
        first.exec(f"[ ! -e {away} ] || mv {away} {zone}")
        project.freehold("app", "remove", "-y")


def test_a_job_follows_its_role(project: Project) -> None:
    """Also where another role of its host is deployed alone, in which it has no part."""
    second = project.hosts[1]
    project.config["servers"]["late"] = {"hosts": ["web-2"], "cmd": images.worker('"working"')}
    say = {"schedule": "30 3 1 1 *", "cmd": "echo $KAMAL_VERSION", "host": "web-2"}
    project.config["jobs"] = {"of-web": say, "of-late": {**say, "role": "late"}}
    project.save()
    project.deploy("v1")
    try:
        before = second.exec(UNITS).stdout
        assert "of-web.timer" in before and "of-late.timer" in before
        # Today's file has neither: that of the role left out stays until its role is deployed.
        del project.config["jobs"]
        project.save()
        project.deploy("v2", "-r", "late")
        assert "of-late" not in second.exec(UNITS).stdout and "of-web.timer" in second.exec(UNITS).stdout
        project.config["jobs"] = {"of-web": say, "of-late": {**say, "role": "late"}}
        project.save()
        project.deploy("v3", "-r", "late")
        assert second.exec(UNITS).stdout == before
        for name, version in (("of-web", "v1"), ("of-late", "v3")):
            assert project.freehold("jobs", "run", name).stdout.strip() == version
        # The version that late has brings web's job once web has it too, and late's stays.
        project.send("v3", "-r", "web")
        assert second.exec(UNITS).stdout == before
        for name in ("of-web", "of-late"):
            assert project.freehold("jobs", "run", name).stdout.strip() == "v3"
    finally:
        project.freehold("app", "remove", "-y")


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
