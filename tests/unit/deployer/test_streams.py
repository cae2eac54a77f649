"""Containers that go on with what is open after a switch: who does, until when, and what ends it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import app, finishing, phases, prune, status, streams, wayback
from deployer.commands.facts import HostFacts, parse_facts, state_script
from deployer.config import DeployConfig
from deployer.kept import leftovers
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import ConfigError
from tests.unit.deployer import samples
from tests.unit.deployer.standin import StandIn

TALK = "#!/bin/sh\necho 0 0 172.30.0.1:4 172.30.0.9:80\n"
SILENCE = "#!/bin/sh\n"
OLD, NEW = "172.30.0.9", "172.30.0.10"


def configured(directory: Path, seconds: int | None = 600, **changes: Any) -> DeployConfig:
    proxy = {"host": "shop.test", "app_port": 3000}
    if seconds is not None:
        proxy["stream_timeout"] = seconds
    return samples.config(directory, servers={"web": ["web-1"]}, proxy=proxy, **changes)


class Story:
    """v2 has been committed on a host where v1 served."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.host, self.config = StandIn(directory), configured(directory, **changes)
        self.host.container("shop-web-v1", OLD)
        self.host.container("shop-web-v2", NEW)
        self.host.target(address=f"{NEW}:3000")
        self.host.served("v1", "v2")
        self.folder = self.host.app / "open"
        self.mark = self.folder / "id-of-shop-web-v1"

    def look(self) -> HostFacts:
        result = self.host.run(state_script(self.config))
        assert result.ok, result
        return parse_facts(self.config, dataclasses.replace(result, host="web-1")).settled()

    def finish(self, config: DeployConfig | None = None, version: str = "v2") -> ScriptResult:
        config, known = config or self.config, self.look()
        # As the deploy saw the host when it began.
        before = tuple(c for c in known.containers if c.version != version)
        known = dataclasses.replace(known, containers=before)
        left = leftovers(config, known, version, revived=False)
        seen = len(known.history) - 1
        script = finishing.finish(config, left, seen=seen, version=version, audit="me")
        # What goes on is not waited for once more.
        drains = any(c.running and not c.lingering for c in before)
        assert drains == ("drain" in [step.name for step in script.steps])
        steps = tuple(step for step in script.steps if step.name != "drain")
        result = self.host.run(dataclasses.replace(script, steps=steps))
        assert result.ok, result
        return result

    def linger(self) -> None:
        self.host.program("ss", TALK)
        self.finish()
        assert self.host.containers["shop-web-v1"] == "running"

    def watch(self) -> None:
        """The watcher, to its end."""
        assert self.host.shell(f"bash {self.folder}/watch {self.mark.name}").returncode == 0


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_without_the_key_all_is_as_ever(tmp_path: Path) -> None:
    story = Story(tmp_path, seconds=None)
    story.host.program("ss", TALK)
    story.finish()
    assert story.host.containers["shop-web-v1"] == "exited" and not story.folder.exists()
    assert f"stop --time {phases.STOP_GRACE} shop-web-v1" in story.host.docker


def test_what_is_open_goes_on(story: Story) -> None:
    asked = story.host.directory / "asked"
    story.host.program("systemd-run", f'#!/bin/sh\necho "$@" >>{asked}\n')
    story.host.program("ss", TALK)
    before = int(time.time())
    result = story.finish()
    deadline, *rest = story.mark.read_text().split()
    # The limit counts from the switch, and requests have had their time by now.
    assert before + 570 <= int(deadline) <= time.time() + 570
    assert rest == [str(phases.STOP_GRACE), "unless-stopped", OLD]
    assert story.host.containers["shop-web-v1"] == "running"
    assert story.host.restarts["shop-web-v1"] == "no"
    assert asked.read_text().strip().endswith(f"bash {story.folder}/watch {story.mark.name}")
    (line,) = streams.told(result)
    assert line.startswith("connections of web v1 are still open")

    # It is shown as such, and nobody takes it for a leftover.
    known = story.look()
    (old,) = [c for c in known.containers if c.version == "v1"]
    assert old.lingering == story.mark.read_text().strip()
    modes = {c.version: (c.serves, c.mode) for c in status.containers(story.config, known, {}, {})}
    assert modes == {"v1": (False, "draining"), "v2": (True, "")}
    assert prune.stale(story.config, known) == (old,)
    assert not prune.useless(story.config, known, 1).containers
    samples.is_bash(app.details(story.config).render())

    # Further deploys leave it its limit and wait for it no more, also where the file has no such key by then.
    noted = story.mark.read_text()
    story.finish()
    story.finish(configured(story.host.directory, None))
    assert story.mark.read_text() == noted and story.host.containers["shop-web-v1"] == "running"
    # Once nothing is open it ends as any other.
    story.host.program("ss", SILENCE)
    story.finish()
    assert story.host.containers["shop-web-v1"] == "exited"


def test_the_watcher_ends_it(story: Story) -> None:
    story.linger()
    story.host.program("ss", SILENCE)
    story.watch()
    assert story.host.containers["shop-web-v1"] == "exited"
    assert story.host.restarts["shop-web-v1"] == "unless-stopped"
    assert [path.name for path in story.folder.iterdir()] == ["watch"]
    assert f"stop --time {phases.STOP_GRACE} {story.mark.name}" in story.host.docker


