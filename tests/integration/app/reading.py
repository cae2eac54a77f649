"""Every command that only looks, on a project that is deployed: JSON for programs, frames for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployer.output.record import READING
from tests.conftest import program
from tests.integration.app.project import Project, shown
from tests.integration.app.terminal import Terminal

JOB = {"schedule": "30 3 1 1 *", "cmd": "echo looked"}
ARGUMENTS: Mapping[str, Sequence[str]] = {
    "accessory logs": ("cache", "-n", "2"),
    "backup get": ("cache", "-o", "fetched"),
    "backup list": ("cache",),
    "jobs logs": ("look",),
    "proxy boot_config": ("get",),
}
"""What a command of the list has to be told besides."""
MORE = ("app stale_containers", "canary status", "docs", "docs --schema", "secrets print", "version")
"""What else only looks: it asks no host, or may change something with other words."""
ENDLESS = {"top"}
LINES = {"accessory logs", "app logs", "proxy logs"}
"""One document a line, as they may go on for ever."""
CLEAR = "\x1b[H\x1b[2J"


def prepare(project: Project) -> None:
    """An accessory, a job and a backup, so that there is something to be told of each."""
    project.config["jobs"] = {"look": JOB}
    project.config["backups"] = {"cache": {"kind": "volume", "path": "/srv"}}
    project.save()


def prints_json(project: Project) -> None:
    """Each of the product's own list, as `--json`."""
    project.ask(project.hosts[0])
    project.freehold("accessory", "boot", "cache")
    project.freehold("jobs", "run", "look")
    project.freehold("backup", "create", "cache")
    assert ARGUMENTS.keys() | LINES | ENDLESS <= READING
    names = sorted((READING | set(MORE)) - ENDLESS)
    with ThreadPoolExecutor(max_workers=3) as pool:
        answers = dict(zip(names, pool.map(lambda name: answer(project, name), names), strict=True))
    for name, found in answers.items():
        # Nothing is stale and nobody has the lock or tries a version; everything else has something to say.
        nothing = name in ("app stale_containers", "canary status", "diff", "lock status")
        assert bool(found) is not nothing, (name, found)
    assert {row["container"] for row in answers["accessory details"]} == {"shop-cache"}
    assert answers["proxy details"] and answers["version"].keys() == {"freehold"}
    assert answers["backup get"]["path"] == "fetched"
    assert (project.directory / "fetched").stat().st_size == answers["backup get"]["size"]


def answer(project: Project, name: str) -> Any:
    """What a command printed, as what it stands for."""
    done = project.freehold(*name.split(), *ARGUMENTS.get(name, ()), "--json")
    try:
        if name in LINES:
            return [json.loads(line) for line in done.stdout.splitlines()]
        return json.loads(done.stdout)
    except ValueError as exc:
        raise AssertionError(f"freehold {name} --json printed no JSON: {shown(done)}") from exc


def shows_frames(project: Project) -> None:
    """`top` and `status --watch` on a terminal, until Ctrl-C; the terminal is as it was."""
    for words in (("top",), ("status", "--watch")):
        argv = (project.rig.enter, program("freehold"), *words, "--interval", "0.5")
        screen = Terminal(argv, project.directory, size=(40, 150))
        before = screen.settings
        for _ in range(2):
            screen.expect(CLEAR)
            frame = screen.expect("shop-web-v1")
            assert "HOST" in frame and "web-1" in frame
        screen.type("\x03")
        assert screen.ended() == 0, screen.seen
        assert screen.settings == before
        # Neither left without a cursor nor on another screen, and nobody is told of an accident.
        assert "\x1b[?" not in screen.seen and "interrupted" not in screen.seen, screen.seen
        assert screen.close() == 0
    with project.start("top", "--json", "--interval", "0.5") as reading:
        project.until(lambda: project.printed.count("\n") >= 2, "two frames")
        frames = [json.loads(line) for line in project.printed.splitlines()[:2]]
        assert [[host["host"] for host in frame] for frame in frames] == [["web-1", "web-2"]] * 2
        assert reading.stop() == 143
