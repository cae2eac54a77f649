"""How an accessory's image gets to a host: it is there, it is pulled, or it is sent from here over SSH."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from deployer.commands import accessorylook
from deployer.commands.facts import HostFacts
from deployer.commands.registry import Access, access
from deployer.config import Accessory, DeployConfig
from deployer.delivery import over_ssh
from deployer.engine import Engine, local_engine
from deployer.fleet import Fleet
from deployer.images.base import import_tar, own_base
from deployer.report import must
from deployer.script import Script, Step
from deployer.transfer import FACTS, inspect_image
from freehold.console import Console
from freehold.errors import BuildError, HostError
from freehold.process import Runner

PULL_TIMEOUT = 1800.0


@dataclass
class AccessoryImages:
    """Images for the hosts of a fleet."""

    config: DeployConfig
    fleet: Fleet
    console: Console
    runner: Runner
    environ: Mapping[str, str]

    def bring(self, wanted: Mapping[str, Sequence[Accessory]], present: Mapping[str, Sequence[str]]) -> None:
        """Have the images of `wanted` accessories on their hosts, by pulling them or sending them.

        `present` names, by host, the accessories whose image is there already: where neither way
        leads to a newer one, those stay with what is there.
        """
        missing: dict[str, list[tuple[str, Sequence[str]]]] = {}
        by_name = {item.name: item for items in wanted.values() for item in items}
        for host, refused in self._pull(wanted).items():
            for name, said in refused.items():
                missing.setdefault(name, []).append((host, said))
        if not missing:
            return
        with ExitStack() as stack:
            engine = self._engine(stack)
            for name, hosts in missing.items():
                self._send(by_name[name], hosts, engine, present)

    def _pull(self, wanted: Mapping[str, Sequence[Accessory]]) -> dict[str, dict[str, Sequence[str]]]:
        # Several accessories may share an image.
        wanted = {host: list({item.image: item for item in items}.values()) for host, items in wanted.items()}
        scripts = {
            host: Script(tuple(accessorylook.pull_step(item, self._login(item)) for item in items))
            for host, items in wanted.items()
            if items
        }
        if not scripts:
            return {}
        answers = must(scripts, self.fleet.run(scripts, "Pulling images", timeout=PULL_TIMEOUT), "images")
        refused: dict[str, dict[str, Sequence[str]]] = {}
        for host, result in answers.items():
            for item in wanted[host]:
                lines = result.lines(f"pull-{item.name}")
                if lines[-1:] != (accessorylook.PULLED,):
                    refused.setdefault(host, {})[item.name] = lines[:-1]
        return refused

    def _login(self, accessory: Accessory) -> Access | None:
        """Who may pull it: by its own registry, or else the application's."""
        registry = accessory.registry or self.config.registry
        if registry is None or registry.local:
            return None
        return access(dataclasses.replace(self.config, registry=registry))

    def _engine(self, stack: ExitStack) -> Engine | None:
        try:
            return stack.enter_context(
                local_engine(runner=self.runner, console=self.console, environ=self.environ)
            )
        except BuildError as exc:
            self.console.detail(f"no image can come from this computer: {exc}")
            return None

    def _send(
        self,
        accessory: Accessory,
        hosts: Sequence[tuple[str, Sequence[str]]],
        engine: Engine | None,
        present: Mapping[str, Sequence[str]],
    ) -> None:
        reference = tagged(accessory.image)
        image = None
        if engine is not None:
            tar = own_base(reference)
            if tar is not None:
                import_tar(tar, reference, engine=engine, runner=self.runner, console=self.console)
            try:
                image = inspect_image(engine, reference, self.runner)
            except BuildError:
                image = None
        if engine is None or image is None:
            for host, said in hosts:
                if accessory.name in present.get(host, ()):
                    self.console.warn(
                        f"{accessory.image} could not be pulled; {host} goes on with what it has"
                    )
                    continue
                raise HostError(
                    f"{accessory.image} is not here, cannot be pulled, and this computer has none to send",
                    host=host,
                    step=f"image of {accessory.name}",
                    hint="is the name right, and its registry within reach (accessories.*.registry)? "
                    "Or build the image on this computer first",
                    details=said,
                )
            return
        names = [host for host, _ in hosts]
        question = dict.fromkeys(names, Script((Step("images", FACTS, "which layers it has"),)))
        answers = must(question, self.fleet.run(question, "Looking at the hosts", timeout=120), "images")
        facts = {host: HostFacts(host, images=result.output("images")) for host, result in answers.items()}
        over_ssh(
            image,
            facts,
            fleet=self.fleet,
            engine=engine,
            runner=self.runner,
            console=self.console,
            spread=self.config.builder.spread,
        )


def tagged(reference: str) -> str:
    """The reference with the tag that Docker would take."""
    last = reference.rsplit("/", 1)[-1]
    return reference if ":" in last or "@" in last else f"{reference}:latest"
