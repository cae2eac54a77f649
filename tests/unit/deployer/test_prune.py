"""What may go from a host and what has to stay; the commands that run in containers."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from deployer.commands import app, docker, execute, layout, logs, phases, prune
from deployer.commands.wishes import LogWishes
from deployer.config import DeployConfig
from freehold.secret import Secret
from tests.unit.deployer import samples
from tests.unit.deployer.samples import container, facts
from tests.unit.deployer.standin import StandIn


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(tmp_path, retain_containers=1)


KNOWN = facts(
    "web-1",
    container("shop-web-v4"),
    container("shop-web-v3", "exited"),
    container("shop-web-v2", "exited"),
    container("shop-web-v1", address="172.30.0.7"),
    container("shop-web-sick", "created"),
    container("shop-web-v4_replaced_7", "exited"),
    container("shop-old-v2", "exited"),
    history=("v1", "v2", "v3", "v4"),
)


def test_what_runs_or_is_needed_for_a_rollback_stays(config: DeployConfig) -> None:
    found = prune.useless(config, KNOWN, 1)
    assert {c.name for c in found.containers} == {"shop-web-v2", "shop-web-sick", "shop-web-v4_replaced_7"}
    # The files of v2 belong to another role's container too, v1 runs, v4 serves.
    assert found.versions == ("sick",)
    assert {c.name for c in prune.useless(config, KNOWN, 3).containers} == {
        "shop-web-sick",
        "shop-web-v4_replaced_7",
    }


def test_where_nothing_served_yet_nothing_goes(config: DeployConfig) -> None:
    kamals = facts("web-1", container("shop-web-abc"), container("shop-web-abd", "exited"))
    assert prune.useless(config, kamals, 1) == prune.Useless()


def test_stale_is_what_runs_beside_the_version_that_serves(config: DeployConfig) -> None:
    assert [c.name for c in prune.stale(config, KNOWN)] == ["shop-web-v1"]
    assert prune.stale(config, facts("web-1", container("shop-web-v4"), history=("v4",))) == ()


def test_what_the_target_dials_is_not_stale(config: DeployConfig) -> None:
    """A commit was cut off before it was remembered; a container stepped aside and still has the traffic."""
    old, new = container("shop-web-v1"), container("shop-web-v2", address="172.30.0.10")
    cut = dataclasses.replace(
        facts("web-1", old, new, history=("v1",)), targets={"shop-web": "172.30.0.10:80"}
    )
    assert prune.stale(config, cut) == ()
    aside = container("shop-web-v1_replaced_17")
    again = facts("web-1", aside, container("shop-web-v1", address="172.30.0.10"), history=("v1",))
    assert prune.stale(config, again) == ()


APART = facts(
    "web-2",
    container("shop-web-v1"),
    container("shop-jobs-v1", "exited"),
    container("shop-jobs-v2", "exited"),
    container("shop-jobs-v3"),
    history=("v1", "v2 jobs", "v3 jobs"),
)


def test_roles_that_were_deployed_alone_have_versions_of_their_own(config: DeployConfig) -> None:
    assert [APART.serving(role) for role in ("web", "jobs")] == ["v1", "v3"]
    assert prune.stale(config, APART) == ()
    found = prune.useless(config, APART, 1)
    assert [c.name for c in found.containers] == ["shop-jobs-v1"]
    # The files of v1 are those of web.
    assert found.versions == ()


def test_what_is_being_tried_is_not_stale(config: DeployConfig) -> None:
    new = container("shop-web-v2", address="172.30.0.10")
    known = facts("web-1", container("shop-web-v1"), new, history=("v1",))
    assert [c.name for c in prune.stale(config, known)] == ["shop-web-v2"]
    tried = dataclasses.replace(known, canaries={"shop-web": "v2"})
    assert prune.stale(config, tried) == ()


@pytest.mark.parametrize(
    ("history", "version"),
    [
        (None, ""),
        ("T v1\nT v2\n", "v2"),
        ("T v1\nT v2 web-api,jobs\nT v3 web\n", "v2"),
        ("T v1 web-jobs\nT v2 myjobs\n", ""),
    ],
)
def test_a_host_knows_the_version_of_a_role(tmp_path: Path, history: str | None, version: str) -> None:
    words = layout.serving("shop", "jobs").replace(layout.STATE, str(tmp_path))
    if history is not None:
        (tmp_path / "apps" / "shop").mkdir(parents=True)
        (tmp_path / "apps" / "shop" / "history").write_text(history)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"version={words}; echo $version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, version, "")


def test_every_fragment_is_bash(config: DeployConfig) -> None:
    web = config.role("web")
    passed = execute.Passed({"A": Secret("it's"), "B": Secret("1\n2")}, "x")
    texts = [
        passed.script().render(),
        phases.guarded(config, prune.steps(config, KNOWN, containers=True, images=True)).render(),
        app.remove_container(config, config.roles, "v1").render(),
        app.remove_containers(config, config.roles).render(),
        app.remove(config, (), everything=True).render(),
        logs.logs_command(config, web, LogWishes(follow=True, grep="it's", grep_options=("-i",))),
        logs.container_logs_command(config, "abc", LogWishes(grep="x")),
        execute.exec_new(config, web, "ls 'a b'", version=None, env=passed, detach=True),
        execute.exec_reuse(config, web, "ls && id"),
    ]
    for text in texts:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), text


def test_environment_for_one_command_waits_in_files_that_are_gone_once_it_has_them(tmp_path: Path) -> None:
    values = {"A": "it's $HOME", "a.b": "", "MANY": "1\n2 '$X'"}
    passed = execute.Passed({name: Secret(value) for name, value in values.items()}, "token")

    def run(text: str) -> subprocess.CompletedProcess[str]:
        text = text.replace(layout.LOCKS, str(tmp_path))
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True)

    assert run(passed.script().render()).returncode == 0
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    command = f'{passed.fetch()}ls {tmp_path}; MANY=x; {passed.load()}cat /dev/fd/9; printf %s "$MANY"'
    assert run(command).stdout == "A=it's $HOME\na.b=\n1\n2 '$X'"
    assert passed.flags() == ["--env-file", "/dev/fd/9", "--env", "MANY"]
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr) == (125, "", "the environment did not arrive\n")
    assert run(f"printf '%s\n' A aA B MANY{passed.besides()}").stdout == "aA\nB\n"
    assert run(f"set -e; printf '%s\n' A{passed.besides()}; echo on").stdout == "on\n"


def test_a_role_that_is_removed_leaves_no_timers_and_no_history(tmp_path: Path) -> None:
    tidy = {"tidy": {"schedule": "@daily", "cmd": "bin/tidy", "role": "jobs"}}
    whole = samples.config(tmp_path, jobs=tidy)
    config, host = whole.select(roles=["jobs"]), StandIn(tmp_path)
    removal = app.remove(config, config.roles_on("web-2"), everything=False)
    timers = next(step.shell for step in removal.steps if step.name == "jobs")
    assert "/nonexistent" in timers and '" web "' in timers
    host.served("v1", "v2 web,jobs", "v3 jobs", "v4 web", "v5 jobs,web", "v6 web-jobs")
    history = next(step for step in removal.steps if step.name == "history")
    assert host.run(dataclasses.replace(removal, steps=(history,))).ok
    assert host.history == ["v1 web", "v2 web", "v4 web", "v5 web", "v6 web-jobs"]
    assert "history" not in [step.name for step in app.remove(whole, whole.roles_on("web-2")).steps]


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("bin/rails db:migrate", ["bin/rails", "db:migrate"]),
        ("echo 'a && b'", ["echo", "a && b"]),
        ('say "two words" x\\ y', ["say", "two words", "x y"]),
        ("a && b", ["sh", "-c", "a && b"]),
        ("echo $HOME", ["sh", "-c", "echo $HOME"]),
        ('echo "$HOME"', ["sh", "-c", 'echo "$HOME"']),
        ("echo '$HOME'", ["echo", "$HOME"]),
        (r'say "costs \$5" \$x', ["say", "costs $5", "$x"]),
        ("ls *.rb", ["sh", "-c", "ls *.rb"]),
        ("RAILS_ENV=test bin/rake", ["sh", "-c", "RAILS_ENV=test bin/rake"]),
        ("rake db:seed COUNT=3", ["rake", "db:seed", "COUNT=3"]),
        ("echo 'open", ["sh", "-c", "echo 'open"]),
    ],
)
def test_a_shell_only_where_one_is_needed(line: str, argv: list[str]) -> None:
    assert execute.words(line) == argv


@pytest.mark.parametrize(
    ("logging", "options", "argv"),
    [
        ({}, {}, ["--log-opt", "max-size=10m"]),
        ({"driver": "local"}, {}, ["--log-driver", "local"]),
        ({"options": {"max-size": "1m"}}, {}, ["--log-opt", "max-size=1m"]),
        ({"driver": "local", "options": {"a": "1", "b": "2"}}, {"log-opt": "a=3"}, None),
        ({}, {"log-opt": ["a=3"]}, []),
        ({"driver": "local", "options": {"a": "1"}}, {"log-driver": "syslog"}, []),
    ],
)
def test_logging_and_what_options_say_about_it(
    tmp_path: Path, logging: dict[str, object], options: dict[str, object], argv: list[str] | None
) -> None:
    made = samples.config(tmp_path, logging=logging)
    expected = argv if argv is not None else ["--log-driver", "local", "--log-opt", "b=2"]
    assert docker.logging_argv(made.logging, options) == expected


def test_a_role_stops_as_it_says(tmp_path: Path) -> None:
    made = samples.config(
        tmp_path,
        drain_timeout=40,
        servers={
            "web": ["h"],
            "jobs": {"hosts": ["h"], "stop_timeout": 90, "options": {"stop-signal": "SIGINT"}},
            "mail": {"hosts": ["h"]},
            "slow": {"hosts": ["h"], "proxy": {"host": "slow.test"}, "options": {"stop-timeout": 60}},
            "both": {"hosts": ["h"], "stop_timeout": 5, "options": {"stop-timeout": 60}},
        },
    )
    web, jobs, mail, slow, both = made.roles
    assert [phases.grace(made, role, drained=True) for role in (web, jobs, mail)] == [10, 90, 40]
    # Kamal gives a proxied role's `docker stop` no time of its own, so that Docker keeps to the option.
    assert [phases.grace(made, role, drained=True) for role in (slow, both)] == [60, 5]
    assert phases.grace(made, web, drained=False) == 40
    argv = docker.run_argv(made, jobs, "v1", "h")
    assert (
        argv[argv.index("--stop-timeout") + 1] == "90" and argv[argv.index("--stop-signal") + 1] == "SIGINT"
    )
    assert "--stop-timeout" not in docker.run_argv(made, web, "v1", "h")
