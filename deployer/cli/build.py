"""`freehold build …`: the image built, pushed, brought to the hosts; the builder looked at."""

from __future__ import annotations

import dataclasses

import click

from deployer.cli.options import Target, no_cache, reading, registry
from freehold.command import Context, Group

output_option = click.option(
    "--output", default=None, help="Other place for the result: a type of `buildx --output`."
)


@click.group(cls=Group)
def build() -> None:
    """Build the application's image and bring it to the registry or to the hosts."""


@build.command()
@output_option
@no_cache
@registry
@reading
def push(context: Context, target: Target, output: str | None, no_cache: bool, registry: bool | None) -> None:
    """Build, and push to the registry where one is used; without one the image stays on this computer."""
    from deployer.cli.deploy import code_version_of, shipping_of
    from deployer.cli.session import open_session

    session = open_session(context, target)
    version = code_version_of(context, session)
    shipping = shipping_of(context, session, version, registry=registry, no_cache=no_cache)
    shipping = dataclasses.replace(shipping, output=output)
    session.hooks.pre_connect()
    session.hooks.run("pre-build")
    with shipping.built() as built:
        _tell(
            context, shipping.image, "pushed" if shipping.registry and not output else "built", built.arches
        )


@build.command()
@registry
@reading
def pull(context: Context, target: Target, registry: bool | None) -> None:
    """Bring the image of this version to the hosts: from the registry, or from this computer over SSH."""
    from deployer.cli.deploy import code_version_of, shipping_of
    from deployer.cli.session import open_session
    from deployer.rollout import Rollout
    from deployer.transfer import FACTS

    session = open_session(context, target)
    version = code_version_of(context, session)
    shipping = shipping_of(context, session, version, registry=registry)
    with session.fleet() as fleet:
        facts = Rollout(
            session.config, fleet, context.console, version, session.who(), images_question=FACTS
        ).look()
        with shipping.kept() as built:
            built.deliver(fleet)(facts)
    _tell(context, shipping.image, "pulled" if shipping.registry else "sent", ())


@build.command()
@no_cache
@registry
@reading
def deliver(context: Context, target: Target, no_cache: bool, registry: bool | None) -> None:
    """Build, and bring the image to the hosts; nothing that runs is touched."""
    from deployer.cli.deploy import code_version_of, shipping_of
    from deployer.cli.session import open_session
    from deployer.rollout import Rollout
    from deployer.transfer import FACTS

    session = open_session(context, target)
    version = code_version_of(context, session)
    shipping = shipping_of(context, session, version, registry=registry, no_cache=no_cache)
    with session.fleet() as fleet:
        facts = Rollout(
            session.config, fleet, context.console, version, session.who(), images_question=FACTS
        ).look()
        session.hooks.run("pre-build")
        with shipping.built(facts) as built:
            built.deliver(fleet)(facts)
            _tell(context, shipping.image, "delivered", built.arches)


@build.command()
@output_option
@no_cache
@reading
def dev(context: Context, target: Target, output: str | None, no_cache: bool) -> None:
    """Build the working tree as it is, with `-dirty` behind the tag; the image stays on this computer."""
    from deployer.cli.deploy import code_version_of, shipping_of
    from deployer.cli.session import open_session
    from deployer.images.version import git

    session = open_session(context, target)
    version = code_version_of(context, session, quiet=True)
    status = git(session.root, context.runner, "status", "--porcelain", check=False).stdout
    changed = [line[3:] for line in status.splitlines() if line.strip()]
    if changed:
        context.console.warn(f"not committed, but in the image: {', '.join(changed)}")
    shipping = shipping_of(context, session, version, registry=False, no_cache=no_cache)
    shipping = dataclasses.replace(shipping, suffix="-dirty", dirty=True, output=output)
    with shipping.built() as built:
        _tell(context, f"{shipping.image}-dirty", "built", built.arches)


@build.command()
@reading
def create(context: Context, target: Target) -> None:
    """Make the builder that the configuration needs beside the engine's own, where there is one."""
    from deployer.cli.deploy import shipping_of
    from deployer.cli.session import open_session
    from deployer.images.build import make_builder

    session = open_session(context, target)
    shipping = shipping_of(context, session, "", login=False)
    with shipping.engine() as engine:
        builder = shipping.builder(engine)
        if builder is None:
            where = engine.host if engine.remote else "this computer"
            context.console.info(f"nothing to make: the Docker Engine of {where} builds by itself")
            return
        made = make_builder(builder, engine=engine, runner=context.runner, console=context.console)
        context.console.success(
            f"made the builder {builder.name}" if made else f"the builder {builder.name} is there"
        )


@build.command()
@reading
def remove(context: Context, target: Target) -> None:
    """Remove the builder that `create` or a build has made."""
    from deployer.cli.deploy import shipping_of
    from deployer.cli.session import open_session
    from deployer.images.build import remove_builders

    session = open_session(context, target)
    shipping = shipping_of(context, session, "", login=False)
    with shipping.engine() as engine:
        builder = shipping.builder(engine)
        if builder is None:
            context.console.info("nothing to remove: the Docker Engine builds by itself")
            return
        removed = remove_builders(builder, engine=engine, runner=context.runner)
    context.console.success(
        f"removed {', '.join(removed)}" if removed else f"there is no builder {builder.name}"
    )


@build.command()
@reading
def details(context: Context, target: Target) -> None:
    """Show what builds: the engine, its architecture, and the tool that reaches it."""
    from deployer.cli.deploy import shipping_of
    from deployer.cli.session import open_session
    from deployer.images.build import find_tool

    session = open_session(context, target)
    config = session.config
    shipping = shipping_of(context, session, "", login=False)
    with shipping.engine() as engine:
        builder = shipping.builder(engine)
        found = {
            "builder": "pack" if config.builder.pack else builder.name if builder else "the engine's own",
            "tool": "pack" if config.builder.pack else find_tool(context.runner, engine),
            "engine": engine.version,
            "where": engine.host if engine.remote else "private" if engine.private else "this computer",
            "arch": engine.arch,
            "builds for": ", ".join(config.builder.arch) or engine.arch,
            "image": config.repository,
            "way": "registry" if shipping.registry else "ssh",
        }
    if context.console.json:
        context.console.data(found)
    else:
        context.console.table(("what", "is"), list(found.items()))


def _tell(context: Context, image: str, verb: str, arches: tuple[str, ...]) -> None:
    if context.console.json:
        context.console.data({"image": image, "result": verb, "arch": list(arches)})
    else:
        context.console.success(f"{verb} {image}")
