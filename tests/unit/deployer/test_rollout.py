"""What is left over once a version serves, and which version a rollback means."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from deployer.commands import docker
from deployer.commands.facts import Container, HostFacts, facts_script, parse_facts
from deployer.commands.serving import serving
from deployer.config import DeployConfig
from deployer.kept import common_version, leftovers, previous_version
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


def test_a_role_alone_leaves_the_others_what_they_have(config: DeployConfig) -> None:
    known = facts(
        "web-2",
        container("shop-web-v1"),
        *(container(f"shop-jobs-v{number}", "exited") for number in (1, 2, 3)),
        container("shop-jobs-v4"),
        history=("v1", "v2 jobs", "v3 jobs", "v4 jobs"),
    )
    left = leftovers(config.select(roles=["jobs"]), known, "v5", revived=False)
    assert [c.name for c in left.stop] == ["shop-jobs-v4"]
    assert left.remove == ("shop-jobs-v1", "shop-jobs-v2")
    # Image and files of v1 are those of web too.
    assert list(left.gone) == ["v2"]
    assert previous_version({"web-2": known}, config.select(roles=["jobs"])) == "v3"


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


def cut(target: str, *history: str) -> HostFacts:
    """Three versions run on a host, whose requests reach one of them."""
    numbers = {"v1": "172.30.0.1", "v2": "172.30.0.2", "v3": "172.30.0.3"}
    containers = (container(f"shop-web-{v}", address=address) for v, address in numbers.items())
    known = facts("web-1", *containers, history=history)
    return dataclasses.replace(known, targets={"shop-web": f"{numbers[target]}:3000"})


@pytest.mark.parametrize(
    ("target", "history", "before"),
    [
        # A commit that was not remembered; a way back that was cut off; both as they should be.
        ("v2", ("v1",), "v1"),
        ("v2", ("v1", "v2", "v3"), "v1"),
        ("v2", ("v1", "v2"), "v1"),
        ("v1", ("v1", "v2", "v1"), "v2"),
        ("v1", ("v1", "v2"), ""),
    ],
)
def test_what_serves_is_what_has_the_requests(
    config: DeployConfig, target: str, history: tuple[str, ...], before: str
) -> None:
    web = config.select(roles=("web",), hosts=("web-1",))
    known = cut(target, *history)
    assert serving(web, known) == {target} == {common_version({"web-1": known}, web)}
    try:
        found = previous_version({"web-1": known}, web)
    except InputError:
        found = ""
    assert found == before


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
    assert known.served("web") == ("v1", "v0") and known.version == "v1"
    assert known.manual_lock == '{"by": "me"}'


def test_the_version_is_that_of_the_name_whatever_a_label_says(tmp_path: Path) -> None:
    config = samples.config(tmp_path, labels={"version": "1"})
    lines = [
        f"container\t{name}\texited\t{role}\t\t1\t\town/shop:v1\tabc\ttoday\tExited"
        for name, role in (
            ("shop-web-v1", "web"),
            ("shop-web-v2_replaced_17", "web"),
            ("shop-jobs-1", "jobs"),
            ("renamed", "web"),
            ("quick_bell", ""),
        )
    ]
    found = parse_facts(config, answer(*lines)).containers
    assert [c.version for c in found] == ["v1", "v2", "1", "1", ""]
    argv = docker.run_argv(config, config.role("web"), "v2", "web-1")
    assert [word for word in argv if word.startswith("version=")] == ["version=1"]
    # It is a part of how the container is run, which a version is not.
    assert "--label version=1" in docker.manner(config, config.role("web"), "v2", "web-1")
    plain = samples.config(tmp_path)
    assert not [line for line in docker.manner(plain, plain.role("web"), "v2", "web-1") if "v2" in line]


def test_the_answer_of_a_fresh_host(config: DeployConfig) -> None:
    known = parse_facts(config, answer())
    assert (known.containers, known.targets, known.history, known.version) == ((), {}, (), None)


def test_a_host_without_traffic_needs_no_proxy(config: DeployConfig) -> None:
    jobs = config.select(roles=("jobs",))
    assert "proxy" not in [step.name for step in facts_script(jobs, "web-2").steps]
    assert "proxy" in [step.name for step in facts_script(config, "web-1").steps]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("v1",), ("v1",), "v1"),
        (("v1",), (), "v1"),
        ((), (), "nothing has been deployed yet"),
        (("v1",), ("v1", "v2 jobs"), "the roles are at different versions: web at v1, jobs at v2"),
        (
            ("v1", "v2"),
            ("v1",),
            "the hosts are at different versions: web at v2 on web-1, web at v1 on web-2, jobs at v1",
        ),
    ],
)
def test_the_version_that_is_booted_again(
    tmp_path: Path, first: tuple[str, ...], second: tuple[str, ...], expected: str
) -> None:
    known = {
        "web-1": samples.facts("web-1", history=first),
        "web-2": samples.facts("web-2", history=second),
    }
    try:
        found = common_version(known, samples.config(tmp_path))
    except InputError as exc:
        found = exc.message
    assert found == expected


V1, V2 = container("shop-web-v1", "exited", address="172.30.0.1"), container("shop-web-v2")


@pytest.mark.parametrize(
    ("roles", "first", "second", "message", "hint"),
    [
        (
            ("web", "jobs"),
            (V1, V2),
            (V1, V2, container("shop-jobs-v2")),
            "web-2 has no container of jobs at v1, which served before v2",
            "`freehold rollback v1 -r web` goes back where it is",
        ),
        (
            ("web",),
            (V1, V2),
            (V2,),
            "web-2 has no container of web at v1, which served before v2",
            "`freehold rollback v1 -h web-1` goes back where it is",
        ),
        (
            ("web",),
            (V2,),
            (V2,),
            "web-1 has no container of web at v1, which served before v2",
            "deploy that version instead",
        ),
    ],
    ids=["new role", "new host", "pruned"],
)
def test_a_version_that_is_not_everywhere_is_named(
    config: DeployConfig,
    roles: tuple[str, ...],
    first: tuple[Container, ...],
    second: tuple[Container, ...],
    message: str,
    hint: str,
) -> None:
    known = {
        "web-1": facts("web-1", *first, history=("v1", "v2")),
        "web-2": facts("web-2", *second, history=("v2",)),
    }
    with pytest.raises(InputError) as caught:
        previous_version(known, config.select(roles=roles))
    assert (caught.value.message, caught.value.hint) == (message, hint)
