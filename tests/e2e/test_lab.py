"""The lab for real: machines under QEMU that mirror a deploy file; names, networks, snapshots, life."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from builder.spec import GiB
from freehold.errors import DeadlineError, LabError, LockedError
from lab.faults import Faults
from lab.lab import Lab
from lab.locks import locked
from lab.model import LabSpec
from lab.moments import Moments
from lab.wait import console_tail
from tests.e2e.production import FREEHOLD, Production
from tests.e2e.reach import fetch, reaches
from tests.e2e.trouble import Troubled
from tests.integration.app.terminal import Terminal

NAMES = ("web-1", "web-2", "job-1")
pytest_plugins = ["pytester"]
# A project's own tests, of a lab that is up.
INNER = """\
def test_first(lab_clean):
    assert lab_clean.exec("web-1", ["touch", "inner"]).returncode == 0

def test_second(lab_clean, lab_snapshot):
    assert lab_snapshot == "pytest"
    assert "inner" not in lab_clean.exec("web-1", ["ls"]).stdout.split()

def test_third(lab, lab_hosts):
    lab_hosts["web-1"].check_output("logger heard-on-the-machine")
    lab.exec("web-1", ["touch", "inner"])
    assert lab.name == "another"
"""
# On disk and in memory. Ten seconds after its last session logind empties /dev/shm of what a user has there.
MARK = "echo {0} > ~/file; echo {0} | sudo tee /run/memory"


@pytest.fixture(scope="module", autouse=True)
def begun(troubled: Troubled) -> None:
    """What `test_takedown` looks at boots meanwhile."""


def ssh(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", config, *words], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_machine_is_ready_under_both_its_names(lab: Lab) -> None:
    for name in (*NAMES, "web-1.example.com", "203.0.113.7", "203.0.113.8"):
        done = ssh(lab.state.ssh_config, name, "hostname")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == lab.state.machine(name).name


def boots(lab: Lab) -> list[str]:
    return [lab.exec(name, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout for name in NAMES]


def test_a_second_up_changes_nothing(lab: Lab, lab_spec: LabSpec) -> None:
    before, ran = lab.state, boots(lab)
    assert lab.up(lab_spec) == before
    assert boots(lab) == ran


def test_machines_have_the_roles_of_the_deploy_file(lab: Lab, lab_hosts: Mapping[str, Any]) -> None:
    assert [machine.roles for machine in lab.state.machines] == [("web",), ("web",), ("job",)]
    for name, host in lab_hosts.items():
        assert host.check_output("hostname") == lab.state.machine(name).name
        assert host.service("docker").is_running


def test_a_host_key_that_is_not_the_seeds_is_refused(lab: Lab, tmp_path: Path) -> None:
    state = lab.state
    wrong = state.known_hosts.read_text().splitlines()
    keys = [line.split(" ", 1)[1] for line in wrong]
    swapped = tmp_path / "known_hosts"
    swapped.write_text(
        "".join(f"{line.split(' ', 1)[0]} {key}\n" for line, key in zip(wrong, reversed(keys), strict=True))
    )
    config = tmp_path / "config"
    config.write_text(state.ssh_config.read_text().replace(str(state.known_hosts), str(swapped)))
    done = ssh(config, "web-1", "true")
    assert done.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stderr or "verification failed" in done.stderr


def test_machines_reach_each_other_by_name_and_by_production_address(lab: Lab) -> None:
    assert fetch(lab, "web-1", "http://web-2/").endswith(" 198.18.0.12")
    assert fetch(lab, "web-1", "http://203.0.113.7/").endswith(" 203.0.113.7")
    assert fetch(lab, "web-2", "http://web-1.example.com/").endswith(" 198.18.0.11")


def test_machines_have_no_way_out(lab: Lab) -> None:
    done = lab.exec("web-1", ["bash", "-c", "exec 3<>/dev/tcp/198.51.100.1/80"], check=False, timeout=60)
    assert "unreachable" in done.stderr


def test_this_computer_reaches_a_machines_proxy(lab: Lab) -> None:
    machine = lab.state.machine("web-1")
    with socket.create_connection((machine.address, machine.http_port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(12).startswith(b"HTTP/1.")


def test_the_status_shows_both_running(lab: Lab) -> None:
    found = lab.status()
    assert [(item.state, item.boot) for item in found] == [("running", "SSH answers")] * 3
    assert all(item.memory > 100_000_000 and item.disk > 0 for item in found)


def test_an_emulated_machines_services_have_time_to_come_up(lab: Lab) -> None:
    if lab.state.accelerator == "kvm":
        pytest.skip("nothing is emulated here")
    look = ["systemctl", "show", "--value", "-p", "DefaultTimeoutStartUSec", "-p", "DefaultDeviceTimeoutUSec"]
    assert [lab.exec(name, look).stdout.split() for name in NAMES] == [["10min"] * 2] * 3


def test_ssh_passes_the_command_and_how_it_ended_on(lab: Lab, production: Production) -> None:
    assert production.freehold("lab", "ssh", "203.0.113.7", "--", "hostname; id -un") == "web-2\ndeploy\n"
    production.freehold("lab", "ssh", "web-1", "exit 7", expect=7)


def test_a_snapshot_brings_memory_and_disk_back(lab: Lab) -> None:
    moments = Moments(lab)
    lab.exec("web-1", ["bash", "-c", MARK.format("before")])
    ran = boots(lab)
    moments.take("test")
    lab.exec("web-1", ["bash", "-c", MARK.format("after")])
    assert moments.restore() == "test"
    assert lab.exec("web-1", ["cat", "file", "/run/memory"]).stdout == "before\nbefore\n"
    assert boots(lab) == ran
    moments.forget("test")
    assert moments.names() == ()
    with pytest.raises(LabError, match="has no snapshot"):
        moments.restore()


def test_each_test_of_a_project_has_the_lab_as_it_was_first(
    lab: Lab, production: Production, pytester: pytest.Pytester
) -> None:
    """By the plugin of an inner run, which finds the lab up and leaves it."""
    ran = boots(lab)
    pytester.makeconftest(
        f"""
        import os
        from pathlib import Path
        import pytest
        from deployer.rehearsal import project_spec
        from freehold.process import LocalRunner

        @pytest.fixture(scope="session")
        def lab_spec():
            return project_spec(Path({str(production.root)!r}), runner=LocalRunner(), environ=os.environ)
        """
    )
    pytester.makepyfile(INNER)
    said = pytester.runpytest_inprocess("-p", "no:cacheprovider").stdout.str()
    assert "1 failed, 2 passed" in said, said
    # Behind the test's own lines, which have the word too.
    assert "heard-on-the-machine" in said.partition("web-1: journal")[2], said
    assert "job-1: console" in said
    assert boots(lab) == ran
    assert Moments(lab).names() == ()
    lab.exec("web-1", ["rm", "inner"])


def test_the_wire_between_machines_works_after_a_restore(lab: Lab) -> None:
    assert fetch(lab, "web-2", "http://web-1/").endswith(" 198.18.0.11")


def test_a_further_network_is_of_its_machines_alone(lab: Lab, production: Production) -> None:
    # A name leads to the first network that both are on, in the order of the one that asks.
    assert fetch(lab, "job-1", "http://web-1/").endswith(" 192.0.2.11")
    assert fetch(lab, "web-1", "http://job-1/").endswith(" 198.18.0.13")
    assert fetch(lab, "job-1", "http://web-2/").endswith(" 198.18.0.12")
    assert reaches(lab, "web-1", "192.0.2.20")
    assert not reaches(lab, "web-2", "192.0.2.20", limit=6)
    told = json.loads(production.freehold("lab", "status", "--json"))
    assert told["networks"] == [{"name": "back", "subnet": "192.0.2.0/24", "isolated": False}]
    assert [machine["networks"] for machine in told["machines"]] == [
        {"lan": "198.18.0.11", "back": "192.0.2.11"},
        {"lan": "198.18.0.12"},
        {"back": "192.0.2.20", "lan": "198.18.0.13"},
    ]


@pytest.fixture(scope="module")
def larger_disks(lab: Lab, production: Production) -> None:
    """9 GiB instead of 8 in config/lab.yml, while the machines run; the golden image has 4."""
    assert root_size(lab, "job-1") > 7.5 * GiB
    lab.exec("job-1", ["sh", "-c", "echo job > file; sync"])
    file = production.root / "config" / "lab.yml"
    file.write_text(f"disk: 9G\n{file.read_text()}")
    production.freehold("lab", "up")


def root_size(lab: Lab, machine: str) -> int:
    return int(lab.exec(machine, ["findmnt", "-bno", "SIZE", "/"]).stdout)


def test_a_machine_is_stopped_in_order_and_another_loses_its_power(
    lab: Lab, larger_disks: None, lab_faults: Faults, production: Production
) -> None:
    """One begins again from the image, the other comes back as it was; both boot at the same time."""
    lab.exec("web-2", ["touch", "file"])
    before = boots(lab)
    production.freehold("lab", "stop", "web-2")
    # The system's own last words: a cut of the power has none.
    assert any("Power down" in line for line in console_tail(lab.console_log("web-2"), 20))
    lab_faults.kill("job-1")
    assert [item.state for item in lab.status()] == ["running", "off", "off"]
    # It has started, and is waited for below.
    with pytest.raises(DeadlineError, match="web-2: not ready"):
        lab.reset(["web-2"], deadline=0)
    lab_faults.heal()
    production.freehold("lab", "start", "web-2")
    after = boots(lab)
    assert after[0] == before[0]
    assert not set(after[1:]) & set(before)
    # `larger_disks` was before: what grows while a machine runs is there after its next start.
    assert root_size(lab, "job-1") > 8.5 * GiB
    assert lab.exec("job-1", ["cat", "file"]).stdout == "job\n"
    # With the same keys, as ssh takes no others, and the disk that the file says by now.
    assert lab.exec("web-2", ["ls"]).stdout == ""
    assert root_size(lab, "web-2") > 8.5 * GiB
    production.freehold("lab", "start")
    assert boots(lab) == after


def test_a_terminal_on_the_console_types_and_reads(lab: Lab, production: Production) -> None:
    screen = Terminal((FREEHOLD, "lab", "console", "web-1"), production.root)

    def asked() -> bool:
        """A getty asks for a name after each line that it gets."""
        screen.type("\r")
        return screen.shows("login:", 2)

    assert any(asked() for _ in range(60)), screen.seen
    screen.type("\x1d")
    assert screen.close() == 0
    assert "needs a terminal" in production.freehold("lab", "console", "web-1", expect=2)


def test_files_go_there_and_back_with_their_folders(lab: Lab, production: Production, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "a file").write_text("there and back\n")
    production.freehold("lab", "cp", "-r", str(tmp_path / "sent"), "203.0.113.7:/tmp/")
    production.freehold("lab", "cp", "web-2:/tmp/sent/a file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "there and back\n"
    assert "has no machine 'nobody'" in production.freehold("lab", "cp", "nobody:/x", "/tmp/", expect=1)
    assert "No such file" in production.freehold("lab", "cp", "web-2:/none", str(tmp_path), expect=1)


def test_logs_inventories_addresses_and_the_picture_agree(lab: Lab, production: Production) -> None:
    machine = lab.state.machine("web-2")
    assert "Linux version" in production.freehold("lab", "logs", "web-2")
    assert len(production.freehold("lab", "logs", "web-2", "-n", "3").splitlines()) == 3
    told = json.loads(production.freehold("lab", "inventory"))
    assert told["machines"][1]["address"] == machine.address
    ansible = yaml.safe_load(production.freehold("lab", "inventory", "--ansible"))
    assert ansible["all"]["hosts"]["web-2"]["ansible_host"] == machine.address
    assert set(ansible["all"]["children"]) == {"web", "job"}
    assert f"{machine.address} web-2" in production.freehold("lab", "hosts")
    assert production.freehold("lab", "open", "203.0.113.7").strip() == f"http://{machine.address}:8080/"
    picture = ET.fromstring(production.freehold("lab", "graph"))
    assert machine.address in "".join(picture.itertext())


def test_the_boot_is_told_by_systemd_and_cloud_init(lab: Lab, production: Production) -> None:
    told = json.loads(production.freehold("lab", "up", "--profile", "--json", "-q"))
    spans = {span["name"]: span for span in told["profile"]["web-1"]}
    assert 0 < spans["docker.service"]["begin"] < spans["docker.service"]["end"]
    steps = [span for name, span in spans.items() if name.startswith("cloud-init: ")]
    assert len(steps) > 3
    assert all(0 < step["begin"] <= step["end"] for step in steps)


def test_another_command_cannot_change_the_lab_meanwhile(lab: Lab) -> None:
    with locked(lab.name), pytest.raises(LockedError):
        lab.stop()
