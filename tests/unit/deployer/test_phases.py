"""The scripts of a deploy as text: valid bash, no secret in an argv, each value as it was written."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from deployer.commands import app, docker, execute, finishing, hostvalues, layout, phases, traffic, wayback
from deployer.commands.facts import HostFacts, facts_script
from deployer.config import DeployConfig, Role
from deployer.kept import leftovers
from deployer.script import Script, Step, limit
from deployer.transfer import FACTS
from freehold.secret import Secret
from tests.unit.deployer import samples

NASTY = {
    "PLAIN": "value",
    "SPACES": "  a b  ",
    "DOLLAR": "$HOME $(id) `id` ${x}",
    "QUOTES": 'it\'s "so"',
    "HASH": "a#b = c",
    "BACKSLASH": "a\\nb\\",
    "LINES": "-----BEGIN KEY-----\nab'c$d\n-----END KEY-----\n",
    "HEREDOC": "FREEHOLD_END",
    "EMPTY": "",
}


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(
        tmp_path,
        secrets={"TOKEN": "top secret", "KEY": "line one\ntop secret too"},
        env={"clear": {"GREETING": "it's $me"}, "secret": ["TOKEN", "KEY"]},
    )


def scripts(config: DeployConfig) -> dict[str, Script]:
    """Every script that changes something on a host which runs two versions."""
    roles = config.roles_on("web-2")
    known = samples.facts(
        "web-2",
        samples.container("shop-web-v1"),
        samples.container("shop-jobs-v1"),
        samples.container("shop-web-v0", "exited"),
        samples.container("shop-web-x", "exited"),
        history=("v0", "v1"),
    )
    left = leftovers(config, known, "v2", revived=False)
    return {
        "prepare": phases.prepare(config, "web-2", roles, "v2", "own/shop:v2"),
        "environment": phases.environment(config, "web-2", roles, "v2", "own/shop:v2"),
        "forget": wayback.forget_environment(config, known, "v2"),
        "commit": phases.commit(config, roles, "v2"),
        "finish": finishing.finish(config, left, seen=2, version="v2", audit="me deployed v2"),
        "undo": wayback.undo(config, known, roles, "v2", audit="me: it's broken"),
        "undo of the first": wayback.undo(config, HostFacts("web-2"), roles, "v2", audit="me"),
        "revive": phases.revive(config, roles, dict.fromkeys(("web", "jobs"), "v1")),
        "stop": app.stop(config, roles),
        "remove": app.remove(config, roles),
    }


def test_every_script_is_bash(config: DeployConfig) -> None:
    for name, script in scripts(config).items():
        checked = subprocess.run(["bash", "-n"], input=script.render(), capture_output=True, text=True)
        assert (name, checked.returncode, checked.stderr) == (name, 0, "")
        assert script.guard == layout.guard("shop")


def test_no_secret_stands_in_a_command(config: DeployConfig) -> None:
    """Only the here documents that are written to env files hold them."""
    for script in scripts(config).values():
        for step in script.steps:
            if not step.name.startswith("env-"):
                assert "top secret" not in step.shell
        assert not script.open
    look = facts_script(config, "web-2", FACTS)
    assert look.open and "secret" not in look.render()
    assert "top secret" not in repr(config)
    for role in config.roles:
        assert "secret" not in shlex.join(docker.run_argv(config, role, "v2", "web-2"))
        assert "top secret" not in repr(config.env_for(role))


def written(directory: Path, clear: dict[str, str], secret: dict[str, Secret]) -> dict[str, str]:
    """What a container would get: bash writes the files, Docker's rules and bash read them."""
    path = directory / "web.env"
    path.with_name("web.env.multi").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    fragment = docker.env_fragment(str(path), clear, secret)
    subprocess.run(["bash", "-euc", fragment], check=True)
    found = dict(line.split("=", 1) for line in path.read_text().split("\n") if line)
    multi = path.with_name("web.env.multi")
    assert path.stat().st_mode & 0o777 == 0o600
    if multi.exists():
        assert multi.stat().st_mode & 0o777 == 0o600
        names = docker.by_name(clear, secret)
        told = subprocess.run(
            f"{docker.NAMES_APART} {shlex.quote(str(multi))}",
            shell=True,
            check=True,
            capture_output=True,
            text=True,
        )
        assert told.stdout.split("\n")[:-1] == names
        # `docker run --env NAME`: what the command's environment lacks, the container lacks.
        code = (
            "import json, os, sys; print(json.dumps({n: v for n, v in os.environ.items() if n in sys.argv}))"
        )
        command = f". {shlex.quote(str(multi))}; python3 -c {shlex.quote(code)} {shlex.join(names)}"
        done = subprocess.run(["bash", "-euc", command], check=True, capture_output=True, text=True)
        found |= json.loads(done.stdout)
    return found


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    secret = {f"S_{name}": Secret(value) for name, value in NASTY.items()}
    found = written(tmp_path, NASTY, secret)
    clear = {**NASTY, "DOLLAR": "$HOME $(id) `id` "}
    del clear["EMPTY"]
    assert found == {**clear, **{f"S_{name}": value for name, value in NASTY.items()}}


