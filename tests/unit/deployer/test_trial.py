"""A version that is tried: which may be, and what a host was before it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployer.commands import layout, wayback
from deployer.commands.facts import Container, HostFacts
from deployer.commands.serving import serving
from deployer.config import DeployConfig
from deployer.report import step_error
from deployer.trial import Trial, of_the_web, uncounted, untried
from freehold.console import Console
from freehold.errors import HostError, InputError, UsageError
from tests.unit.deployer import samples
from tests.unit.deployer.samples import container, facts
from tests.unit.deployer.standin import Hosts, StandIn

TRIED = "172.30.0.10"


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return of_the_web(samples.config(tmp_path))


def names(known: HostFacts) -> set[str]:
    return {c.name for c in known.containers}


def forgets(config: DeployConfig, known: HostFacts, version: str) -> bool:
    """Whether the way back removes the version's files."""
    script = wayback.undo(config, known, config.roles_on(known.host), version, audit="me")
    return any(layout.version(config.name, version) in s.shell for s in script.steps if s.name == "forget")


def test_what_serves_is_behind_the_target_whatever_was_committed_last(config: DeployConfig) -> None:
    aside = container("shop-web-v1", address=TRIED)
    known = facts("web-1", container("shop-web-v2"), aside, history=("v1", "v2", "v3"))
    assert serving(config, known) == {"v2"}
    # In the host's own network containers have no address of their own.
    nowhere = container("shop-web-v2", address="")
    assert serving(config, facts("web-1", nowhere, history=("v1", "v2"))) == {"v2"}
    assert serving(config, facts("web-1")) == frozenset()


def test_a_new_version_leaves_nothing(config: DeployConfig) -> None:
    known = facts("web-1", container("shop-web-v1"), container("shop-web-v2", address=TRIED), history=("v1",))
    before = untried(config, known, "v2")
    assert names(before) == {"shop-web-v1"}
    assert forgets(config, before, "v2")


def test_what_a_killed_trial_left_is_nothing_that_a_host_had_before(config: DeployConfig) -> None:
    dead = container("shop-web-v2_replaced_1700", address="172.30.0.11")
    tried = container("shop-web-v2", address=TRIED)
    known = facts("web-1", container("shop-web-v1", address="172.30.0.9"), dead, tried, history=("v1",))
    assert uncounted(config, known) == {"v2"}
    assert names(untried(config, known, "v2")) == {"shop-web-v1"}
    # What Kamal runs has no address of ours; and where nothing was ever deployed, it serves perhaps.
    kamals = container("shop-web-abc", address="")
    assert uncounted(config, facts("web-1", kamals, history=("v1",))) == frozenset()
    assert uncounted(config, facts("web-1", tried)) == frozenset()


@pytest.mark.parametrize(
    ("aside", "history"),
    [
        (container("shop-web-v1_replaced_1700", "exited"), ("v1", "v2")),
        (container("shop-web-v1_replaced_1700"), ("v1",)),
    ],
    ids=["kept", "serving"],
)
def test_a_container_that_stepped_aside_has_its_name_and_files_back(
    config: DeployConfig, aside: Container, history: tuple[str, ...]
) -> None:
    known = facts("web-1", container("shop-web-v1", address=TRIED), aside, history=history)
    before = untried(config, known, "v1")
    assert before.containers == (dataclasses.replace(aside, name="shop-web-v1"),)
    assert not forgets(config, before, "v1")
    script = wayback.undo(config, before, config.roles_on("web-1"), "v1", audit="me")
    remove = next(step.shell for step in script.steps if step.name == "remove")
    # The visitors who were given it have their answers before it goes.
    lines = ("drain 30", "docker stop", "discard $id", f"give_name shop-web-v1 {aside.id}")
    places = [remove.index(text) for text in lines]
    assert places == sorted(places), remove


