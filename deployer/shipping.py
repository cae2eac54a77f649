"""How one version of the image comes to the hosts: built and sent over SSH, or through a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deployer.architectures import builds
from deployer.commands.facts import HostFacts
from deployer.commands.registry import Access, access
from deployer.config import DeployConfig
from deployer.delivery import check_space, over_ssh
from deployer.engine import Engine, local_engine, own_arch, remote_engine
from deployer.fleet import Fleet
from deployer.images.build import build_app, source_directory
from deployer.images.builder import Builder
from deployer.images.context import exposed_secrets, far
from deployer.images.dockerfile import import_bases, refuse_bases, set_by_args
from deployer.images.push import logged_in, push_image
from deployer.images.request import TO_ENGINE, BuildRequest
from deployer.images.wanted import (
    beside,
    builds_remotely,
    effective,
    latest_name,
    left_out,
    make_request,
    place,
)
from deployer.pulling import through_registry, uses_registry
from deployer.rollout import Deliver, Delivery
from deployer.transfer import LocalImage, parse_facts
from deployer.transfer.image import inspect_image
from freehold.console import Console
from freehold.process import Runner


@dataclass(frozen=True)
class Shipping:
    """The way of one version. `registry`: it is pushed and pulled; otherwise it travels over SSH."""

    config: DeployConfig
    version: str
    root: Path
    runner: Runner
    console: Console
    environ: Mapping[str, str]
    registry: bool = False
    no_cache: bool = False
    login: Access | None = field(default=None, repr=False)
    output: str | None = None
    """Where else the result goes: a type of `buildx --output`."""
    suffix: str = ""
    """Behind the tag of the image."""
    dirty: bool = False
    """The working tree is built, not what is committed."""

    @property
    def image(self) -> str:
        """What the image is called everywhere."""
        return self.config.image_name(self.version)

    @contextmanager
    def built(self, facts: Mapping[str, HostFacts] | None = None) -> Iterator[Built]:
        """Build, and push where a registry is used. BuildError tells what went wrong.

        Over SSH an image is built for each architecture that both the file names and a host has.
        """
        images: dict[str, tuple[LocalImage, Engine]] = {}
        with ExitStack() as stack:
            client = stack.enter_context(logged_in(self.login, self.environ))
            directory = self._source()
            self._warn_of_secrets(directory)
            self._tell_left_out()
            for request, group, engine in self.requests(stack, directory, facts):
                dockerfile = directory / request.dockerfile
                if request.builder is not None:
                    refuse_bases(dockerfile, request.builder)
                import_bases(dockerfile, engine=engine, runner=self.runner, console=self.console)
                several = len(self.config.builder.arch) > 1
                title = f"Building {self.image}" + (f" for {', '.join(group)}" if several else "")
                with self.console.step(title):
                    image = build_app(
                        self.config,
                        request,
                        engine=engine,
                        runner=self.runner,
                        console=self.console,
                        environ=self.environ,
                        client_env=client,
                    )
                if image is None:
                    continue
                images[image.arch] = (image, engine)
                if self.registry and self.output is None:
                    with self.console.step(f"Pushing {self.image}"):
                        push_image(
                            (self.image, latest_name(self.config)),
                            engine=engine,
                            runner=self.runner,
                            env=client,
                            on_line=self.console.detail,
                        )
            yield Built(self, images)

    def requests(
        self, stack: ExitStack, directory: Path, facts: Mapping[str, HostFacts] | None
    ) -> Iterator[tuple[BuildRequest, Sequence[str], Engine]]:
        """One build after the other: what, for which architectures, by which engine, which `stack` ends."""
        # All in one where an index can be kept; an engine keeps one image under a name.
        together = self.registry or self.output not in (None, TO_ENGINE)
        own = own_arch() if self.dirty else None
        # Like the context, below the project; the one is not below the other.
        dockerfile = directory / self.config.builder.dockerfile
        engines: dict[bool, Engine] = {}
        for group in builds(self.config, facts, together=together, own=own):
            away = builds_remotely(self.config, own_arch(), group)
            if away not in engines:
                engines[away] = stack.enter_context(self.engine(group))
            engine = engines[away]
            request = make_request(
                self.config,
                self.version,
                directory,
                engine,
                arches=group,
                output=self.output or self._place(engine, group),
                suffix=self.suffix,
                no_cache=self.no_cache or _misleading(engine, dockerfile),
                registry=self.registry,
                environ=self.environ,
            )
            yield request, group, engine

    def fetched(self, fleet: Fleet) -> Deliver:
        """The delivery of an image that is in the registry, or on the hosts, already."""
        if not self.registry:
            return lambda _: Delivery(self.image)
        return lambda known: through_registry(self.config, self.image, self.login, known, fleet=fleet)

    @contextmanager
    def kept(self) -> Iterator[Built]:
        """The image as it was built before: on this computer, or in the registry."""
        if self.registry:
            yield Built(self, {})
            return
        arches = self.config.builder.arch
        places = {builds_remotely(self.config, own_arch(), (arch,)): (arch,) for arch in arches}
        with ExitStack() as stack:
            images: dict[str, tuple[LocalImage, Engine]] = {}
            for group in places.values() or [()]:
                engine = stack.enter_context(self.engine(group))
                image = inspect_image(engine, self.image, self.runner)
                images[image.arch] = (image, engine)
            yield Built(self, images)

    def builder(self, engine: Engine) -> Builder | None:
        """The builder beside the engine's own that the builds of the file need."""
        arches = self.config.builder.arch if self.registry else ()
        return beside(self._effective(), engine, arches=arches, environ=self.environ)

    def _effective(self) -> DeployConfig:
        return effective(self.config, registry=self.registry, environ=self.environ)

    def _place(self, engine: Engine, arches: Sequence[str]) -> str:
        if not self.registry:
            return TO_ENGINE
        return place(self._effective(), engine, arches=arches, environ=self.environ)

    @contextmanager
    def engine(self, arches: Sequence[str] | None = None) -> Iterator[Engine]:
        """The engine that builds for these architectures (default: for those of the file), here or far away.

        BuildError: none answers.
        """
        remote = self.config.builder.remote
        if remote and builds_remotely(self.config, own_arch(), arches):
            with remote_engine(remote, runner=self.runner, console=self.console) as engine:
                yield engine
            return
        with local_engine(
            runner=self.runner,
            console=self.console,
            environ=self.environ,
            podman=self.config.builder.driver == "podman",
        ) as engine:
            yield engine

    def _warn_of_secrets(self, directory: Path) -> None:
        context = self.config.builder.context or "."
        if far(context):
            return
        found = exposed_secrets(directory / context, self.config.builder.dockerfile)
        if found:
            self.console.warn(
                f"the build sees {', '.join(found)}, and `COPY . .` puts it into the image; "
                f"write {found[0].partition('/')[0]} into .dockerignore"
            )

    def _source(self) -> Path:
        if self.dirty:
            return self.root
        return source_directory(
            self.config, root=self.root, runner=self.runner, console=self.console, environ=self.environ
        )

    def _tell_left_out(self) -> None:
        without = left_out(self.config, registry=self.registry, environ=self.environ)
        for key, why in without.items():
            self.console.info(f"  without builder.{key}: {why}")


