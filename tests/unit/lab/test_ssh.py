"""The lab's ssh_config as the real ssh reads it."""

import subprocess
from pathlib import Path

import pytest

from lab.ssh import ssh_command, ssh_config
from tests.unit.lab.samples import lab_state


def resolved(path: Path, host: str) -> dict[str, str]:
    done = subprocess.run(["ssh", "-G", "-F", path, host], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ssh_config"
    path.write_text(ssh_config(lab_state()))
    return path


@pytest.mark.parametrize("host", ["web-2", "203.0.113.7"])
def test_a_machine_is_reached_with_the_labs_key_and_known_hosts(config: Path, host: str) -> None:
    found = resolved(config, host)
    assert (found["hostname"], found["port"], found["user"]) == ("127.80.3.12", "2222", "deploy")
    assert found["identityfile"] == "/state/labs/shop/id_ed25519"
    assert found["identitiesonly"] == "yes"
    assert found["userknownhostsfile"] == "/state/labs/shop/known_hosts"
    assert found["stricthostkeychecking"] in ("yes", "true")


def test_no_other_host_is_touched(config: Path) -> None:
    found = resolved(config, "example.org")
    assert found["hostname"] == "example.org"
    assert found["userknownhostsfile"] != "/state/labs/shop/known_hosts"


def test_a_command_reaches_the_machine_word_by_word() -> None:
    state = lab_state()
    command = ssh_command(state, state.machines[0], ["printf", "%s\n", "a b", "$HOME"])
    assert command[-1] == "printf '%s\n' 'a b' '$HOME'"