def test_the_limit_ends_it(story: Story) -> None:
    story.linger()
    story.mark.write_text(f"{int(time.time()) - 1} 7 on-failure:3 {OLD}\n")
    story.watch()
    assert story.host.containers["shop-web-v1"] == "exited"
    assert story.host.restarts["shop-web-v1"] == "on-failure:3"
    assert f"stop --time 7 {story.mark.name}" in story.host.docker


def test_a_watcher_that_is_overtaken_ends_nothing(story: Story) -> None:
    """Another deploy holds the guard while the limit passes, and has the container serve again."""
    story.linger()
    story.mark.write_text(f"0 7 unless-stopped {OLD}\n")
    again = streams.serve_again(story.config, ["shop-web-v1"])
    guard = story.host.directory / "locks" / "shop.host.lock"
    watch = f"bash {story.folder}/watch {story.mark.name}"
    # It waits for the guard by the time that the other one has it no more.
    wait = f"until [ $(fuser {guard} 2>/dev/null | wc -w) -gt 1 ]; do sleep 0.1; done"
    text = f"exec 9>>{guard}; flock 9\n{watch} 9>&- &\n{wait}\n{again}\nexec 9>&-\nwait"
    assert story.host.words(text).returncode == 0
    assert story.host.containers["shop-web-v1"] == "running" and not story.mark.exists()
    assert story.host.restarts["shop-web-v1"] == "unless-stopped"


def test_one_that_ended_by_itself_has_its_policy_when_it_serves_again(story: Story) -> None:
    """After a reboot; until then Docker would start it with the host."""
    story.linger()
    story.host.program("ss", SILENCE)
    story.host.container("shop-web-v1", OLD, "exited")
    story.host.words(f"docker update --restart no {story.mark.name}")
    story.watch()
    assert story.mark.exists() and story.host.restarts["shop-web-v1"] == "no"
    (old,) = [c for c in story.look().containers if c.version == "v1"]
    assert not old.lingering
    revive = phases.revive(story.config, story.config.roles, {"web": "v1"}, rollback=True)
    steps = tuple(step for step in revive.steps if step.name == "start")
    assert story.host.run(dataclasses.replace(revive, steps=steps)).ok
    assert story.host.restarts["shop-web-v1"] == "unless-stopped" and not story.mark.exists()
    assert story.host.containers["shop-web-v1"] == "running"


def test_a_rollback_that_fails_leaves_it_its_limit(story: Story) -> None:
    story.linger()
    known, noted = story.look(), story.mark.read_text()
    story.host.words(streams.serve_again(story.config, ["shop-web-v1"]))
    assert not story.mark.exists() and story.host.restarts["shop-web-v1"] == "unless-stopped"
    undo = wayback.undo(story.config, known, story.config.roles, "v1", audit="me")
    removal = tuple(step for step in undo.steps if step.name == "remove")
    assert removal and story.host.run(dataclasses.replace(undo, steps=removal)).ok
    assert story.mark.read_text() == noted and story.host.restarts["shop-web-v1"] == "no"
    assert story.host.containers["shop-web-v1"] == "running"


def test_nothing_of_it_goes_while_it_goes_on(tmp_path: Path) -> None:
    """One that is kept for no rollback is removed with its files by the deploy that finds it ended."""
    story = Story(tmp_path, retain_containers=1)
    story.host.served("v1", "v0", "v2")
    files = story.host.version("v1", note="x")
    story.host.program("ss", TALK)
    story.finish()
    assert story.host.containers["shop-web-v1"] == "running" and files.exists()
    story.host.program("ss", SILENCE)
    story.watch()
    story.finish()
    assert "shop-web-v1" not in story.host.containers and not files.exists()
    assert not story.mark.exists()


def test_one_in_the_hosts_own_network_is_stopped(story: Story) -> None:
    """All that is open to this host's own address says nothing of it."""
    story.host.container("shop-web-v1", "127.0.0.1")
    story.host.program("ss", TALK)
    story.finish()
    assert story.host.containers["shop-web-v1"] == "exited"


def test_of_containers_that_are_gone_nothing_is_known(story: Story) -> None:
    story.linger()
    gone = story.folder / "gone"
    gone.write_text("1 2 no 172.30.0.3\n")
    story.finish()
    assert story.mark.exists() and not gone.exists()


def test_a_limit_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected more than the 30 seconds of drain_timeout, found 30"):
        configured(tmp_path, 30)
    assert configured(tmp_path, 31).roles[0].proxy is not None
    accessory = {"image": "x", "host": "web-1", "proxy": {"host": "x.test", "stream_timeout": 60}}
    with pytest.raises(ConfigError, match="no meaning for an accessory"):
        configured(tmp_path, accessories={"db": accessory})


def test_only_what_was_left_running_is_told() -> None:
    outcome = StepOutcome("stop", "ok", 0.1, ("shop-web-v0", "goes on: web v1 1700000000"))
    assert len(streams.told(ScriptResult("web-1", 0, (outcome,)))) == 1
    assert streams.told(ScriptResult("web-1", 0, ())) == []
