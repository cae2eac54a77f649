"""What a lab is for people and for other programs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from builder.spec import GiB
from cloudinit.profile import parse_profile
from freehold.errors import UsageError
from freehold.yamlfile import dump
from lab.faultcli import parse_rate, parse_share
from lab.faults import parse_seconds
from lab.model import GuestPorts
from lab.moments import check_snapshot_name
from lab.report import (
    HEADERS,
    MachineStatus,
    ansible,
    hosts_block,
    inventory,
    plan,
    status_object,
    status_row,
)
from tests.unit.lab.samples import SPEC, lab_state


def test_the_inventory_is_plain_json() -> None:
    found = json.loads(json.dumps(inventory(lab_state())))
    assert found["machines"][1]["address"] == "127.80.3.12"
    assert found["key"].endswith("id_ed25519")


def test_a_plan_says_where_each_machine_has_its_ssh_server() -> None:
    first, *others = SPEC.machines
    spec = replace(
        SPEC,
        profile=parse_profile("ssh: {port: 2200}"),
        machines=(replace(first, guest=GuestPorts(ssh=22)), *others),
    )
    assert [machine["ssh_port"] for machine in plan(spec, "tcg")["machines"]] == [22, 2200, 2200]


def test_a_plan_says_all_that_another_program_needs_to_make_the_same_machines() -> None:
    first, second, third = SPEC.machines
    spec = replace(
        SPEC,
        machines=(
            replace(first, disks=(10 * GiB, GiB)),
            replace(second, suite="bookworm"),
            replace(third, image=Path("/images/old")),
        ),
    )
    told = json.loads(json.dumps(plan(spec, "tcg")))["machines"]
    assert [machine["disks"] for machine in told] == [[10240, 1024], [], []]
    assert [(machine["suite"], machine["image"]) for machine in told] == [
        ("trixie", ""),
        ("bookworm", ""),
        ("trixie", "/images/old"),
    ]
    # web-2 is 203.0.113.7 in the deploy file; the others find that by its address in the lab.
    way = {"network": "lan", "address": "203.0.113.7", "via": "198.18.0.12"}
    assert [machine["production"] for machine in told] == [[way], [way | {"via": ""}], [way]]


def test_ansible_gets_a_group_for_each_role() -> None:
    found = yaml.safe_load(dump(ansible(lab_state())))
    assert set(found["all"]["children"]) == {"web", "job_runner", "db"}
    assert set(found["all"]["children"]["web"]["hosts"]) == {"web-1", "web-2"}
    assert "StrictHostKeyChecking=yes" in found["all"]["hosts"]["web-1"]["ansible_ssh_common_args"]


def test_the_hosts_block_is_one_line_per_machine() -> None:
    lines = hosts_block(lab_state()).splitlines()
    assert lines[1] == "127.80.3.11 web-1 web-1.shop.lab"
    assert len(lines) == 5
    assert "127.80.3.11 web-1.test" in hosts_block(lab_state(), "test")


def test_a_status_row_fits_its_headers() -> None:
    machine = lab_state().machines[1]
    row = status_row(MachineStatus(machine, "running", "SSH answers", 10**9, 0, ("clean",)))
    assert len(row) == len(HEADERS)
    assert row[6] == "1.0 GB"
    assert status_object(MachineStatus(machine, "off", "-", 0, 0, ()))["snapshots"] == []


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("2s", 2), ("1.5", 1.5), ("-3h", -10800)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_seconds, "soon"),
        (parse_seconds, "5 weeks"),
        (parse_share, "150%"),
        (parse_share, "half"),
        (parse_rate, "fast"),
        (parse_rate, "-1M"),
        (check_snapshot_name, "../x"),
        (check_snapshot_name, ""),
    ],
)
def test_bad_words_on_the_command_line(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_shares_and_rates() -> None:
    assert parse_share("5%") == pytest.approx(0.05)
    assert parse_rate("10M") == 10e6