def test_the_host_fills_in_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${NAME}` of clear values, and no other form; what the host has is never read as shell or as a line."""
    monkeypatch.setenv("REGION", "eu'1 $(touch pwned) `id`\nPWNED=1")
    monkeypatch.chdir(tmp_path)
    clear = {
        "ONE": "a${REGION}b",
        "FORMS": "$REGION ${REGION:-x} ${REGION;id} $(id) \\${status}",
        "BOTH": "${REGION}",
        "LINES": "it's\n${REGION}",
    }
    found = written(tmp_path, clear, {"BOTH": Secret("${REGION}"), "S": Secret("${REGION}")})
    region = "eu'1 $(touch pwned) `id`"
    assert found == {
        "ONE": f"a{region} PWNED=1b",
        "FORMS": "$REGION ${REGION:-x} ${REGION;id} $(id) \\",
        "BOTH": "${REGION}",
        "LINES": f"it's\n{region}\nPWNED=1",
        "S": "${REGION}",
    }
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text", ["plain", "a b'c", "", "${HOME}/x y", "-${A}${B}-", "$HOME", "${A:-b}", "${a-b}"]
)
def test_words_for_a_host(text: str) -> None:
    """One word of a shell, with the host's values in it."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/home/o'k $x", "A": "*"}
    line = f"B=ours; printf '%s|' {hostvalues.join([text, text])}"
    done = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{hostvalues.fill(text, {**environ, 'B': ''})}|" * 2


def test_what_a_host_fills_in_of_a_run(tmp_path: Path) -> None:
    """Volumes, labels and options; the difference compares them as they are written."""
    config = samples.config(
        tmp_path,
        volumes=["${HOME}/data:/data"],
        labels={"host": "${HOSTNAME}"},
        servers={"web": {"hosts": ["web-1"], "options": {"hostname": "${HOSTNAME}"}}},
    )
    web = config.role("web")
    start = docker.start_fragment(config, web, "v2", "web-1", "own/shop:v2")
    home, hostname = hostvalues.lookup("HOME"), hostvalues.lookup("HOSTNAME")
    for words in (f"--volume {home}/data:/data", f"--label host={hostname}", f"--hostname {hostname}"):
        assert words in start
        assert words in execute.exec_new(config, web, "true", version=None) or "--label" in words
    assert "--volume ${HOME}/data:/data" in docker.manner(config, web, "v2", "web-1")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"])))
def test_any_value_arrives(tmp_path: Path, value: str) -> None:
    assume(not hostvalues.names([value]))
    assert written(tmp_path, {"VALUE": value}, {}) == ({"VALUE": value} if value.strip() else {})


def test_a_variable_without_a_value_is_not_there(tmp_path: Path) -> None:
    """As with Kamal's `--env NAME`; nor does it become the host's."""
    config = samples.config(
        tmp_path,
        secrets={"TOKEN": "", "KEY": "k"},
        env={
            "clear": {"A": None, "B": "", "HOME": " ", "C": "c", "no.name": None},
            "secret": ["TOKEN", "KEY"],
        },
        servers={"web": {"hosts": ["web-1"], "env": {"C": None, "KEY": None}}},
    )
    web = config.role("web")
    clear, secret = config.env_for(web, "web-1")
    assert written(tmp_path, clear, secret) == {"TOKEN": ""}
    start = docker.start_fragment(config, web, "v2", "web-1", "own/shop:v2")
    assert start.splitlines()[0].endswith("web.env.multi")
    assert "--env A --env B --env C --env HOME --env KEY --env KAMAL" in start


def test_a_container_is_told_who_it_is(config: DeployConfig) -> None:
    web, jobs = config.role("web"), config.role("jobs")
    argv = docker.run_argv(config, web, "v2", "web-1")
    assert argv[argv.index("--name") + 1] == "shop-web-v2"
    for pair in (
        "KAMAL_VERSION=v2",
        "KAMAL_HOST=web-1",
        "KAMAL_ROLE=web",
        "KAMAL_CONTAINER_NAME=shop-web-v2",
    ):
        assert pair in argv
    assert "service=shop" in argv and "role=web" in argv and "version=v2" in argv
    assert argv[argv.index("--pull") + 1] == "never"
    start = docker.start_fragment(config, jobs, "v2", "web-2", "own/shop:v2")
    assert start.endswith("own/shop:v2 bin/jobs --queue 'a b'")


def test_a_container_has_a_host_name_of_its_own(config: DeployConfig) -> None:
    web, jobs = config.role("web"), config.role("jobs")

    def named(role: Role, version: str = "v2", **options: str) -> list[str]:
        argv = docker.run_argv(config, dataclasses.replace(role, options=options), version, "web-2")
        return [word for flag, word in itertools.pairwise(argv) if flag == "--hostname"]

    (name,) = named(web)
    assert re.fullmatch(r"web-2-[0-9a-f]{12}", name) and named(web) == [name]
    assert named(web, "v3") != [name] != named(jobs)
    assert named(web, hostname="shop") == ["shop"]
    for options in ({"network": "host"}, {"network": "container:db"}, {"net": "host"}, {"uts": "host"}):
        assert named(web, **options) == []
    assert docker.hostname("a" * 50 + ".example.com", "c")[:51] == "a" * 50 + "-"
    assert docker.hostname("2001:db8::1", "c").startswith("2001-db8--1-")
    # A container that was started without is no other for it.
    assert not [line for line in docker.manner(config, web, "v2", "web-2") if "--hostname" in line]
    own = dataclasses.replace(web, options={"hostname": "shop"})
    assert "--hostname shop" in docker.manner(config, own, "v2", "web-2")


def test_only_what_the_proxy_reaches_has_a_fixed_address(config: DeployConfig) -> None:
    web, jobs = config.role("web"), config.role("jobs")
    assert "--ip $address" in docker.start_fragment(config, web, "v2", "web-2", "own/shop:v2")
    assert "--ip" not in docker.start_fragment(config, jobs, "v2", "web-2", "own/shop:v2")


@pytest.mark.parametrize(
    ("options", "argv"),
    [
        ({}, []),
        ({"memory": "2g"}, ["--memory", "2g"]),
        ({"add-host": ["a:1", "b:2"]}, ["--add-host", "a:1", "--add-host", "b:2"]),
        ({"init": True, "tty": False, "rm": None}, ["--init", "--tty=false"]),
        ({"cpus": 2}, ["--cpus", "2"]),
    ],
)
def test_options_as_they_are_written_in_the_file(options: dict[str, object], argv: list[str]) -> None:
    assert docker.options_argv(options) == argv


def test_a_role_without_traffic_is_no_part_of_the_switch(config: DeployConfig) -> None:
    only = phases.commit(config, (config.role("jobs"),), "v2")
    assert [step.name for step in only.steps] == ["running", "files", "history"]
    both = phases.commit(config, config.roles, "v2")
    assert [step.name for step in both.steps] == ["running", "switch-web", "files", "routes", "history"]


def test_the_way_back_begins_with_the_traffic(config: DeployConfig) -> None:
    undo = scripts(config)["undo"]
    assert [step.name for step in undo.steps][:6] == [
        "ours",
        "traffic",
        "history",
        "files",
        "routes",
        "remove",
    ]
    assert undo.keep_going
    assert "write_target shop-web 172.30.0.9:3000" in undo.steps[1].shell
    first = scripts(config)["undo of the first"]
    assert "rm -f" in first.steps[1].shell


def test_each_role_goes_back_to_its_own_version(config: DeployConfig) -> None:
    known = samples.facts(
        "web-2",
        samples.container("shop-web-v1"),
        samples.container("shop-jobs-v2"),
        history=("v1", "v2 jobs"),
    )
    undo = wayback.undo(config, known, config.roles_on("web-2"), "v3", audit="me")
    assert "link_current shop-web /var/lib/freehold/apps/shop/versions/v1" in undo.steps[1].shell
    routes = next(step.shell for step in undo.steps if step.name == "routes").splitlines()
    assert routes == [
        "(activate /var/lib/freehold/apps/shop/versions/v1/proxy shop-web.caddy)",
        "(activate /var/lib/freehold/apps/shop/versions/v2/proxy shop-jobs.caddy)",
    ]


def test_a_script_has_the_time_that_its_steps_may_wait(tmp_path: Path) -> None:
    config = samples.config(
        tmp_path, drain_timeout=900, deploy_timeout=1000, readiness_delay=7, servers={
            "web": {"hosts": ["web-2"], "stop_timeout": 1200},
            "jobs": {"hosts": ["web-2"], "cmd": "work", "stop_timeout": 2000},
        },
    )  # fmt: skip
    known, roles = scripts(config), config.roles_on("web-2")
    # Each by its own time, also what has just been started.
    assert known["undo"].waits == known["finish"].waits == 900 + 1200 + 2000
    (remove,) = (step.shell for step in known["undo"].steps if step.name == "remove")
    assert "docker stop --time 1200 $id" in remove and "docker stop --time 2000 $id" in remove
    assert known["prepare"].waits == known["revive"].waits == 2 * (1000 * 1.5 + 7)
    assert known["stop"].waits == app.remove(config, roles).waits == 1200 + 2000
    assert traffic.pause(config, roles, 700, audit="me").waits == 700
    assert limit(known, 600) == 600 + 900 + 1200 + 2000
    assert limit({}, 600) == 600


def test_nothing_is_stopped_where_nothing_ran(config: DeployConfig) -> None:
    left = leftovers(config, samples.facts("web-1"), "v1", revived=False)
    finish = finishing.finish(config, left, seen=0, version="v1", audit="me")
    assert [step.name for step in finish.steps] == ["ours", "settle", "audit"]


def test_what_a_script_makes_is_the_groups_but_no_secret(tmp_path: Path) -> None:
    env = tmp_path / "version" / "web.env"
    make = f"mkdir -p {shlex.quote(str(env.parent))}; echo >{shlex.quote(str(env.parent / 'web.run'))}"
    for secret, names in (("a\nb", ["web.env", "web.env.multi", "web.run"]), ("ab", ["web.env", "web.run"])):
        write = docker.env_fragment(str(env), {}, {"TOKEN": Secret(secret)})
        script = Script((Step("make", make), Step("env", write), Step("more", make)))
        subprocess.run(["bash", "-s"], input=script.render(), text=True, check=True, capture_output=True)
        modes = {path.name: path.stat().st_mode & 0o777 for path in env.parent.iterdir()}
        assert modes == {name: 0o664 if name == "web.run" else 0o600 for name in names}
        assert env.parent.stat().st_mode & 0o777 == 0o775


def test_files_of_a_version_are_put_back_as_they_were(tmp_path: Path) -> None:
    version, copy = tmp_path / "versions" / "v1", tmp_path / "before" / "v1"

    def words(*lines: str) -> None:
        places = f"set -- {shlex.quote(str(version))} {shlex.quote(str(copy))}"
        subprocess.run(["bash", "-euc", "\n".join([layout.library(), places, *lines])], check=True)

    keep, back = 'keep_files "$1" "$2" image /nothing/served', 'put_files_back "$1" "$2"'
    words(keep, back)
    assert not version.exists() and not copy.exists()
    version.mkdir(parents=True)
    (version / "web.env").write_text("old")
    (version / "web.env").chmod(0o600)
    # Twice, as workers are started by a script of their own, and after a run that was cut off.
    words(keep, 'echo new >"$1/web.env"; echo more >"$1/more"', keep)
    assert (version / "web.env").read_text() == "new\n"
    words(back)
    assert [path.name for path in version.iterdir()] == ["web.env"]
    assert (version / "web.env").read_text() == "old"
    assert (version / "web.env").stat().st_mode & 0o777 == 0o600
    assert not copy.exists()


def test_what_is_done_on_a_host_is_noted_there(config: DeployConfig, tmp_path: Path) -> None:
    state = tmp_path / "state"
    said = "anna executed 'echo \"it's\"\n$HOME'"

    def run(text: str) -> subprocess.CompletedProcess[str]:
        text = text.replace(layout.STATE, str(state)).replace(layout.LOCKS, str(tmp_path))
        return subprocess.run(["bash", "-c", text], capture_output=True, text=True)

    command = phases.noted(config, said, "cat; exit 7")
    # A host that nothing was deployed to gets no directories from whoever looks around there.
    assert (run(command).returncode, state.exists()) == (7, False)
    stop = phases.audited(config, Script((Step("stop", "true"),)), "anna stopped the application")
    assert run(stop.render()).returncode == 0
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    log = state / "apps" / "shop" / "audit.log"
    first, second = log.read_text().splitlines()
    assert first.endswith("Z] anna stopped the application")
    assert second.endswith("Z] anna executed 'echo \"it's\"\\n$HOME'")
    # Of what fails nothing is said; a log that cannot be written keeps no command from running.
    failing = phases.audited(config, Script((Step("stop", "false"),)), "anna stopped it")
    assert run(failing.render()).returncode != 0 and len(log.read_text().splitlines()) == 2
    log.unlink()
    log.mkdir()
    done = run(command)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    assert phases.audited(config, Script(()), "x") == Script(())
