"""Jobs, status and differences as values: what is asked, and what is made of the answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from deployer.commands import difference, docker, jobruns, jobs, layout, proxy, status
from deployer.config import DeployConfig
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import ConfigError
from tests.unit.deployer import samples

JOBS = {
    "tidy": {"schedule": "*/20 3 * * *", "cmd": "echo 'a b' > /x"},
    "later": {"schedule": "@weekly", "cmd": "y", "role": "jobs", "timezone": "Europe/Berlin"},
}


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret"},
        env={"clear": {"A": "1"}, "secret": ["TOKEN"]},
        jobs=JOBS,
    )


def answer(step: str, *lines: str) -> ScriptResult:
    return ScriptResult("web-1", 0, (StepOutcome(step, "ok", 0.1, lines),))


# Jobs


def test_a_job_is_on_one_host_whatever_is_selected(config: DeployConfig) -> None:
    for chosen, of_web in (
        (config, ["tidy"]),
        (config.select(hosts=("web-2",)), ["tidy"]),
        (config.select(roles=("jobs",)), []),
    ):
        assert [job.name for job in jobs.on_host(chosen, "web-1")] == of_web
        assert [job.name for job in jobs.on_host(chosen, "web-2")] == ["later"]


def test_units_of_a_job(config: DeployConfig) -> None:
    tidy, later = config.job("tidy"), config.job("later")
    text = jobs.timer(config, tidy)
    assert "OnCalendar=*-*-* 03:00,20,40:00 UTC\n" in text and "Persistent=true" in text
    assert "OnCalendar=Sun *-*-* 00:00:00 Europe/Berlin\n" in jobs.timer(config, later)
    assert "User=@USER@" in jobs.service(config, tidy)
    run = jobs.run_text(config, tidy, "v2")
    samples.is_bash(run)
    assert "shop-web-v2" in run and "versions/v2/web.env" in run and "top secret" not in run
    for host in config.hosts:
        samples.is_bash(jobs.store_fragment(config, host, "v2"))
    for version in ("v2", None):
        samples.is_bash(jobs.install_step(config, version).shell)
    samples.is_bash(jobruns.list_script(config, "web-1").render())


def test_states_of_jobs() -> None:
    states = jobruns.parse_states(
        (
            "next\ttidy\tMon 2026-02-02 03:00:00 UTC",
            "running\ttidy\t2026-01-31T12:00:00Z\tv2\tasked\tb.log",
            "run\ttidy\t2026-01-30T12:00:00Z\tv1\tschedule\ta.log\t3\t17",
            "run\tother\tbroken",
            "",
        )
    )
    assert states["tidy"].next == "Mon 2026-02-02 03:00:00 UTC"
    assert [(run.version, run.code, run.seconds) for run in states["tidy"].runs] == [
        ("v1", 3, 17),
        ("v2", None, None),
    ]
    assert states["other"].runs == ()
    assert [run.result for run in states["tidy"].runs] == ["exit code 3", "running"]


def test_a_run_that_was_killed_is_told_and_recorded(
    config: DeployConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "STATE", str(tmp_path))
    app = tmp_path / "apps" / "shop"
    own = app / "jobs" / "tidy"
    (app / "versions/v1/jobs").mkdir(parents=True)
    (app / "history").write_text("2026-01-31T12:00:00Z v1\n")
    (app / "versions/v1/jobs/tidy.run").write_text("echo begun; exec sleep 60\n")
    dispatcher = app / "jobs" / "run"
    dispatcher.parent.mkdir()
    dispatcher.write_text(jobs._DISPATCHER)
    listing = jobruns.list_script(config, "web-1").steps[0].shell

    def states() -> list[tuple[str, int | None]]:
        runs = jobruns.parse_states(tuple(samples.run(listing)))["tidy"].runs
        return [(one.result, one.seconds) for one in runs]

    command = ["bash", str(dispatcher), "tidy", "schedule"]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        assert states() == [("running", None)]
        again = subprocess.run(command, capture_output=True, text=True)
        assert (again.returncode, again.stdout) == (jobs.BUSY, "tidy runs already\n")
        asked = samples.run(f"{jobruns.run_command(config, config.job('tidy'))}; true")
        assert asked == ["@@job busy"]
        # As systemd does it: everything at once.
        os.killpg(process.pid, signal.SIGKILL)
    assert states() == [("interrupted", None)]

    (app / "versions/v1/jobs/tidy.run").write_text("exit 3\n")
    # Somebody who looks just then is not in the way.
    look = ["flock", "--shared", str(own / "lock"), "sh", "-c", "echo begun; sleep 0.3"]
    dispatcher.write_text(jobs._DISPATCHER.replace("--wait 1 ", "--wait 30 "))
    with subprocess.Popen(look, stdout=subprocess.PIPE, text=True) as looking:
        assert looking.stdout is not None and looking.stdout.readline() == "begun\n"
        assert subprocess.run(command, capture_output=True).returncode == 3
    assert [result for result, _ in states()] == ["interrupted", "exit code 3"]
    assert not (own / "running").exists()
    dispatcher.write_text(jobs._DISPATCHER)

    # Whoever asked goes; it goes on, is written down, and nobody else runs it meanwhile.
    (app / "versions/v1/jobs/tidy.run").write_text("echo begun; read <&3; echo more; echo end; exit 75\n")
    leaving = f"exec 3<>{tmp_path}/gate; bash {dispatcher} tidy asked"
    os.mkfifo(tmp_path / "gate")
    with subprocess.Popen(["bash", "-c", leaving], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.stdout.close()
        assert subprocess.run(command, capture_output=True).returncode == jobs.BUSY
        (tmp_path / "gate").write_text("go\n")
        assert process.wait(30) == 75
    last = jobruns.parse_states(tuple(samples.run(listing)))["tidy"].runs[-1]
    assert last.result == "exit code 75" and (own / last.log).read_text() == "begun\nmore\nend\n"


def test_a_job_that_is_not_there_says_so_by_no_exit_code(
    config: DeployConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "STATE", str(tmp_path))
    app = tmp_path / "apps" / "shop"
    ask = f"( {jobruns.run_command(config, config.job('tidy'))}\n) || echo code $?"
    assert samples.run(ask) == ["@@job missing", "code 1"]
    (app / "jobs").mkdir(parents=True)
    (app / "jobs" / "run").write_text(jobs._DISPATCHER)
    (app / "history").write_text("T v1\n")
    assert samples.run(ask) == ["@@job missing", "code 1"]
    assert not (app / "jobs" / "tidy" / "runs").exists()
    (app / "versions/v1/jobs").mkdir(parents=True)
    (app / "versions/v1/jobs/tidy.run").write_text("echo done; exit 127\n")
    assert samples.run(ask) == ["done", "code 127"]


@pytest.mark.parametrize(
    ("role", "version"),
    [(("web",), "v1"), (("late",), "v2"), ((), "v2")],
    ids=["web", "late", "earlier unit"],
)
def test_a_job_runs_at_the_version_of_its_role(tmp_path: Path, role: tuple[str, ...], version: str) -> None:
    for name in ("v1", "v2"):
        (tmp_path / "versions" / name / "jobs").mkdir(parents=True)
        (tmp_path / "versions" / name / "jobs" / "tidy.run").write_text(f"echo {name}\n")
    (tmp_path / "history").write_text("T v1\nT v2 other,late\n")
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "run").write_text(jobs._DISPATCHER)
    done = subprocess.run(
        ["bash", tmp_path / "jobs" / "run", "tidy", "asked", *role], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{version}\n", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "* * *", "cmd": "x"}, "expected five fields"),
        ({"schedule": "@daily"}, "'cmd' is missing"),
        ({"schedule": "@daily", "cmd": "x", "role": "wbe"}, "there is no role 'wbe'"),
        ({"schedule": "@daily", "cmd": "x", "host": "web-9"}, "'web-9' is no host of the role 'web'"),
        ({"schedule": "@daily", "cmd": "x", "when": "now"}, "unknown key 'when'"),
        ({"schedule": "@daily", "cmd": "x", "timezone": "Europe/Berln"}, "no time zone 'Europe/Berln'"),
    ],
)
def test_a_job_that_cannot_be(tmp_path: Path, change: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        samples.config(tmp_path, jobs={"tidy": change})
    assert caught.value.where is not None and caught.value.where.line


# Status


def test_the_status_of_a_host(config: DeployConfig) -> None:
    cells = ("shop-web-v1", "running", "web", "", "v1", "172.30.0.9", "i", "id", "today", "Up 2 s")
    old = ("shop-web-v0", "exited", "web", "", "v0", "172.30.0.8", "i", "id", "today", "Exited (0)")
    result = ScriptResult(
        "web-1",
        0,
        (
            StepOutcome(
                "state",
                "ok",
                0.1,
                (
                    "container\t" + "\t".join(old),
                    "container\t" + "\t".join(cells),
                    "target\tshop-web\t172.30.0.9:3000",
                    "history\t2026-01-31T13:00:00Z v1",
                ),
            ),
            StepOutcome(
                "machine",
                "ok",
                0.1,
                (
                    "cpu\t100 1000",
                    "stats\tshop-web-v1\t1.50%\t20MiB / 4GiB",
                    "cpu\t150 1200",
                    "memory\tMemTotal:\t4000",
                    "memory\tMemAvailable:\t1000",
                    "disk\t 1000 400",
                    "load\t0.10",
                    "proxy\tactive",
                ),
            ),
            StepOutcome("probes", "ok", 0.1, ("probe\tweb\t503\t1 http://a.test/in\tpaused",)),
        ),
    )
    found = status.parse_status(config, result)
    assert (found.version, found.cpu, found.load, found.proxy) == ("v1", 0.25, 0.1, "active")
    assert (found.memory_used, found.disk_used, found.disk_total, found.problem) == (3000, 600, 1000, "")
    first, second = found.containers
    assert (first.container, first.serves, first.health) == (
        "shop-web-v1",
        True,
        "answers 503, led to http://a.test/in",
    )
    assert (first.mode, second.mode) == ("paused", "")
    assert (first.cpu, first.memory) == ("1.50%", "20MiB")
    assert (second.container, second.serves) == ("shop-web-v0", False)
    samples.is_bash(status.status_script(config, "web-2").render())


# Differences


def running(config: DeployConfig, *env: str, secrets: tuple[str, ...] = ("TOKEN",)) -> ScriptResult:
    role = config.role("web")
    lines = [f"env\tweb\t{json.dumps(item)}" for item in env]
    lines += ["image\tweb\t" + json.dumps("PATH=/bin"), "secrets\tweb\t"]
    lines += [f"secrets\tweb\t{name}" for name in secrets]
    lines += [f"run\tweb\t{line}" for line in docker.manner(config, role, "v1", "web-1")]
    for path, text in proxy.files(config, config.roles_on("web-1"), "web-1").items():
        lines += [f"route\t{path}\t{line}" for line in text.splitlines()]
    return answer("running", *lines)


def shown(config: DeployConfig, result: ScriptResult) -> list[str]:
    return [f"{change.sign} {change.what}" for change in difference.changes(config, result)]


def test_nothing_differs(config: DeployConfig, tmp_path: Path) -> None:
    env = ("PATH=/bin", "KAMAL_VERSION=v1", "KAMAL_HOST=web-1", "A=1", "TOKEN=top secret")
    assert shown(config, running(config, *env)) == []
    config = samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret"},
        env={"clear": {"A": "1", "B": None, "C": ""}, "secret": ["TOKEN"]},
        jobs=JOBS,
    )
    assert shown(config, running(config, *env, "B")) == []
    # What the older version had as an empty text is taken away.
    assert shown(config, running(config, *env, "B=")) == ["- B="]
    samples.is_bash(difference.question(config, "web-2").render())


def test_values_of_secrets_are_never_shown(config: DeployConfig, tmp_path: Path) -> None:
    env = ("A=old", "TOKEN=another", "GONE=was secret", "LEFT=in the clear")
    found = shown(config, running(config, *env, secrets=("TOKEN", "GONE")))
    assert found == ["~ A: old → 1", "- GONE=[secret]", "- LEFT=in the clear", "~ TOKEN changed (secret)"]
    # A version that kept no list: any of its values may have been one.
    listed = running(config, *env)
    lines = tuple(line for line in listed.lines("running") if not line.startswith("secrets"))
    found = shown(config, answer("running", *lines))
    assert "~ A: [secret] → 1" in found and "- LEFT=[secret]" in found


def test_the_hosts_variables_are_compared_as_it_fills_them_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = samples.config(tmp_path, env={"clear": {"A": "x-${REGION}", "B": "${GONE}"}})
    monkeypatch.setenv("REGION", "eu '1'")
    (asked,) = [step.shell for step in difference.question(config, "web-1").steps]
    first = asked.index("printf 'host")
    told = samples.run(asked[first : asked.index("routes_of shop", first)])
    assert told == ["host\tREGION\teu '1'", "host\tGONE\t"]
    lines = running(config, "A=x-eu '1'", "B=").lines("running")
    assert shown(config, answer("running", *lines, *told)) == []
    assert shown(config, answer("running", *lines, "host\tREGION\tus", told[1])) == ["~ A: x-eu '1' → x-us"]


def test_options_and_routes_that_differ(config: DeployConfig, tmp_path: Path) -> None:
    env = ("A=1", "TOKEN=top secret")
    before = running(config, *env)
    changed = samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret"},
        env={"clear": {"A": "1"}, "secret": ["TOKEN"]},
        volumes=["data:/data"],
        proxy={"host": "shop.test", "app_port": 3000, "response_timeout": 5},
    )
    found = shown(changed, before)
    assert "+ --volume data:/data" in found and "+ response_header_timeout 5s" in found
    assert not any("top secret" in line for line in found)
    nothing = difference.changes(config, answer("running"))
    assert [change.what for change in nothing if change.kind == "container"] == ["nothing runs yet"]
