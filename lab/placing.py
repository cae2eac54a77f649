"""Where a lab goes: its image, its libvirts, its addresses."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace

from builder.image import Image, build_image, load_image
from builder.spec import ImageSpec
from freehold.console import Console
from freehold.errors import LabError
from freehold.files import new_private_dir
from freehold.process import Runner
from lab import accelerator, daemon
from lab.address import SOURCES
from lab.domain import Accelerator
from lab.hypervisors import assign, check_same, make_ready, planned, wanted
from lab.model import LabSpec
from lab.places import lab_dir
from lab.plan import Place, differing, held, plan_state, readdressed
from lab.preflight import free_prefix
from lab.runtime import claim
from lab.state import Hypervisor, LabState, runtime_of, save_state, taken_prefixes
from lab.virt import Virt


class Placing:
    """From a wish to a lab's state; `known` is what the lab was before."""

    def __init__(self, spec: LabSpec, known: LabState | None, *, runner: Runner, console: Console) -> None:
        self.spec, self.known, self.runner, self.console = spec, known, runner, console

    def check(self, environ: Mapping[str, str]) -> None:
        """Find the libvirts and what runs the processors; LabError before an image is built in vain."""
        spec, known = self.spec, self.known
        self._carriers, self._token = self._hypervisors()
        if known is not None and not spec.uri:
            self._connection = daemon.Connection(known.uri, known.private)
        elif self._carriers:
            self._connection = daemon.Connection(self._carriers[0].uri, False)
        else:
            self._connection = daemon.find(runtime_of(spec.name), uri=spec.uri, environ=environ)
            if not self._connection.private:
                Virt(self._connection.uri).close()
        kind = self._carriers[0].accelerator if self._carriers else self._accelerator()
        self._kind: Accelerator = "kvm" if kind == "kvm" else "tcg"

    def image(self) -> Image:
        """The golden image: the one that the lab's disks began with, or the one that is wanted."""
        spec, known = self.spec, self.known
        wanted = self._built(spec.suite) if spec.image is None else load_image(spec.image)
        if known is None or known.image == wanted.directory:
            return wanted
        # The disks are written over the image that they began with.
        self.console.warn(
            f"the lab {spec.name} keeps its image; `freehold lab down` and `up` put it on the new one"
        )
        return load_image(known.image)

    def _images(self) -> dict[str, str]:
        """The directories of the images of machines that do not run the lab's."""
        before = {item.name: item.image for item in self.known.machines} if self.known else {}
        found = {}
        for machine in self.spec.machines:
            if machine.image is None and machine.suite in (None, self.spec.suite):
                continue
            suite = machine.suite or self.spec.suite
            own = self._built(suite) if machine.image is None else load_image(machine.image)
            found[machine.name] = str(own.directory)
            if before.get(machine.name, found[machine.name]) != found[machine.name]:
                self.console.warn(f"{machine.name} keeps its image; `freehold lab down` and `up` change it")
        return found

    def _built(self, suite: str) -> Image:
        profile = self.spec.profile
        wish = ImageSpec(suite=suite, profile=profile and profile.admitting(*SOURCES))
        return build_image(wish, runner=self.runner, console=self.console)

    def plan(self, image: Image, alive: Collection[str]) -> LabState:
        """What the lab will be, after `check`; `alive` names the machines that run.

        A new lab is written down before anything is made of it. One that is there keeps what was written
        until the machines that it loses are gone.
        """
        spec, known = self.spec, self.known
        self._alive = alive
        images = self._images()
        place = Place(
            directory=new_private_dir(lab_dir(spec.name)),
            runtime=claim(spec.name),
            prefix=known.prefix if known else free_prefix(spec, taken_prefixes(spec.name)),
            uri=self._connection.uri,
            private=self._connection.private,
            accelerator=self._kind,
            image=image.directory,
            hypervisors=self._carriers,
            token=self._token,
            images=images,
        )
        state = plan_state(
            spec,
            place,
            {machine.name: machine for machine in known.machines} if known else {},
            known.networks if known else (),
        )
        kept = self._held(state)
        if changed := differing(state, kept):
            self.console.warn(
                f"the lab {spec.name} keeps its {', '.join(changed)}; `freehold lab down` and `up` change it"
            )
        self._begin(kept)
        return kept

    def _begin(self, state: LabState) -> None:
        if self.known is None:
            save_state(state)

    def _held(self, state: LabState) -> LabState:
        return held(state, self.known, self._alive) if self.known else state

    def _accelerator(self) -> str:
        if self.spec.accelerator == "tcg":
            return "tcg"
        choice = accelerator.choose(self.runner)
        if self.spec.accelerator == "kvm" and choice.reason:
            raise LabError(
                f"the lab {self.spec.name} asks for KVM, but {choice.reason}",
                hint="`accelerator: auto` takes what there is",
            )
        if choice.accelerator == "tcg":
            self.console.info(f"no KVM ({choice.reason}): the machines are emulated, which is slower")
        return choice.accelerator

    def _hypervisors(self) -> tuple[tuple[Hypervisor, ...], str]:
        """The libvirts that carry the lab, and its mark there; none where it carries itself."""
        spec, known = self.spec, self.known
        if known is not None:
            check_same(spec, known)
            return known.hypervisors, known.token
        uris = wanted(spec)
        if not uris:
            return (), ""
        token = secrets.token_hex(3)
        with Virt(*uris.values()) as virt:
            return planned(spec, token, virt, self.runner), token

    def placed(self, virt: Virt, state: LabState) -> LabState:
        """The state with the addresses that its hypervisors have room for."""
        ready = replace(state, hypervisors=make_ready(virt, state, self.runner))
        state = self._held(readdressed(self.spec, ready))
        self._begin(state)
        assign(virt, state)
        return state
