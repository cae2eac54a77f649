"""A host without a machine: the real scripts run in bash, with a Docker and a Caddy that only keep books."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployer.commands import layout
from deployer.fleet import Answers, Fleet
from deployer.script import Script, ScriptResult, StreamParser
from freehold.errors import FreeholdError

DOCKER = r"""#!/usr/bin/python3
import json, re, sys
BOOK = "@BOOK@"
words = sys.argv[1:]
book = json.load(open(BOOK))

def find(name):
    return next((key for key, one in book.items() if name in (key, one["id"])), None)

def named():
    found = [find(word) for word in words[1:] if not word.startswith("--") and not word.isdigit()]
    return [name for name in found if name is not None], all(found)

status = 0
if words[0] == "inspect":
    name, form = find(words[-1]), words[words.index("--format") + 1]
    if name is None:
        sys.exit("Error: No such object: " + words[-1])
    one = book[name]
    if form == "{{.Id}}":
        print(one["id"])
    elif form == "{{.State.Running}}":
        print(str(one["state"] == "running").lower())
    elif form.startswith("{{.State.Status}}|"):
        more = ["0", "0", ""] if "RestartCount" in form else []
        print("|".join([one["state"], *more, one["address"]]))
    elif "RestartPolicy" in form:
        print(one.get("restart", "unless-stopped"))
    elif form.startswith("{{.State.Status}}"):
        print(one["state"])
    else:
        print(one["address"])
elif words[0] == "ps":
    names = [word[5:] for word in words if word.startswith("name=")]
    ids = [word[3:] for word in words if word.startswith("id=")]
    for name, one in book.items():
        if "--all" not in words and one["state"] != "running":
            continue
        if names and not any(re.search(wanted, name) for wanted in names):
            continue
        if ids and one["id"] not in ids:
            continue
        if any("{{.ID}}|" in word for word in words):
            print("|".join([one["id"], name, "freehold", one["address"]]))
        elif any(word.startswith("container\t") for word in words):
            service, _, rest = name.partition("-")
            role = rest.partition("-")[0]
            version = name.partition("_replaced_")[0].rpartition("-")[2]
            image = service + ":" + version
            cells = [name, one["state"], role, "", version, one["address"], image, one["id"], "today", "Up"]
            print("container", *cells, sep="\t")
        else:
            print(one["id"] if "--quiet" in words or "{{.ID}}" in words else name)
elif words[0] == "run":
    name = words[words.index("--name") + 1]
    if name in book:
        sys.exit("Conflict. The container name is already in use: " + name)
    address = words[words.index("--ip") + 1] if "--ip" in words else ""
    one = {"id": "run-%d-%s" % (len(open(BOOK + ".log").readlines()), name), "address": address}
    book[name] = {**one, "state": "running"}
    print(one["id"])
elif words[0] == "rename":
    if words[2] in book:
        sys.exit("Conflict. The container name is already in use: " + words[2])
    book[words[2]] = book.pop(find(words[1]))
elif words[0] == "update":
    book[find(words[3])]["restart"] = words[2]
elif words[0] in ("start", "stop", "rm"):
    names, well = named()
    status = 0 if well else 1
    for name in names:
        if words[0] == "rm":
            del book[name]
        else:
            book[name]["state"] = "running" if words[0] == "start" else "exited"
with open(BOOK, "w") as file:
    json.dump(book, file)
with open(BOOK + ".log", "a") as file:
    print(*words, file=file)