def _misleading(engine: Engine, dockerfile: Path) -> bool:
    """Whether the engine's cache could give an image of other arguments."""
    if engine.program != "podman" or not dockerfile.is_file():
        return False
    return set_by_args(dockerfile.read_text(encoding="utf-8", errors="replace"))


@dataclass(frozen=True)
class Built:
    """Images that were built just now, by architecture; none where the build pushed them itself."""

    shipping: Shipping
    images: Mapping[str, tuple[LocalImage, Engine]]

    @property
    def arches(self) -> tuple[str, ...]:
        """What it was built for."""
        return tuple(self.images) or self.shipping.config.builder.arch

    def deliver(self, fleet: Fleet) -> Deliver:
        """What brings them to the hosts."""
        ship = self.shipping
        if ship.registry:

            def pull(known: Mapping[str, HostFacts]) -> Delivery:
                check_space(known, [image for image, _ in self.images.values()])
                return ship.fetched(fleet)(known)

            return pull

        def send(known: Mapping[str, HostFacts]) -> Delivery:
            for arch, (image, engine) in self.images.items():
                # A host of another processor is told so by the plan, where there is one image only.
                meant = known
                if len(self.images) > 1:
                    meant = {host: k for host, k in known.items() if parse_facts(k.images).arch == arch}
                over_ssh(
                    image,
                    meant,
                    fleet=fleet,
                    engine=engine,
                    runner=ship.runner,
                    console=ship.console,
                    spread=ship.config.builder.spread,
                )
            return Delivery(ship.image)

        return send


def make_shipping(
    config: DeployConfig,
    version: str,
    *,
    root: Path,
    runner: Runner,
    console: Console,
    environ: Mapping[str, str],
    asked: bool | None = None,
    lab: bool = False,
    no_cache: bool = False,
    log_in: bool = True,
) -> Shipping:
    """The way that the file and the command line ask for. ConfigError: a credential is missing."""
    registry = uses_registry(config, asked=asked, lab=lab)
    return Shipping(
        config,
        version,
        root,
        runner,
        console,
        environ,
        registry=registry,
        no_cache=no_cache,
        login=access(config) if registry and log_in else None,
    )
