"""A deploy whose lock was lost: what another deploy has done by then is not undone, nor finished."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.commands import finishing, layout, phases, wayback
from deployer.commands.facts import HostFacts
from deployer.config import DeployConfig
from deployer.rollout import Delivery, Rollout
from deployer.script import Script
from deployer.trial import Trial
from freehold.console import Console
from freehold.errors import HookError, LockedError
from tests.unit.deployer import samples
from tests.unit.deployer.samples import container, facts
from tests.unit.deployer.standin import Hosts, StandIn

KNOWN = facts("web-1", container("shop-web-v1"), history=("v1",))


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(tmp_path).select(hosts=["web-1"])


def rollout(config: DeployConfig, hosts: Hosts, hook: Callable[[str], None] = lambda name: None) -> Rollout:
    console = Console(err=io.StringIO(), color=False)
    return Rollout(config, hosts, console, "v2", "me", hook=hook)


def said(work: Rollout) -> str:
    assert isinstance(work.console.err, io.StringIO)
    return work.console.err.getvalue()


def losing(hosts: Hosts) -> Callable[[object], Delivery]:
    """The lock is lost while the image travels."""

    def deliver(_: object) -> Delivery:
        hosts.lock_lost.set()
        return Delivery("own/shop:v2")

    return deliver


def test_what_was_not_begun_is_not_undone(config: DeployConfig) -> None:
    hosts = Hosts()
    with pytest.raises(LockedError):
        rollout(config, hosts).deploy(losing(hosts), {"web-1": KNOWN})
    assert hosts.ran == []
    with pytest.raises(LockedError):
        Trial.of(rollout(config, hosts)).begin(losing(hosts), {"web-1": KNOWN}, 10)
    assert hosts.ran == []
    known = facts("web-1", container("shop-web-v2", "exited"), container("shop-web-v1"), history=("v2", "v1"))
    with pytest.raises(LockedError):
        rollout(config, hosts).rollback({"web-1": known})
    assert hosts.ran == []


@pytest.mark.parametrize("title", ["Starting", "Switching"])
def test_a_deploy_under_way_goes_back(config: DeployConfig, title: str) -> None:
    hosts = Hosts(lost_at=title)
    with pytest.raises(LockedError):
        rollout(config, hosts).deploy(lambda _: Delivery("own/shop:v2"), {"web-1": KNOWN})
    assert hosts.ran[-1].startswith("Putting every host back")


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_live_everywhere_is_left_as_it_is(config: DeployConfig, fails: bool) -> None:
    hosts = Hosts()

    def hook(name: str) -> None:
        if name == "post-app-boot":
            hosts.lock_lost.set()
            if fails:
                raise HookError("it failed")

    work = rollout(config, hosts, hook)
    try:
        work.deploy(lambda _: Delivery("own/shop:v2"), {"web-1": KNOWN})
        assert not fails
    except HookError:
        assert fails
    assert hosts.ran[-1].startswith("Switching")
    assert "v2 serves, and the old version runs on beside it" in said(work)


# On the host


@pytest.fixture
def host(tmp_path: Path) -> StandIn:
    """Version 1 served when the deploy of version 2 looked."""
    made = StandIn(tmp_path)
    made.served("v1 web")
    made.target(address="172.30.0.9:3000")
    made.container("shop-web-v1", "172.30.0.9")
    return made


def undo(config: DeployConfig, known: HostFacts = KNOWN, *, committing: bool = True) -> Script:
    roles = config.roles_on("web-1")
    return wayback.undo(config, known, roles, "v2", audit="me: failed", committing=committing)


def finish(config: DeployConfig) -> Script:
    left = finishing.Leftovers(stop=KNOWN.containers)
    return finishing.finish(config, left, seen=1, version="v2", audit="me deployed v2")


OTHERS = {
    "another": ("v1 web", "v3 web"),
    "ours and another": ("v1 web", "v2 web", "v3 web"),
    "the application was removed": (),
}


@pytest.mark.parametrize("history", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("what", [undo, finish])
def test_the_work_of_another_deploy_stays(
    config: DeployConfig, host: StandIn, history: tuple[str, ...], what: Callable[[DeployConfig], Script]
) -> None:
    host.container("shop-web-v3", "172.30.0.12")
    host.target(address="172.30.0.12:3000")
    host.served(*history)
    host.version("v2", env="x")
    before = host.containers
    result = host.run(what(config))
    assert not result.ok and [step.name for step in result.steps] == ["ours"]
    assert result.output("ours") == f"failed: {phases.OVERTAKEN}"
    assert (host.containers, host.history) == (before, list(history))
    assert host.target() == "172.30.0.12:3000"
    assert (host.app / "versions" / "v2" / "env").exists() and not (host.app / "audit.log").exists()


def test_our_own_commit_is_undone_and_finished(config: DeployConfig, host: StandIn) -> None:
    host.container("shop-web-v2", "172.30.0.10")
    assert host.run(phases.commit(config, config.roles_on("web-1"), "v2")).ok
    assert host.target() == "172.30.0.10:3000" and host.history == ["v1 web", "v2 web"]
    for _ in range(2):
        assert host.run(undo(config)).ok
        assert host.target() == "172.30.0.9:3000" and host.history == ["v1 web"]
        assert host.containers == {"shop-web-v1": "running"}
    host.container("shop-web-v2", "172.30.0.10")
    assert host.run(phases.commit(config, config.roles_on("web-1"), "v2")).ok
    for _ in range(2):
        assert host.run(finish(config)).ok
    assert host.containers == {"shop-web-v1": "exited", "shop-web-v2": "running"}


def test_a_commit_of_the_same_version_that_was_not_ours_stays(config: DeployConfig, host: StandIn) -> None:
    host.served("v1 web", "v2 web")
    assert not host.run(undo(config, committing=False)).ok
    assert not host.run(wayback.forget_environment(config, KNOWN, "v2")).ok
    assert host.history == ["v1 web", "v2 web"]


def test_the_first_deploy_of_a_host_is_undone(config: DeployConfig, tmp_path: Path) -> None:
    host = StandIn(tmp_path)
    host.container("shop-web-v2", "172.30.0.10")
    known = HostFacts("web-1")
    assert host.run(undo(config, known, committing=False)).ok
    host.container("shop-web-v2", "172.30.0.10")
    host.served("v2 web")
    host.target(address="172.30.0.10:3000")
    assert host.run(undo(config, known)).ok
    assert (host.containers, host.history, host.target()) == ({}, [], "")


def test_lines_that_say_nothing_are_not_counted(host: StandIn) -> None:
    """The host counts as the deployer does: a power cut may have left half a line."""
    history = f"{layout.app('shop')}/history"
    (host.app / "history").write_text("T v1 web\n\nT\nT v2 web")
    assert host.words(f"still_ours {history} 2 ''").returncode == 0
    assert host.words(f"still_ours {history} 1 v2").returncode == 0
    assert host.words(f"still_ours {history} 1 ''").returncode == 1
    host.words(f"first_lines {history} 1")
    assert (host.app / "history").read_text() == "T v1 web\n"
