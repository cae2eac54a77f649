"""What a lab has become: written, read again, locked, removed."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cloudinit.profile import parse_profile
from freehold.errors import LabError, LockedError
from lab.lab import _until
from lab.locks import locked
from lab.model import GuestPorts
from lab.places import lab_dir, labs_dir, list_labs
from lab.state import LabState, load_state, remove_files, save_state, taken_prefixes
from tests.unit.lab.samples import SPEC, lab_state


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


def saved() -> LabState:
    state = lab_state(labs_dir().parent)
    save_state(state)
    return state


def test_what_is_written_is_read_again() -> None:
    state = saved()
    assert load_state("shop") == state
    assert list_labs() == ("shop",)


def test_the_state_is_its_owners_only() -> None:
    saved()
    assert (lab_dir("shop") / "lab.json").stat().st_mode & 0o777 == 0o600


def test_no_lab_names_those_that_there_are() -> None:
    saved()
    with pytest.raises(LabError) as caught:
        load_state("shpo")
    assert "shop" in caught.value.hint


def test_a_lab_that_was_broken_off_is_not_its_own_near_miss() -> None:
    lab_dir("shop").mkdir(parents=True)
    with pytest.raises(LabError, match="broken off before it had a machine") as caught:
        load_state("shop")
    assert "lab down" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "machines": [{}]}', "\0"])
def test_a_damaged_state_says_how_to_go_on(text: str) -> None:
    lab_dir("shop").mkdir(parents=True)
    (lab_dir("shop") / "lab.json").write_text(text)
    with pytest.raises(LabError) as caught:
        load_state("shop")
    assert "lab down" in caught.value.hint
    assert taken_prefixes("other") == frozenset()


def test_an_unknown_machine_names_those_that_there_are() -> None:
    with pytest.raises(LabError) as caught:
        saved().machine("web-9")
    assert "web-1, web-2, db-1" in caught.value.hint


def test_a_prefix_is_taken_for_others_only() -> None:
    saved()
    assert taken_prefixes("other") == {"127.80.3"}
    assert taken_prefixes("shop") == frozenset()


def test_a_lock_is_held_against_other_processes_and_ends_with_them() -> None:
    program = (
        "from lab.locks import locked\nwith locked('shop'):\n    print('held', flush=True)\n    input()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError), locked("shop"):
        pass
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with locked("shop"):
        pass


def test_removing_leaves_no_file(tmp_path: Path) -> None:
    state = saved()
    state.runtime.mkdir(parents=True, exist_ok=True)
    with locked("shop"):
        remove_files("shop")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list_labs() == ()


def test_the_file_has_no_secret() -> None:
    saved()
    found = json.loads((lab_dir("shop") / "lab.json").read_text())
    assert "PRIVATE" not in json.dumps(found)


def test_the_deadline_stays_with_the_lab_and_an_old_state_has_the_default() -> None:
    save_state(lab_state(labs_dir().parent, spec=replace(SPEC, deadline=1200)))
    assert load_state("shop").deadline == 1200
    path = lab_dir("shop") / "lab.json"
    old = json.loads(path.read_text())
    del old["deadline"]
    path.write_text(json.dumps(old))
    assert load_state("shop").deadline == 600


def test_a_machines_own_ports_stay_with_it_and_an_old_state_has_the_usual_ones() -> None:
    profile = parse_profile("ssh: {port: 2200}")
    save_state(lab_state(labs_dir().parent, spec=replace(SPEC, profile=profile)))
    assert load_state("shop").machines[0].guest == GuestPorts(2200, 80, 443)
    path = lab_dir("shop") / "lab.json"
    old = json.loads(path.read_text())
    for machine in old["machines"]:
        del machine["guest"]
    path.write_text(json.dumps(old))
    assert load_state("shop").machines[0].guest == GuestPorts(22, 80, 443)


def test_a_machine_that_is_started_again_has_the_labs_deadline() -> None:
    state = replace(saved(), deadline=1200)
    now = time.monotonic()
    assert _until(state, None) - now >= 1200
    assert _until(state, 5) - now < 1000