sys.exit(status)
"""


class StandIn:
    """`state` is the host's directory of that name; containers are put in with `container`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "host"
        self.state = self.directory / "state"
        self.proxy = self.state / "proxy"
        self.app = self.state / "apps" / "shop"
        for path in (self.proxy / "targets", self.app / "versions", self.directory / "locks"):
            path.mkdir(parents=True)
        self.programs = self.directory / "bin"
        self.programs.mkdir()
        self._book = self.directory / "containers.json"
        self._book.write_text("{}")
        Path(f"{self._book}.log").touch()
        self.program("docker", DOCKER.replace("@BOOK@", str(self._book)))
        # Units are started where there is no systemd of the test's own.
        for name in ("caddy", "ss", "systemd-run", "sudo"):
            self.program(name, "#!/bin/sh\n")

    def program(self, name: str, text: str) -> None:
        """Have a program that says this."""
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def container(self, name: str, address: str = "", state: str = "running") -> None:
        """There is a container of this name."""
        book = json.loads(self._book.read_text())
        book[name] = {"id": f"id-of-{name}", "state": state, "address": address}
        self._book.write_text(json.dumps(book))

    @property
    def containers(self) -> Mapping[str, str]:
        """The states of all containers."""
        return {name: one["state"] for name, one in json.loads(self._book.read_text()).items()}

    @property
    def ids(self) -> Mapping[str, str]:
        """The ids of all containers."""
        return {name: one["id"] for name, one in json.loads(self._book.read_text()).items()}

    @property
    def restarts(self) -> Mapping[str, str]:
        """Whether Docker starts them again."""
        book = json.loads(self._book.read_text())
        return {name: one.get("restart", "unless-stopped") for name, one in book.items()}

    @property
    def docker(self) -> list[str]:
        """What Docker was told so far."""
        return Path(f"{self._book}.log").read_text().splitlines()

    def served(self, *lines: str) -> None:
        """These versions served: `v1`, `v2 web`."""
        (self.app / "history").write_text("".join(f"T {line}\n" for line in lines))

    @property
    def history(self) -> list[str]:
        """The same as it is now."""
        path = self.app / "history"
        return [line.split(" ", 1)[1] for line in path.read_text().splitlines()] if path.exists() else []

    def target(self, name: str = "shop-web", address: str | None = None) -> str:
        """Where a role's requests go; set where an address is given."""
        path = self.proxy / "targets" / name
        if address is not None:
            path.write_text(f"{address}\n")
        return path.read_text().strip() if path.exists() else ""

    def version(self, name: str, **files: str) -> Path:
        """The directory of a version, with these files in it."""
        path = self.app / "versions" / name
        path.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (path / file).write_text(text)
        return path

    def routes(self) -> dict[str, str]:
        """The proxy's sites and routes."""
        found = [*self.proxy.glob("sites/*.caddy"), *self.proxy.glob("routes/*/*.caddy")]
        return {str(path.relative_to(self.proxy)): path.read_text() for path in found}

    def text(self, text: str) -> str:
        """A script's text with this host's places in it."""
        text = text.replace(f"CADDY={layout.CADDY}\n", f"CADDY={self.programs}/caddy\n")
        text = text.replace(layout.LOCKS, str(self.directory / "locks"))
        return text.replace(layout.STATE, str(self.state))

    def run(self, script: Script) -> ScriptResult:
        """Run a script to its end."""
        done = self.shell(script.render())
        parser = StreamParser("web-1")
        for line in done.stdout.splitlines():
            parser.feed(line)
        return parser.finish(done.returncode)

    def words(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run some of the words that scripts are written with, as a step would."""
        return self.shell(f"{layout.library()}\nset -eo pipefail\n{text}\n")

    def shell(self, text: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a text."""
        return subprocess.run(
            ["bash", "-s"],
            input=self.text(text),
            text=True,
            capture_output=True,
            env={"PATH": f"{self.programs}:/usr/bin:/bin"},
            **more,
        )


class Hosts(Fleet):
    """Takes every script for done, or fails with `error`; the lock is lost as one of this title begins."""

    def __init__(self, lost_at: str = "") -> None:
        self.cancelled, self.lock_lost = threading.Event(), threading.Event()
        self.lock_host, self.lost_at = "web-1", lost_at
        self.ran: list[str] = []
        self.error: FreeholdError | None = None

    def run(self, scripts: Mapping[str, Script], title: str, **_: object) -> Answers[ScriptResult]:
        if self.lost_at and title.startswith(self.lost_at):
            self.lock_lost.set()
        self.ran.append(title)
        if self.error is not None:
            return Answers({}, dict.fromkeys(scripts, self.error))
        return Answers({host: ScriptResult(host, 0, ()) for host in scripts}, {})