def test_the_files_of_a_role_that_was_not_tried_stay(config: DeployConfig) -> None:
    worker = container("shop-jobs-v1", "exited")
    known = facts("web-2", container("shop-web-v2"), container("shop-web-v1", address=TRIED), worker)
    before = untried(config, known, "v1")
    assert names(before) == {"shop-web-v2", "shop-jobs-v1"}
    assert not forgets(config, before, "v1")


def test_visitors_reach_roles_with_a_proxy(config: DeployConfig, tmp_path: Path) -> None:
    assert [role.name for role in config.roles] == ["web"]
    with pytest.raises(UsageError, match="no role asked for has a proxy"):
        of_the_web(samples.config(tmp_path).select(roles=("jobs",)))


def test_what_cannot_be_taken_away_keeps_its_files(config: DeployConfig, tmp_path: Path) -> None:
    """It was promoted meanwhile: the proxy sends everybody to it."""
    host = StandIn(tmp_path)
    config = config.select(hosts=["web-1"])
    new = container("shop-web-v2", address=TRIED)
    known = facts("web-1", container("shop-web-v1", "exited"), new, history=("v1", "v2"))
    known = dataclasses.replace(known, targets={"shop-web": f"{TRIED}:3000"})
    host.container("shop-web-v2", TRIED)
    host.target(address=f"{TRIED}:3000")
    host.served("v1", "v2")
    files = host.version("v2", env="x")
    undo = wayback.undo(
        config, untried(config, known, "v2"), config.roles_on("web-1"), "v2", audit="me", committing=False
    )
    error = step_error(undo, host.run(undo))
    assert "shop-web-v2 still has the traffic, so it stays" in error.message
    assert host.containers == {"shop-web-v2": "running"} and (files / "env").exists()
    # Docker that does not answer says nothing of what is there.
    host.target(address="172.30.0.9:3000")
    host.program("docker", "#!/bin/sh\nexit 1\n")
    assert not host.run(wayback.forget_environment(config, facts("web-1", history=("v1", "v2")), "v2")).ok
    assert (files / "env").exists()
    host.program("docker", "#!/bin/sh\n")
    assert host.run(wayback.forget_environment(config, facts("web-1", history=("v1", "v2")), "v2")).ok
    assert not files.exists()


def test_an_abort_tells_what_it_could_not_do(config: DeployConfig) -> None:
    hosts = Hosts()
    trial = Trial(config.select(hosts=["web-1"]), hosts, Console(quiet=True), "v2", "me")
    known = facts("web-1", container("shop-web-v1"), container("shop-web-v2", address=TRIED), history=("v1",))
    for history, there in (("v1",), ("shop-web-v1",)), (("v1", "v2"), ("shop-web-v2",)):
        ended = facts("web-1", *(container(name) for name in there), history=history)
        with pytest.raises(InputError, match="v2 is not being tried any more"):
            trial.abort({"web-1": ended})
    assert hosts.ran == []
    tried = {"web-1": dataclasses.replace(known, canaries={"shop-web": "v2", "blog-web": "v7"})}
    trial.abort(tried)
    hosts.error = HostError("the connection was lost", host="web-1")
    with pytest.raises(HostError, match="the connection was lost"):
        trial.abort(tried)


def test_one_version_is_tried_at_a_time(config: DeployConfig) -> None:
    """Somebody may have begun with another while this command waited for the lock."""
    trial = Trial(config.select(hosts=["web-1"]), Hosts(), Console(quiet=True), "v2", "me")
    known = facts("web-1", container("shop-web-v1"), history=("v1",))
    trial.check({"web-1": dataclasses.replace(known, canaries={"shop-web": "v2", "blog-web": "v7"})})
    with pytest.raises(InputError, match="being tried already: v3"):
        trial.check({"web-1": dataclasses.replace(known, canaries={"shop-web": "v3"})})
    with pytest.raises(InputError, match="v2 serves already on web-1"):
        trial.check({"web-1": facts("web-1", container("shop-web-v2"), history=("v2",))})
