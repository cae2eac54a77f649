"""The accessories' own story: look, have the image, make files, run, wait; and the way back.

A deploy does not touch them. Where a container is, `boot` leaves it as it is; `reboot` replaces it and
puts the old one back when the new one does not come up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.accessoryfiles import read_files
from deployer.accessoryimages import AccessoryImages
from deployer.commands import accessory as commands
from deployer.commands import accessoryfiles, accessorylook, phases
from deployer.commands.accessoryfiles import Content
from deployer.commands.accessorylook import Found
from deployer.commands.facts import docker_step, proxy_step
from deployer.config import Accessory, DeployConfig
from deployer.fleet import Answers, Fleet
from deployer.report import check, must, told
from deployer.script import Script, ScriptResult, Step
from freehold.console import Console
from freehold.process import Runner

LOOK_TIMEOUT = 120.0
CHANGE_TIMEOUT = 600.0
NEVER_RAN = ("", "created", "restarting", "dead")
"""States in which a container is replaced by `boot`: nothing works in one that crashes again and again."""

Placed = Mapping[str, tuple[Accessory, ...]]
"""Accessories by the host on which something is to be done with them."""


@dataclass
class Accessories:
    """What can be done with accessories on the hosts of a configuration."""

    config: DeployConfig
    fleet: Fleet
    console: Console
    runner: Runner
    who: str
    root: Path
    environ: Mapping[str, str]

    def placed(self, names: Sequence[str]) -> Placed:
        """The accessories of these names by host, in the order of the file."""
        wanted = [item for item in self.config.accessories if item.name in names]
        hosts = dict.fromkeys(host for item in wanted for host in item.hosts)
        return {host: tuple(item for item in wanted if host in item.hosts) for host in hosts}

    def look(self, placed: Placed) -> dict[str, Mapping[str, Found]]:
        """What each host has of its accessories; fails when one cannot be asked or is not prepared."""
        scripts = {}
        for host, items in placed.items():
            steps = [docker_step()]
            if any(item.proxy is not None for item in items):
                steps.append(proxy_step())
            scripts[host] = Script((*steps, accessorylook.look_step(items)))
        answers = must(
            scripts,
            self.fleet.run(scripts, "Looking at the hosts", timeout=LOOK_TIMEOUT),
            "nothing was changed",
        )
        return _parsed(answers)

    def seen(self, placed: Placed) -> Answers[Mapping[str, Found]]:
        """The same for those who only look: needs neither all hosts nor their proxies."""
        if not placed:
            return Answers({}, {})
        scripts = {
            host: Script((docker_step(), accessorylook.look_step(items))) for host, items in placed.items()
        }
        found = told(scripts, self.fleet.run(scripts, "Looking at the accessories", timeout=LOOK_TIMEOUT))
        return Answers(_parsed(found.values), found.errors)

    def boot(self, placed: Placed) -> dict[str, list[str]]:
        """Run what has no container yet, or one that never came up; the names that were started, by host."""
        found = self.look(placed)
        wanting: dict[str, tuple[Accessory, ...]] = {}
        for host, items in placed.items():
            for item in items:
                known = found[host].get(item.name, Found())
                if known.state not in NEVER_RAN:
                    self.console.info(f"  {host}: {item.service} is there already ({known.state})")
                else:
                    wanting[host] = (*wanting.get(host, ()), item)
        if not wanting:
            return {}
        lacking = {
            host: tuple(item for item in items if not found[host].get(item.name, Found()).image)
            for host, items in wanting.items()
        }
        self._images().bring(lacking, {})
        self._run(wanting, "Booting accessories", "Booted")
        return {host: [item.name for item in items] for host, items in wanting.items()}

    def reboot(self, placed: Placed) -> None:
        """New containers from new images. The image comes first, while the old container still runs."""
        found = self.look(placed)
        have = {host: [name for name, known in found[host].items() if known.image] for host in placed}
        self._images().bring(placed, have)
        self._run(placed, "Rebooting accessories", "Rebooted")

    def pull(self, placed: Placed) -> None:
        """Have the newest images on the hosts; containers stay as they are."""
        found = self.look(placed)
        have = {host: [name for name, known in found[host].items() if known.image] for host in placed}
        self._images().bring(placed, have)

    def _images(self) -> AccessoryImages:
        return AccessoryImages(self.config, self.fleet, self.console, self.runner, self.environ)

    def directories(self, placed: Placed) -> None:
        """Make the directories that are mounted."""
        self.change(
            placed,
            lambda item, host: [accessoryfiles.directories_step(item)],
            "Making directories",
            "Made directories of",
        )

    def upload(self, placed: Placed) -> None:
        """Write the files that are mounted; whoever has one open goes on reading the old one."""
        contents = self._contents(placed)
        self.change(
            placed,
            lambda item, host: [
                accessoryfiles.directories_step(item),
                *([accessoryfiles.files_step(item, contents[item.name])] if item.files else []),
            ],
            "Writing files",
            "Wrote files of",
        )

    def _contents(self, placed: Placed) -> dict[str, dict[str, Content]]:
        """What the files of each accessory hold, by its name."""
        names = {item.name for items in placed.values() for item in items}
        return {
            item.name: read_files(
                self.config,
                item,
                root=self.root,
                environ=self.environ,
                runner=self.runner,
                warn=self.console.warn,
            )
            for item in self.config.accessories
            if item.name in names
        }

    def _run(self, placed: Placed, title: str, verb: str) -> None:
        contents = self._contents(placed)
        scripts = {}
        for host, items in placed.items():
            steps: list[Step] = []
            for item in items:
                steps.append(accessoryfiles.directories_step(item))
                if item.files:
                    steps.append(accessoryfiles.files_step(item, contents[item.name]))
                steps.append(commands.env_step(self.config, item))
                steps.append(commands.start_step(self.config, item, host))
                steps += commands.ready_steps(self.config, item, host)
                steps.append(commands.settle_step(item))
            scripts[host] = self._script(steps, f"{verb} {_names(items)}")
        timeout = CHANGE_TIMEOUT + self.config.deploy_timeout * len(self.config.accessories)
        try:
            must(scripts, self.fleet.run(scripts, title, timeout=timeout), "accessories")
        except BaseException:
            self._put_back(placed)
            raise

    def _put_back(self, placed: Placed) -> None:
        """Whatever stepped aside for a container that did not come up has its place again."""
        self.fleet.cancelled.clear()
        scripts = {
            host: phases.guarded(
                self.config, [commands.put_back_step(item) for item in items], keep_going=True
            )
            for host, items in placed.items()
        }
        answers = self.fleet.run(scripts, "Putting accessories back", timeout=CHANGE_TIMEOUT)
        for error in [*answers.errors.values(), *check(scripts, answers.values)]:
            self.console.warn(f"could not be put back: {error.message}")

    def change(
        self, placed: Placed, steps: Callable[[Accessory, str], Sequence[Step]], title: str, verb: str
    ) -> None:
        """Run steps for every accessory on its hosts, at once."""
        scripts = {
            host: self._script(
                [step for item in items for step in steps(item, host)], f"{verb} {_names(items)}"
            )
            for host, items in placed.items()
        }
        must(scripts, self.fleet.run(scripts, title, timeout=CHANGE_TIMEOUT), "accessories")

    def start(self, placed: Placed) -> None:
        """Start stopped containers and wait until they are ready."""
        self.change(
            placed,
            lambda item, host: commands.start_again_steps(self.config, item, host),
            "Starting accessories",
            "Started",
        )

    def stop(self, placed: Placed) -> None:
        """Stop the containers; they stay."""
        self.change(placed, lambda item, host: [commands.stop_step(item)], "Stopping accessories", "Stopped")

    def restart(self, placed: Placed) -> None:
        """Stop and start the containers, with what they were made of."""
        self.change(
            placed,
            lambda item, host: [
                commands.stop_step(item),
                *commands.start_again_steps(self.config, item, host),
            ],
            "Restarting accessories",
            "Restarted",
        )

    def remove(
        self, placed: Placed, *, container: bool = True, image: bool = True, directory: bool = True
    ) -> None:
        """Containers, images and the directories below the home of the user go; volumes stay."""
        self.change(
            placed,
            lambda item, host: commands.remove_steps(
                self.config, item, container=container, image=image, directory=directory
            ),
            "Removing accessories",
            "Removed",
        )

    def _script(self, steps: Sequence[Step], line: str) -> Script:
        return phases.guarded(self.config, [*steps, phases.audit_step(self.config, f"{self.who} {line}")])


def _parsed(answers: Mapping[str, ScriptResult]) -> dict[str, Mapping[str, Found]]:
    return {host: accessorylook.parse_look(result.lines("accessories")) for host, result in answers.items()}


def _names(items: Sequence[Accessory]) -> str:
    return ", ".join(item.name for item in items) + (" accessories" if items[1:] else " accessory")
