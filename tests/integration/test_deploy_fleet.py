"""Three hosts as one: the gate, what each host is told, a failing host, a lost lock, a broken line."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.conftest import Control
from tests.integration.app import images
from tests.integration.app.project import Project, shown, squeezed
from tests.integration.test_deploy_interrupted import KILLED, free, held, kill, release, slow
from tests.rig import Host, HostSpec, Rig

HISTORY = "cat /var/lib/freehold/apps/shop/history"
HOLDER = """for path in /proc/[0-9]*/fd/9; do
    if [ "$(readlink $path)" = /run/lock/freehold/shop.lock ]; then kill -9 "$(cut -d/ -f3 <<<$path)"; fi
done"""


@pytest.fixture(scope="module")
def third(rig: Rig) -> Iterator[Host]:
    """A third host, for this file only."""
    yield rig.boot(HostSpec("web-3"))[0]
    rig.remove("web-3")


@pytest.fixture
def fleet(rig: Rig, hosts: tuple[Host, Host], third: Host, control: Control) -> Project:
    """Version 1 on three hosts; web-2 stands in the middle."""
    third.reset()
    made = Project(rig, (*hosts, third), control.directory)
    made.config["servers"]["web"]["hosts"] = ["web-1", "web-2", "web-3"]
    made.save()
    made.deploy("v1")
    return made


def test_the_second_of_three_hosts_fails(fleet: Project) -> None:
    """In prepare, then in commit: all three end on the old version, and no visitor notices."""
    first, second, last = fleet.hosts
    before = fleet.state()
    fleet.config["deploy_timeout"] = 50
    fleet.save()
    # The third would wait for its health much longer than it takes the second to crash.
    fleet.image("v2", "ok", first)
    fleet.image("v2", "crash", second)
    fleet.image("v2", "unhealthy", last)
    fleet.image("v3")
    with fleet.traffic(websocket=False) as traffic:
        said = squeezed(fleet.send("v2", expect=1))
        assert "web-2" in said and "no database: giving up" in said, said
        assert "answered 503" not in said.partition("error:")[2], said
        traffic.seen(10)
        fleet.same_as(before)

        second.exec("chmod 555 /var/lib/freehold/proxy/targets")
        try:
            said = squeezed(fleet.send("v3", expect=1))
        finally:
            second.exec("chmod 2775 /var/lib/freehold/proxy/targets")
        assert "web-2: traffic to web" in said, said
        traffic.seen(10)
    fleet.same_as(before)
    assert set(traffic.load.report().versions) <= {"v1", "v3"}
    assert fleet.settled("v1")


def test_a_deploy_without_its_lock_stops(fleet: Project) -> None:
    before = fleet.state()
    slow(fleet)
    with fleet.traffic(websocket=False) as traffic:
        with fleet.start("deploy", "--skip-push", "--version", "v2", "-h", "web-2,web-3") as deploy:
            fleet.until(
                lambda: all("shop-web-v2" in fleet.containers(host) for host in fleet.hosts[1:]), "prepare"
            )
            fleet.hosts[0].exec(HOLDER)
            assert deploy.wait(180) == 1
        traffic.seen(10)
    said = " ".join(fleet.printed.split())
    assert "web-1: the deploy lock was lost" in said, said
    after = fleet.state()
    assert after == before


def test_a_deploy_without_its_lock_leaves_the_work_of_another(fleet: Project) -> None:
    """Its lock goes while a hook runs, and by the time it goes on, another version serves."""
    waits, go = fleet.directory / "waits", fleet.directory / "go"
    hook = fleet.directory / ".freehold" / "hooks" / "pre-app-boot"
    hook.parent.mkdir(parents=True)
    hook.write_text(
        f"#!/bin/sh\n[ $KAMAL_VERSION = v3 ] || touch {waits}\nuntil [ $KAMAL_VERSION = v3 ] || [ -e {go} ]; "
        "do sleep 0.1; done\n"
    )
    hook.chmod(0o755)
    fleet.image("v2")
    with fleet.traffic(websocket=False) as traffic:
        with fleet.start("deploy", "--skip-push", "--version", "v2", "-h", "web-2,web-3") as deploy:
            fleet.until(waits.exists, "the hook")
            fleet.hosts[0].exec(HOLDER)
            fleet.deploy("v3")
            before = fleet.state()
            go.touch()
            assert deploy.wait(180) == 1
        traffic.seen(10)
    said = " ".join(fleet.printed.split())
    assert "web-1: the deploy lock was lost" in said and "Putting every host back" not in said, said
    fleet.same_as(before)
    assert fleet.settled("v3")


@pytest.fixture
def pair(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    made = Project(rig, hosts, control.directory)
    made.deploy("v1")
    return made


def test_the_line_breaks_after_the_switch(pair: Project) -> None:
    """The host has switched and nobody was told: it is asked before anything is undone."""
    second = pair.hosts[1]
    pair.image("v2")
    with pair.traffic(websocket=False) as traffic:
        with (
            held(second, "proxy.lock"),
            pair.start("deploy", "--skip-push", "--version", "v2") as deploy,
        ):
            pair.until(lambda: pair.serving() == ("v2", "v2"), "both switches")
            sessions = second.exec("pgrep -f 'sshd: deploy@notty'").stdout.split()
            second.exec(f"kill -STOP {' '.join(sessions)}")
            release(second, "proxy.lock")
            pair.until(lambda: "v2" in second.exec(HISTORY).stdout, "the end of the commit")
            second.exec(f"kill -KILL {' '.join(sessions)}")
            assert deploy.wait(180) == 0, pair.printed
        traffic.seen(10)
    assert "Reading what was switched" in pair.printed
    assert pair.settled("v2")


def test_killed_while_old_requests_end(pair: Project) -> None:
    # Longer than it takes to see both commits on a busy computer.
    pair.config["drain_timeout"] = 10
    pair.save()
    pair.image("v2")
    with (
        pair.traffic(websocket=False, slow_every=2, slow_seconds=8.0) as traffic,
        pair.start("deploy", "--skip-push", "--version", "v2") as deploy,
    ):
        pair.until(lambda: all("v2" in host.exec(HISTORY).stdout for host in pair.hosts), "both commits")
        assert kill(deploy, signal.SIGKILL) in KILLED, pair.printed
        assert pair.serving() == ("v2", "v2")
        pair.until(lambda: free(pair), "a free lock")
        traffic.seen(10)
    pair.deploy("v3")
    assert pair.settled("v3")
    for host in pair.hosts:
        assert set(pair.containers(host)) == {"shop-web-v1", "shop-web-v2", "shop-web-v3"}


def test_each_host_and_role_as_the_file_says(pair: Project) -> None:
    """Variables by tag, the gate, and a rollback that probes and dials as its version did."""
    first, second = pair.hosts
    worker = images.worker('os.environ["REGION"]')
    pair.config["servers"] = {
        "web": {"hosts": [{"web-1": ["north"]}, {"web-2": ["south", "big"]}]},
        "jobs": {"hosts": [{"web-2": "south"}], "cmd": worker},
        "mail": {"hosts": ["web-1"], "cmd": worker.replace("REGION", "GREETING")},
    }
    pair.config["env"]["tags"] = {
        "north": {"REGION": "n"},
        "south": {"clear": {"REGION": "s"}, "secret": ["TOKEN:SOUTHERN"]},
        "big": {"REGION": "s-big"},
    }
    pair.config["servers"]["spare"] = {"hosts": []}
    pair.config["allow_empty_roles"] = True
    pair.config["boot"] = {"parallel_roles": True, "limit": 1, "wait": 0.2}
    pair.secrets["SOUTHERN"] = "of the south"
    pair.save()
    steps = [step.split() for step in shown(pair.deploy("v2")).split("▸ ") if step.startswith("Starting")]
    # One host after the other, and the other roles once every host has the primary one.
    assert [(step[1], [name for name in ("web-1", "web-2") if name in step]) for step in steps] == [
        *(("v2", ["web-1"]), ("v2", ["web-2"]), ("the", ["web-1"]), ("the", ["web-2"]))
    ]
    assert all("done" in step for step in steps)
    assert [pair.environment(host)["REGION"] for host in pair.hosts] == ["n", "s-big"]
    assert [pair.environment(host)["TOKEN"] for host in pair.hosts] == ["s3cret-of-the-test", "of the south"]
    # A worker is ready before it has said a word.
    pair.until(lambda: second.exec("docker logs shop-jobs-v2").stdout.strip() == "s", "a word of jobs")
    pair.until(lambda: first.exec("docker logs shop-mail-v2").stdout.strip() == "hello", "a word of mail")

    pair.config["boot"] = {}
    pair.config["proxy"]["healthcheck"]["max_attempts"] = 4
    pair.save()
    said = squeezed(pair.deploy("v3", expect=1, mode="unhealthy"))
    assert "Starting v3" in said and "Starting the other roles" not in said, said

    del pair.config["proxy"]["healthcheck"]["max_attempts"]
    pair.config["deploy_timeout"] = 45
    # Another role leads: it is the gate, its first host the primary one; who is reached has to be said then.
    pair.config["primary_role"] = "jobs"
    pair.config["servers"]["jobs"]["proxy"] = False
    pair.config["servers"]["web"]["proxy"] = True
    pair.save()
    done = pair.deploy("v4")
    steps = [step.split() for step in shown(done).split("▸ ") if step.startswith("Starting")]
    assert [(step[1], "web-1" in step) for step in steps] == [("v4", False), ("the", True)]
    assert pair.serving() == ("v4", "v4")
    where = ("app", "exec", "--reuse", "-p", "--", "sh", "-c", "echo $KAMAL_HOST $REGION")
    told = {line.partition("| ")[2] for line in pair.freehold(*where).stdout.splitlines()}
    assert told == {"web-2 s", "web-2 s-big"}
    pair.config["proxy"]["app_port"] = 9999
    pair.config["proxy"]["healthcheck"]["path"] = "/nowhere"
    pair.save()
    pair.rollback()
    assert pair.serving() == ("v2", "v2")
    pair.config["require_destination"] = True
    pair.save()
    assert "a destination is required" in squeezed(pair.freehold("app", "version", expect=2))
    (pair.directory / "config" / "deploy.staging.yml").write_text("service: shop\n")
    assert "problem" in pair.freehold("app", "version", "-d", "staging", "--json").stdout


def test_what_runs_and_what_would_change(pair: Project) -> None:
    first, second = pair.hosts
    rows = json.loads(pair.freehold("status", "--json").stdout)
    assert [row["host"] for row in rows] == ["web-1", "web-2"]
    for row in rows:
        assert row["version"] == "v1" and row["proxy"] == "active" and not row["problem"]
        assert 0 <= row["cpu"] <= 1 and 0 < row["memory_used"] < row["memory_total"]
        assert 0 < row["disk_used"] <= row["disk_total"]
        (container,) = row["containers"]
        assert (container["container"], container["health"]) == ("shop-web-v1", "healthy")
        assert container["serves"] and container["cpu"].endswith("%") and container["memory"].endswith("B")
    for word, mode in (("pause", "paused"), ("maintenance", "maintenance")):
        pair.freehold("app", word)
        held = [row["containers"][0] for row in json.loads(pair.freehold("status", "--json").stdout)]
        pair.freehold("app", "live")
        assert [(one["mode"], one["health"], one["serves"]) for one in held] == [(mode, "healthy", True)] * 2
    second.exec("docker pause shop-web-v1")
    try:
        said = squeezed(pair.freehold("status", expect=1))
    finally:
        second.exec("docker unpause shop-web-v1")
    assert "answers nothing" in said and "paused" in said, said

    assert "nothing" in pair.freehold("diff").stdout
    pair.secrets["TOKEN"] = "quite another"
    pair.config["env"] = {"clear": {"GREETING": "hi", "MORE": "x"}, "secret": ["TOKEN"]}
    pair.config["proxy"]["response_timeout"] = 17
    pair.config["servers"]["web"]["options"] = {"memory": "300m"}
    pair.save()
    for words in (("diff",), ("deploy", "--dry-run", "--skip-push", "--version", "v2")):
        said = squeezed(pair.freehold(*words))
        for change in ("~ GREETING: hello → hi", "+ MORE=x", "~ TOKEN changed (secret)", "+ --memory 300m"):
            assert change.replace("~ ", "").replace("+ ", "") in said, said
        assert "response_header_timeout 17s" in said, said
        assert "quite another" not in said and "s3cret-of-the-test" not in said, said
    # What was secret stays so when the file says it in the clear from now on.
    pair.config["env"] = {"clear": {"GREETING": "hello", "TOKEN": "public"}}
    pair.save()
    said = squeezed(pair.freehold("diff", "-h", "web-1"))
    assert "TOKEN: [secret] → public" in said and "s3cret-of-the-test" not in said, said
    first.exec("systemctl stop ssh")
    try:
        rows = json.loads(pair.freehold("status", "--json", expect=1).stdout)
    finally:
        first.exec("systemctl start ssh")
    assert "Connection refused" in rows[0]["problem"] and rows[1]["version"] == "v1"
