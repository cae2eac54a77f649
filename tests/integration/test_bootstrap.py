"""The recipe over SSH: a plain Debian becomes a prepared host, and a second run changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudinit.checks import run_checks
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.proxybinary import UPLOAD_PATH, local_caddy
from cloudinit.recipe import make_recipe
from cloudinit.script import StepEvent, as_script, parse_event
from tests.rig import Host, HostSpec, Rig


@pytest.fixture(params=["bookworm", "trixie"])
def plain(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A fresh server: root may log in by key, nothing is prepared."""
    (host,) = rig.boot(HostSpec(f"fresh-{request.param}", request.param, plain=True))
    yield host
    rig.remove(host.name)


@pytest.fixture
def profile(rig: Rig) -> HostProfile:
    key = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    return parse_profile(f"users:\n  - name: deploy\n    keys: [{key!r}]\n", "config/host.yml")


def bootstrap(rig: Rig, host: Host, profile: HostProfile, user: str) -> list[StepEvent]:
    """Run the recipe as `server bootstrap` does: one script on the standard input of one SSH session."""
    script = as_script(make_recipe(profile), offline=False)
    sudo = "" if user == "root" else "sudo "
    done = rig.control_run(("ssh", f"{user}@{host.name}", f"{sudo}bash -s"), stdin=script, timeout=300)
    events = [event for event in map(parse_event, done.stdout.splitlines()) if event is not None]
    return [event for event in events if event.state != "start"]


def upload_proxy(rig: Rig, host: Host) -> None:
    """The operator's own copy of the proxy, as the host cannot fetch one."""
    folder = UPLOAD_PATH.rpartition("/")[0]
    command = f"mkdir -p {folder}; cat >{UPLOAD_PATH}"
    rig.control_run(("ssh", f"root@{host.name}", command), stdin=local_caddy().read_bytes())


def test_bootstrap_makes_a_prepared_host_and_repeats_without_change(
    rig: Rig, plain: Host, profile: HostProfile
) -> None:
    upload_proxy(rig, plain)
    first = bootstrap(rig, plain, profile, "root")
    assert {event.state for event in first} <= {"ok", "changed"}
    assert "changed" in {event.state for event in first}
    assert rig.http(plain).text == "no site here"

    # Root's door is shut now; the recipe goes on through the user that it made.
    second = bootstrap(rig, plain, profile, "deploy")
    assert [event.step for event in second] == [event.step for event in first]
    assert [event.step for event in second if event.state != "ok"] == []

    results = run_checks(plain.testinfra(), profile)
    assert [f"{result.id}: {result.detail}" for result in results if not result.ok] == []

    plain.reboot()
    results = run_checks(plain.testinfra(), profile)
    assert [f"{result.id}: {result.detail}" for result in results if not result.ok] == []
