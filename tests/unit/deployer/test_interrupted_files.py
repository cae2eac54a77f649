"""The files of a version that is deployed once more: whose they are when that is cut off."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployer.commands import phases, wayback
from deployer.config import DeployConfig
from tests.unit.deployer import samples
from tests.unit.deployer.samples import container, facts
from tests.unit.deployer.standin import StandIn

OLD, NEW = "routes/shop.test/shop-web.caddy", "routes/new.test/shop-web.caddy"


class Story:
    """A service on one host, and what is done to it; `again` is the file with another host name."""

    def __init__(self, directory: Path) -> None:
        self.host = StandIn(directory)
        self.old, self.again = (
            samples.config(directory, servers={"web": ["web-1"]}, proxy={"host": name, "app_port": 80})
            for name in ("shop.test", "new.test")
        )

    def prepare(self, config: DeployConfig, version: str) -> None:
        """Cut off before anything is started."""
        script = phases.prepare(config, "web-1", config.roles, version, "image")
        assert self.host.run(dataclasses.replace(script, steps=script.steps[:1])).ok

    def commit(self, config: DeployConfig, version: str, *, steps: int | None = None) -> None:
        """Cut off after so many steps."""
        script = phases.commit(config, config.roles, version)
        assert self.host.run(dataclasses.replace(script, steps=script.steps[:steps])).ok

    def back(self, *history: str, version: str = "v2", committing: bool = False) -> None:
        """The way back of a deploy that found this history."""
        known = facts("web-1", container("shop-web-v1"), history=history)
        undo = wayback.undo(self.old, known, self.old.roles, version, audit="me", committing=committing)
        assert self.host.run(undo).ok

    def kept(self) -> set[str]:
        """The routes that version 1 has beside it."""
        root = self.host.app / "versions" / "v1" / "proxy"
        return {str(path.relative_to(root)) for path in root.glob("routes/*/*")}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """Version 1 serves shop.test."""
    made = Story(tmp_path)
    made.host.container("shop-web-v1", "172.30.0.9")
    made.prepare(made.old, "v1")
    made.commit(made.old, "v1")
    assert OLD in made.host.routes()
    return made


def test_what_was_never_committed_is_not_published_by_a_later_way_back(story: Story) -> None:
    story.prepare(story.again, "v1")
    assert story.kept() == {NEW}
    story.back("v1")
    assert story.kept() == {OLD}
    assert OLD in story.host.routes() and NEW not in story.host.routes()


def test_the_next_deploy_settles_what_was_cut_off(story: Story) -> None:
    story.prepare(story.again, "v1")
    story.prepare(story.old, "v2")
    assert story.kept() == {OLD}
    # Of the same version: what was there before the first of them is what it goes back to.
    story.prepare(story.again, "v1")
    story.prepare(story.again, "v1")
    story.back("v1", version="v1")
    assert story.kept() == {OLD}


@pytest.mark.parametrize("steps", [3, None], ids=["cut off once it had switched", "to its end"])
def test_what_was_committed_stays(story: Story, steps: int | None) -> None:
    """Its deploy was killed before its finish, and a later one goes back."""
    story.prepare(story.again, "v1")
    story.commit(story.again, "v1", steps=steps)
    story.back(*["v1"] * len(story.host.history))
    assert story.kept() == {NEW} and NEW in story.host.routes()
    story.prepare(story.old, "v2")
    assert story.kept() == {NEW}
    assert [path.name for path in (story.host.app / "before").iterdir()] == []


def test_a_commit_of_the_same_version_is_undone_with_its_files(story: Story) -> None:
    story.prepare(story.again, "v1")
    story.commit(story.again, "v1")
    assert NEW in story.host.routes()
    story.back("v1", version="v1", committing=True)
    assert story.kept() == {OLD} and OLD in story.host.routes() and NEW not in story.host.routes()
    assert story.host.history == ["v1 web"]
