"""A lab whose libvirt is dead, silent or back again: real sockets, and libvirt's own driver for tests."""

import io
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.command import Context, run
from freehold.console import Console
from freehold.errors import LabError
from freehold.process import LocalRunner
from lab import abandoned, reach, takedown
from lab.abandoned import Abandoned
from lab.cli import lab
from lab.natnet import lan_name, lan_xml
from lab.places import labs_dir, list_labs
from lab.state import Hypervisor, LabState, runtime_of, save_state
from lab.takedown import take_down
from lab.virt import Virt
from lab.virtnet import Networks
from tests.unit.lab.samples import lab_state

TEST = "test:///default"
DEAD = "qemu+unix:///system?socket=/nonexistent/libvirt-sock"


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"FREEHOLD_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def virt() -> Iterator[Virt]:
    """libvirt's test driver: what is made there stays while this connection is open."""
    with Virt(TEST) as opened:
        yield opened


def nat_lab(*uris: str) -> LabState:
    """A lab of hypervisors, without machines on them, with the network that `lab up` makes first."""
    there = tuple(Hypervisor(str(number), uri, "tcg", "", Path("/pool")) for number, uri in enumerate(uris))
    state = replace(
        lab_state(labs_dir().parent), hypervisors=there, token="abc123", private=False, uri=uris[0]
    )
    save_state(state)
    return state


def owned(virt: Virt) -> list[str]:
    return [item.name for item in Networks(virt.connection(TEST)).owned()]


def call(*words: str) -> tuple[int, str]:
    out = io.StringIO()
    return run(lab, words, Context(console=Console(out=out, err=out))), out.getvalue()


def test_what_answers_is_emptied_and_what_does_not_is_named(virt: Virt) -> None:
    state = nat_lab(DEAD, TEST)
    Networks(virt.connection(TEST)).ensure(lan_name(state), lan_xml(state))
    assert owned(virt) == ["freehold-shop-abc123-lan"]
    code, said = call("down")
    assert code == 1
    assert "the lab shop is not gone" in said
    assert DEAD in said
    assert TEST not in said
    assert "hint: `freehold lab down --abandon`" in said
    assert owned(virt) == []
    # It is still there, so that `down` can be said again.
    assert list_labs() == ("shop",)


def test_an_abandoned_lab_is_gone_and_gc_takes_the_rest_when_it_answers(virt: Virt) -> None:
    state = nat_lab(DEAD)
    code, said = call("down", "--abandon")
    assert code == 0
    assert f"left to `freehold lab gc`: {DEAD}" in said
    assert list_labs() == ()
    code, said = call("gc")
    assert code == 0
    assert f"the lab shop at {DEAD} stays" in said
    assert "removed" not in said
    # The hypervisor is back: the same note, with a libvirt that answers.
    (note,) = abandoned.notes()
    note.path.write_text(note.path.read_text().replace(DEAD, TEST))
    Networks(virt.connection(TEST)).ensure(lan_name(state), lan_xml(state))
    assert f"would remove the lab shop at {TEST}" in call("gc", "--dry-run")[1]
    assert owned(virt) != []
    code, said = call("gc")
    assert (code, said) == (0, f"removed the lab shop at {TEST}\n")
    assert owned(virt) == []
    assert not abandoned.folder().exists()


def test_another_labs_things_stay(virt: Virt) -> None:
    state = nat_lab(TEST)
    other = replace(state, token="fffff0")
    Networks(virt.connection(TEST)).ensure(lan_name(other), lan_xml(other))
    assert take_down("shop", LocalRunner()) == ()
    assert owned(virt) == ["freehold-shop-fffff0-lan"]
    Networks(virt.connection(TEST)).remove(lan_name(other))


def test_a_libvirt_that_is_silent_does_not_hold_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ANSWERING", 1.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen()
        uri = f"qemu+unix:///system?socket={tmp_path}/silent"
        nat_lab(uri)
        with pytest.raises(LabError) as caught:
            take_down("shop", LocalRunner())
        assert "no answer in 1 s" in caught.value.details[0]
        assert take_down("shop", LocalRunner(), abandon=True)
        assert abandoned.notes()[0].uris == (uri,)


def test_a_computer_that_ssh_does_not_reach_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(LabError, match=r"cannot be reached: .*refused"):
            reach.at(f"qemu+ssh://127.0.0.1:{port}/system", lambda _virt: None, runner=LocalRunner())


def test_machines_of_a_lab_that_is_up_again_are_left_alone(virt: Virt) -> None:
    state = lab_state(labs_dir().parent)
    abandoned.save(Abandoned(state.name, str(state.directory), state.token, (TEST,)))
    xml = f"""<domain type="test"><name>freehold-shop-web-1</name><memory>1024</memory>
    <metadata><own:lab xmlns:own="urn:freehold:lab" name="shop" directory="{state.directory}"/></metadata>
    <os><type>hvm</type></os></domain>"""
    virt.define(xml)
    (note,) = abandoned.notes()
    save_state(state)
    assert abandoned.collect(note, LocalRunner()) == {}
    assert [item.name for item in virt.owned()] == ["freehold-shop-web-1"]
    assert abandoned.notes() == ()


def test_a_note_that_cannot_be_read_is_named() -> None:
    note = Abandoned("shop", "/x", "abc123", ())
    note.path.parent.mkdir(parents=True)
    note.path.write_text("{}")
    code, said = call("gc")
    assert code == 1
    assert str(note.path) in said


def test_a_lab_of_another_version_is_emptied_all_the_same(virt: Virt) -> None:
    state = nat_lab(TEST, DEAD)
    Networks(virt.connection(TEST)).ensure(lan_name(state), lan_xml(state))
    file = state.directory / "lab.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99, "machines": "elsewhere"}))
    code, said = call("down")
    assert (code, owned(virt)) == (1, [])
    assert DEAD in said
    assert TEST not in said
    code, said = call("down", "--abandon")
    assert code == 0
    assert abandoned.notes() == (Abandoned("shop", str(state.directory), "abc123", (DEAD,)),)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1, "uri": 5, "hypervisors": [7]}'])
def test_a_lab_whose_file_is_damaged_is_not_said_to_be_gone(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No libvirt of this computer is asked.
    monkeypatch.setattr(takedown, "_near", tuple)
    state = nat_lab(DEAD)
    (state.directory / "lab.json").write_text(text)
    code, said = call("down")
    assert code == 1
    assert "nothing is verified" in said
    assert list_labs() == ("shop",)
    assert call("down", "--abandon")[0] == 0
    assert list_labs() == ()


def test_machines_of_a_damaged_lab_are_found_by_their_marks(
    virt: Virt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takedown, "_near", lambda: (TEST,))
    state = nat_lab(DEAD)
    for made in (state, replace(state, token="fffff0", directory=Path("/elsewhere"))):
        Networks(virt.connection(TEST)).ensure(lan_name(made), lan_xml(made))
    (state.directory / "lab.json").write_text("{")
    assert call("down", "--abandon")[0] == 0
    assert owned(virt) == ["freehold-shop-fffff0-lan"]
    Networks(virt.connection(TEST)).remove("freehold-shop-fffff0-lan")


def test_a_damaged_lab_with_a_daemon_of_its_own_ends_with_its_processes() -> None:
    state = lab_state(labs_dir().parent)
    save_state(state)
    (state.directory / "lab.json").write_text("")
    (runtime_of("shop") / "virt").mkdir(parents=True)
    assert call("down")[0] == 0
    assert list_labs() == ()
