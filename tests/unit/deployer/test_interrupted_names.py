"""A version that is deployed once more and cut off: it is what served, files and containers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployer.commands import canary, finishing, phases, prune, status, wayback
from deployer.commands.facts import HostFacts, parse_facts, state_script
from deployer.config import DeployConfig
from deployer.kept import check_kept, leftovers, previous_version
from deployer.script import Script
from deployer.trial import of_the_web, untried
from freehold.errors import InputError
from tests.unit.deployer import samples
from tests.unit.deployer.standin import StandIn

NAMES = ("shop-web-v1", "shop-jobs-v1")


class Story:
    """A service of two roles on one host; `old` and `again` are the file with two environments."""

    def __init__(self, directory: Path) -> None:
        self.host = StandIn(directory)
        servers = {"web": ["web-1"], "jobs": {"hosts": ["web-1"], "cmd": "work"}}
        self.old, self.again = (
            samples.config(directory, servers=servers, env={"clear": {"GREETING": word}})
            for word in ("old", "again")
        )

    def look(self, config: DeployConfig | None = None) -> HostFacts:
        config = config or self.old
        result = self.host.run(state_script(config))
        assert result.ok, result
        return parse_facts(config, dataclasses.replace(result, host="web-1")).settled()

    def run(self, script: Script, steps: int | None = None) -> None:
        """Without the probes; cut off after so many steps."""
        kept = tuple(step for step in script.steps if not step.name.startswith("health-"))
        result = self.host.run(dataclasses.replace(script, steps=kept[:steps]))
        assert result.ok, result

    def prepare(self, config: DeployConfig, version: str, steps: int | None = None) -> None:
        self.run(phases.prepare(config, "web-1", config.roles, version, "image"), steps)

    def commit(self, config: DeployConfig, version: str, steps: int | None = None) -> None:
        self.run(phases.commit(config, config.roles, version), steps)

    def finish(self, config: DeployConfig, known: HostFacts, version: str, *, revived: bool = False) -> None:
        left = leftovers(config, known, version, revived=revived)
        seen = len(known.history)
        self.run(finishing.finish(config, left, seen=seen, version=version, audit="me"))

    def deploy(self, config: DeployConfig, version: str) -> None:
        known = self.look()
        self.prepare(config, version)
        self.commit(config, version)
        self.finish(config, known, version)

    def rollback(self, version: str) -> None:
        known = self.look()
        check_kept(self.old, version, {"web-1": known})
        self.run(self.revival(version))
        self.commit(self.old, version)
        self.finish(self.old, known, version, revived=True)

    def revival(self, version: str) -> Script:
        versions = dict.fromkeys(("web", "jobs"), version)
        return phases.revive(self.old, self.old.roles, versions, rollback=True)

    def back(self, known: HostFacts, *, committing: bool, steps: int | None = None) -> None:
        roles = self.old.roles
        self.run(wayback.undo(self.old, known, roles, "v1", audit="me", committing=committing), steps)

    def environment(self, version: str = "v1") -> set[str]:
        found = (self.host.app / "versions" / version).glob("*.env")
        return {path.read_text().strip() for path in found}

    def ids(self) -> tuple[str, ...]:
        """The containers that have the names of version 1."""
        return tuple(self.host.ids.get(name, "") for name in NAMES)

    def is_as_served(self, ids: tuple[str, ...], environment: str = "old") -> None:
        """Version 1 serves, by these containers, in this environment; nothing else is left."""
        assert (self.ids(), self.environment()) == (ids, {f"GREETING={environment}"})
        running = {name for name, state in self.host.containers.items() if state == "running"}
        assert running == set(NAMES)
        assert len(self.host.containers) == 4, self.host.containers
        assert list((self.host.app / "versions").glob("*/.containers")) == []
        known = self.look()
        assert not known.pending and known.behind(self.old.roles[0], "shop-web")[0].id == ids[0]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """Version 1 serves."""
    made = Story(tmp_path)
    made.deploy(made.old, "v1")
    assert set(made.host.containers) == set(NAMES)
    return made


def test_what_is_shown_is_what_serves(story: Story) -> None:
    """A deploy of the same version was killed: what serves is called as ever, and what is new has no name."""
    served = story.ids()
    story.prepare(story.again, "v1")
    result = story.host.run(state_script(story.old))
    known = parse_facts(story.old, dataclasses.replace(result, host="web-1"))
    rows = status.containers(story.old, known, {name: ("1%", name) for name in story.host.containers}, {})
    assert {row.container for row in rows if row.serves} == set(NAMES)
    # The load is that of what serves, whatever it is called on the host meanwhile.
    names = {one: name for name, one in story.host.ids.items()}
    assert {row.memory for row in rows if row.serves} == {names[one] for one in served}
    others = [row for row in rows if not row.serves]
    assert len(others) == 2 and not {row.container for row in others} & set(story.host.containers)


def test_a_role_that_is_left_out_is_what_served(story: Story) -> None:
    """Both were prepared once more and killed; then one of them alone is deployed."""
    served = story.ids()
    story.prepare(story.again, "v1")
    assert story.ids()[1] != served[1]
    web = story.again.select(roles=("web",))
    assert web.left_out == ("jobs",)
    story.run(phases.prepare(web, "web-1", web.roles, "v1", "image"))
    story.commit(web, "v1")
    assert story.ids()[0] != served[0] and story.ids()[1] == served[1]
    assert (story.host.app / "versions/v1/jobs.env").read_text() == "GREETING=old\n"
    assert (story.host.app / "versions/v1/web.env").read_text() == "GREETING=again\n"


def test_an_environment_that_was_written_ahead_touches_no_names(story: Story) -> None:
    """A hook fails before anything starts: what an earlier run left is for the next one to settle."""
    story.prepare(story.again, "v2")
    tried = {name: one for name, one in story.host.ids.items() if name.endswith("-v2")}
    known = story.look()
    story.run(phases.environment(story.old, "web-1", story.old.roles, "v2", "image"))
    assert {name: one for name, one in story.host.ids.items() if name.endswith("-v2")} == tried
    story.run(wayback.forget_environment(story.old, known, "v2"))
    assert {name: one for name, one in story.host.ids.items() if name.endswith("-v2")} == tried
    assert story.environment("v2") == {"GREETING=again"}
    # The same where the version served before, and stands aside for what was prepared.
    story.prepare(story.again, "v1")
    named = story.ids()
    story.run(phases.environment(story.again, "web-1", story.again.roles, "v1", "image"))
    story.run(wayback.forget_environment(story.again, story.look(), "v1"))
    assert story.ids() == named and story.environment() == {"GREETING=old"}


def test_versions_with_dots_are_not_taken_for_one_another(story: Story) -> None:
    """Docker looks names up by expressions: what goes is the failed version, not another one that serves."""
    story.deploy(story.old, "1-2")
    served = {name: one for name, one in story.host.ids.items() if name.endswith("-1-2")}
    known = story.look()
    story.prepare(story.again, "1.2")
    roles = story.old.roles
    story.run(wayback.undo(story.old, known, roles, "1.2", audit="me"))
    assert {name: one for name, one in story.host.ids.items() if name.endswith("2")} == served
    assert all(story.host.containers[name] == "running" for name in served)


STEPS = 5
"""The files; environments of two roles; two starts."""


@pytest.mark.parametrize(("times", "steps"), [*((1, steps) for steps in range(1, STEPS + 1)), (2, STEPS)])
def test_killed_in_prepare(story: Story, steps: int, times: int) -> None:
    served = story.ids()
    for _ in range(times):
        story.prepare(story.again, "v1", steps)
    story.deploy(story.old, "v2")
    story.rollback("v1")
    story.is_as_served(served)


def test_the_same_version_is_deployed_after_all(story: Story) -> None:
    served = story.ids()
    story.prepare(story.again, "v1")
    story.deploy(story.again, "v1")
    assert not set(served) & set(story.ids())
    served = story.ids()
    story.deploy(story.old, "v2")
    story.rollback("v1")
    story.is_as_served(served, "again")


def test_a_role_is_deployed_after_the_other(story: Story) -> None:
    """As the real thing does: what the first script has started is not given away by the second."""
    for _ in range(2):
        for role in story.again.roles:
            story.run(phases.prepare(story.again, "web-1", [role], "v1", "image"))
    started = story.ids()
    story.commit(story.again, "v1")
    assert story.ids() == started and story.environment() == {"GREETING=again"}


COMMIT = 5
"""They run; the switch of web; the files; the routes; the history."""


@pytest.mark.parametrize("steps", range(COMMIT + 1))
def test_killed_in_commit(story: Story, steps: int) -> None:
    served = story.ids()
    story.prepare(story.again, "v1")
    new = story.ids()
    story.commit(story.again, "v1", steps)
    committed = steps >= 3
    story.deploy(story.old, "v2")
    story.rollback("v1")
    story.is_as_served(new if committed else served, "again" if committed else "old")


BACK = 9
"""Nobody else; never committed; traffic; history; files; routes; containers; files of none; the log."""


@pytest.mark.parametrize(
    ("committed", "steps"), [*((True, steps) for steps in range(2, BACK + 1)), (False, 5), (False, 7)]
)
def test_killed_on_the_way_back(story: Story, steps: int, committed: bool) -> None:
    served, known = story.ids(), story.look()
    story.prepare(story.again, "v1")
    story.commit(story.again, "v1", None if committed else 2)
    story.back(known, committing=True, steps=steps)
    if steps == BACK:
        assert story.ids() == served and set(story.host.containers) == set(NAMES)
        assert story.environment() == {"GREETING=old"}
    story.deploy(story.old, "v2")
    story.rollback("v1")
    story.is_as_served(served)


def test_a_way_back_over_what_was_killed_before(story: Story) -> None:
    served = story.ids()
    story.prepare(story.again, "v1")
    known = story.look()
    story.prepare(story.again, "v1")
    story.back(known, committing=False)
    assert story.ids() == served and story.environment() == {"GREETING=old"}
    # Once more, where nothing of it had begun.
    story.prepare(story.again, "v1")
    story.back(story.look(), committing=False)
    assert story.ids() == served and story.environment() == {"GREETING=old"}
    story.deploy(story.old, "v2")
    story.rollback("v1")
    story.is_as_served(served)


def test_a_version_before_was_deployed_again(story: Story) -> None:
    """Another one serves. What is prepared of it is never what a rollback starts, by whichever way."""
    served = story.ids()
    story.deploy(story.old, "v2")
    story.prepare(story.again, "v1")
    known = story.look()
    assert previous_version({"web-1": known}, story.old) == "v1"
    assert not {c.id for c in prune.useless(story.old, known, 5).containers} & set(served)
    # A rollback that fails leaves it to the next one.
    story.run(story.revival("v1"))
    assert story.ids() == served
    story.back(known, committing=False)
    assert {story.host.containers[name] for name in NAMES} == {"exited"}
    story.rollback("v1")
    story.is_as_served(served)


def test_what_served_is_started_again(story: Story) -> None:
    served = story.ids()
    story.prepare(story.again, "v1")
    for name in story.host.ids:
        story.host.words(f"docker stop {name}")
    story.run(phases.revive(story.old, story.old.roles, dict.fromkeys(("web", "jobs"), "v1")))
    assert story.ids() == served and story.environment() == {"GREETING=old"}
    assert {story.host.containers[name] for name in NAMES} == {"running"}


def test_what_served_and_was_removed_is_not_taken_for_what_was_prepared(story: Story) -> None:
    story.deploy(story.old, "v2")
    for name in NAMES:
        story.host.words(f"docker rm {name}")
    story.host.words(phases.forget(story.old, "v1"))
    story.prepare(story.again, "v1")
    with pytest.raises(InputError, match="no container of web at version v1"):
        story.rollback("v1")
    story.deploy(story.old, "v3")
    assert story.ids() == ("", "") and story.environment() == set()
    assert {name.partition("_")[0].rpartition("-")[2] for name in story.host.containers} == {"v2", "v3"}


# Trials


@pytest.mark.parametrize("ends", ["abort", "another deploy", "killed in prepare"])
def test_a_version_before_is_tried(story: Story, ends: str) -> None:
    served = story.ids()
    story.deploy(story.old, "v2")
    web, role = of_the_web(story.again), of_the_web(story.old).roles
    story.run(phases.prepare(web, "web-1", web.roles, "v1", "image"))
    story.run(canary.split(web, web.roles, "v1", 10, audit="me"))
    known = story.look(web)
    assert known.canaries == {"shop-web": "v1"} and prune.stale(web, known) == ()
    if ends == "abort":
        before = untried(web, known, "v1")
        story.run(wayback.undo(web, before, role, "v1", audit="me"))
        assert story.ids() == served and len(story.host.containers) == 4
    elif ends == "another deploy":
        story.deploy(story.old, "v3")
    else:
        story.prepare(story.old, "v3", 1)
    assert not story.look().canaries and story.environment() == {"GREETING=old"}
    story.rollback("v1")
    assert story.ids() == served
    assert story.environment() == {"GREETING=old"}


def test_a_trial_of_another_version_goes_on(story: Story) -> None:
    """Starting what serves ends no trial, of which the containers stay what they are."""
    story.deploy(story.old, "v2")
    web = of_the_web(story.again)
    story.run(phases.prepare(web, "web-1", web.roles, "v1", "image"))
    story.run(canary.split(web, web.roles, "v1", 10, audit="me"))
    tried = story.ids()
    story.run(phases.revive(story.old, story.old.roles, dict.fromkeys(("web", "jobs"), "v2")))
    assert story.ids() == tried and story.look().canaries == {"shop-web": "v1"}
