"""What is left over once a version serves, and which version a rollback means."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.commands.facts import HostFacts, facts_script, parse_facts
from deployer.config import DeployConfig
from deployer.kept import leftovers, previous_version
from deployer.script import ScriptResult, StepOutcome
from freehold.errors import InputError
from tests.unit.deployer import samples
from tests.unit.deployer.samples import container, facts


@pytest.fixture
def config(tmp_path: Path) -> DeployConfig:
    return samples.config(tmp_path, retain_containers=2)


def test_the_versions_that_served_last_are_kept(config: DeployConfig) -> None:
    served = ("v1", "v2", "v3", "v4")
    known = facts(
        "web-1",
        *(container(f"shop-web-{version}", "exited") for version in served[:3]),
        container("shop-web-v4"),
        history=served,
    )
    left = leftovers(config, known, "v5", revived=False)
    assert [c.name for c in left.stop] == ["shop-web-v4"]
    assert left.remove == ("shop-web-v1", "shop-web-v2")
    assert left.gone == {"v1": "own/shop:v1", "v2": "own/shop:v2"}


def test_what_never_served_goes(config: DeployConfig) -> None:
    known = facts(
        "web-1",
        container("shop-web-v1"),
        container("shop-web-sick"),
        container("shop-web-crashed", "restarting"),
        history=("v1",),
    )
    left = leftovers(config, known, "v2", revived=False)
    assert {c.name for c in left.stop} == {"shop-web-v1", "shop-web-sick", "shop-web-crashed"}
    assert set(left.remove) == {"shop-web-sick", "shop-web-crashed"}
    assert set(left.gone) == {"sick", "crashed"}


def test_a_container_that_steps_aside_is_called_by_its_id(config: DeployConfig) -> None:
    """The same version again: the old container has no name of its own any more."""
    known = facts("web-1", container("shop-web-v1"), history=("v1",))
    left = leftovers(config, known, "v1", revived=False)
    assert [c.name for c in left.stop] == ["id-of-shop-web-v1"]
    assert left.remove == ("id-of-shop-web-v1",)
    assert left.gone == {}


def test_what_an_interrupted_deploy_pushed_aside_goes(config: DeployConfig) -> None:
    known = facts(
        "web-1", container("shop-web-v1"), container("shop-web-v1_replaced_17"), history=("v1", "v1")
    )
    left = leftovers(config, known, "v2", revived=False)
    assert left.remove == ("shop-web-v1_replaced_17",)
    assert "v1" not in left.gone


def test_a_revived_container_is_left_alone(config: DeployConfig) -> None:
    known = facts("web-1", container("shop-web-v1", "exited"), container("shop-web-v2"), history=("v1", "v2"))
    left = leftovers(config, known, "v1", revived=True)
    assert [c.name for c in left.stop] == ["shop-web-v2"]
    assert left.remove == ()


def test_roles_that_were_not_asked_for_are_untouched(config: DeployConfig) -> None:
    known = facts(
        "web-2",
        container("shop-web-v1"),
        container("shop-jobs-v1"),
        container("shop-jobs-old"),
        history=("v1",),
    )
    left = leftovers(config.select(roles=("web",)), known, "v2", revived=False)
    assert [c.name for c in left.stop] == ["shop-web-v1"]
    assert left.remove == ()


def test_a_version_of_another_role_keeps_its_image(config: DeployConfig) -> None:
    known = facts(
        "web-2",
        container("shop-jobs-old"),
        container("shop-web-old", "exited"),
        container("shop-web-v1"),
        history=("v1",),
    )
    left = leftovers(config.select(roles=("web",)), known, "v2", revived=False)
    assert left.remove == ("shop-web-old",)
    assert left.gone == {}


def both(config: DeployConfig, **on: HostFacts) -> dict[str, HostFacts]:
    return {name.replace("_", "-"): known for name, known in on.items()}


def test_the_version_before(config: DeployConfig) -> None:
    web = config.select(roles=("web",))
    first = facts("web-1", container("shop-web-v1", "exited"), container("shop-web-v2"), history=("v1", "v2"))
    second = facts(
        "web-2", container("shop-web-v1", "exited"), container("shop-web-v2"), history=("v1", "v2")
    )
    assert previous_version(both(web, web_1=first, web_2=second), web) == "v1"


def test_a_version_that_is_not_everywhere_is_passed_over(config: DeployConfig) -> None:
    web = config.select(roles=("web",))
    versions = ("v1", "v2", "v3")
    first = facts("web-1", *(container(f"shop-web-{v}", "exited") for v in versions), history=versions)
    second = facts(
        "web-2", container("shop-web-v1", "exited"), container("shop-web-v3"), history=("v1", "v3")
    )
    assert previous_version(both(web, web_1=first, web_2=second), web) == "v1"


def test_after_a_rollback_the_version_before_is_the_one_left(config: DeployConfig) -> None:
    web = config.select(roles=("web",), hosts=("web-1",))
    known = facts(
        "web-1", container("shop-web-v1"), container("shop-web-v2", "exited"), history=("v1", "v2", "v1")
    )
    assert previous_version({"web-1": known}, web) == "v2"


@pytest.mark.parametrize("history", [(), ("v1",), ("v1", "v1")])
def test_there_is_no_version_before(config: DeployConfig, history: tuple[str, ...]) -> None:
    web = config.select(roles=("web",), hosts=("web-1",))
    known = facts("web-1", *(container(f"shop-web-{v}") for v in history[:1]), history=history)
    with pytest.raises(InputError, match="no earlier version"):
        previous_version({"web-1": known}, web)


# What a host answers


def answer(*lines: str) -> ScriptResult:
    return ScriptResult("web-1", 0, (StepOutcome("state", "ok", 0.1, lines),))


def test_the_answer_of_a_host(config: DeployConfig) -> None:
    cells = ("shop-web-v1", "running", "web", "", "v1", "172.30.0.9", "own/shop:v1", "abc", "today", "Up 2 s")
    other = ("shop-web-staging-v1", "running", "web", "staging", "v1", "", "own/shop:v1", "d", "today", "Up")
    known = parse_facts(
        config,
        answer(
            "container\t" + "\t".join(cells),
            "container\t" + "\t".join(other),
            "target\tshop-web\t172.30.0.9:3000",
            "history\t2026-01-31T12:00:00Z v0",
            "history\t2026-01-31T13:00:00Z v1",
            'lock\t{"by": "me"}',
            "a line that nobody expected",
        ),
    )
    assert [c.name for c in known.containers] == ["shop-web-v1"]
    assert known.containers[0].address == "172.30.0.9" and known.containers[0].running
    assert known.targets == {"shop-web": "172.30.0.9:3000"}
    assert known.history == ("v0", "v1") and known.version == "v1"
    assert known.manual_lock == '{"by": "me"}'


def test_the_answer_of_a_fresh_host(config: DeployConfig) -> None:
    known = parse_facts(config, answer())
    assert (known.containers, known.targets, known.history, known.version) == ((), {}, (), None)


def test_a_host_without_traffic_needs_no_proxy(config: DeployConfig) -> None:
    jobs = config.select(roles=("jobs",))
    assert "proxy" not in [step.name for step in facts_script(jobs, "web-2").steps]
    assert "proxy" in [step.name for step in facts_script(config, "web-1").steps]
