"""A look into accessories: a terminal in one, and what it wrote by every flag of `accessory logs`."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Control, program
from tests.integration.app import images
from tests.integration.app.project import Project, squeezed
from tests.integration.app.terminal import Terminal
from tests.integration.test_app_commands import PROGRAM, resized
from tests.rig import Host, Rig

WROTE = "One fish,two fish,red herring,Blue FISH"
SAYS = f"import time; print({WROTE!r}.replace(',', chr(10)), flush=True); time.sleep(1000)"
STAMP = r"\d{4}-\d\d-\d\dT[\d:.]+Z "


@pytest.fixture
def project(rig: Rig, hosts: tuple[Host, Host], control: Control) -> Project:
    """With one accessory, on both hosts."""
    made = Project(rig, hosts, control.directory)
    made.config["accessories"] = {
        "pond": {
            "image": images.APP,
            "hosts": [host.name for host in hosts],
            "cmd": f'python3 -c "{SAYS}"',
            "env": {"clear": {"SHORE": "the north one"}},
            "volumes": ["pond-data:/data"],
            "options": {"stop-timeout": "1"},
        }
    }
    made.save()
    made.image("v1")
    made.freehold("accessory", "boot", "pond")
    return made


def test_a_terminal_in_an_accessory(project: Project) -> None:
    """Size, keys, Ctrl-C to the other side and the exit code: in its container, and in a new one."""
    first, second = project.hosts
    for where in ("--reuse", ""):
        words = ["accessory", "exec", "-i", *where.split(), "pond", "--", "python3", "-c", PROGRAM]
        screen = Terminal((project.rig.enter, program("freehold"), *words), project.directory, (30, 91))
        before = screen.settings
        screen.expect("size 91")
        screen.type("some words\r")
        screen.expect("got some words")
        # Docker's client listens for changes of the window a moment after the program has begun.
        assert any(resized(screen, columns) for columns in range(123, 143))
        # On one host alone, in the container that runs or beside it.
        count = "docker ps --quiet --filter ancestor=" + images.APP
        running = [len(host.exec(count).stdout.split()) for host in (first, second)]
        assert running == [1 if where else 2, 1]
        screen.type("\x03")
        screen.expect("interrupted")
        assert screen.ended() == 7
        assert screen.settings == before
        screen.close()
    # A new one has the accessory's environment and volumes, and goes when it ends.
    ask = "echo $SHORE >/data/seen; exec sh"
    words = ["accessory", "exec", "-i", "-h", "web-2", "pond", "--", "sh", "-c", ask]
    screen = Terminal((project.rig.enter, program("freehold"), *words), project.directory)
    screen.expect("# ")
    screen.type("cat /data/seen; test -t 0 && exit 5\r")
    screen.expect("the north one")
    assert screen.close() == 5
    assert second.exec("docker ps --all --format '{{.Names}}'").stdout == "shop-pond\n"
    assert second.exec("docker exec shop-pond cat /data/seen").stdout == "the north one\n"
    words = ["accessory", "exec", "-i", "--raw", "pond", "id"]
    assert "exclude each other" in squeezed(project.freehold(*words, expect=2))


def test_what_an_accessory_wrote_by_every_flag(project: Project) -> None:
    def logs(*words: str) -> list[str]:
        said = project.freehold("accessory", "logs", "pond", "-h", "web-1", *words).stdout
        return said.splitlines()

    wrote = WROTE.split(",")
    project.until(lambda: logs("-T") == wrote, "what it writes")
    assert logs("-T", "-n", "2") == logs("-T", "--lines", "2") == wrote[2:]
    assert logs("-T", "-n", "0") == []
    assert logs("-T", "-g", "fish") == wrote[:2]
    assert logs("-T", "-g", "fish", "-o", "-i") == [wrote[0], wrote[1], wrote[3]]
    assert logs("-T", "--grep", "FISH", "--grep-options", "-i -v") == [wrote[2]]
    # The last lines first, then what is looked for in them.
    assert logs("-T", "-n", "2", "-g", "fish", "-o", "-i -n") == ["2:Blue FISH"]
    assert logs("-T", "-s", "1h") == logs("--skip-timestamps", "--since", "1h") == wrote
    assert logs("-T", "-s", "2099-01-01T00:00:00Z") == []
    stamped = logs("-n", "1")
    assert re.fullmatch(f"{STAMP}Blue FISH", stamped[0]), stamped
    both = project.freehold("accessory", "logs", "pond", "-T", "-n", "1").stdout.splitlines()
    assert sorted(line.strip() for line in both) == ["web-1 | Blue FISH", "web-2 | Blue FISH"]
    words = ("accessory", "logs", "pond", "-h", "web-2", "-g", "x", "-o", "--nonsense")
    assert "unrecognized option '--nonsense'" in squeezed(project.freehold(*words, expect=1))
