"""`freehold lab`: the commands of the lab.

The floor above gives `make_group` a function that makes a lab out of a deploy file; without it, the
machines come from `config/lab.yml`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from freehold.command import Context, Group, common_options, pass_context
from freehold.errors import FreeholdError, LabError, UsageError
from lab import accelerator, report
from lab import profile as boot
from lab.accesscli import ACCESS
from lab.choose import MIRROR, NAME_OPTION, Mirror, chosen, host_profile, lab_file
from lab.faultcli import faults
from lab.lab import Lab
from lab.mirror import default_name, from_file, unused
from lab.model import LabSpec
from lab.moments import Moments
from lab.places import list_labs
from lab.state import MachineState


def wanted_spec(context: Context, mirror: Mirror | None, destination: str | None) -> LabSpec:
    """The lab that the project's files ask for."""
    if mirror is not None:
        found = mirror(context, destination)
        if found is not None:
            for line in unused(lab_file(context), found):
                context.console.warn(line)
            return found
    file = lab_file(context)
    if not file.machines:
        raise UsageError(
            "nothing says which machines the lab has",
            hint="`machines:` in config/lab.yml, or `servers:` in config/deploy.yml",
        )
    return from_file(file, default_name(context.root), profile=host_profile(context))


def profiles(lab: Lab, machines: Sequence[MachineState]) -> dict[str, tuple[boot.Span, ...]]:
    """Each machine's last boot, as systemd tells it."""
    return {
        machine.name: boot.parse(lab.exec(machine.name, ["sh", "-c", boot.COMMAND], timeout=120).stdout)
        for machine in machines
    }


def make_group(mirror: Mirror | None = None) -> click.Group:
    """The group `lab`; `mirror` makes a lab of the deploy file for (context, destination)."""

    @click.group("lab", cls=Group)
    @click.pass_context
    def group(ctx: click.Context) -> None:
        """Virtual machines that mirror production on this computer."""
        ctx.meta[MIRROR] = mirror

    @group.command()
    @click.option("-d", "--destination", help="Mirror the hosts of this destination.")
    @click.option("--lab", "-l", "name", metavar="NAME", help="Call the lab so.")
    @click.option("--image", type=click.Path(path_type=Path, exists=True), help="A golden image's directory.")
    @click.option("--internet/--no-internet", default=None, help="Let the machines reach the internet.")
    @click.option("--uri", help="A libvirt of your own choice.")
    @click.option("--profile", is_flag=True, help="Show where the seconds of each boot went.")
    @common_options
    @pass_context
    def up(
        context: Context,
        destination: str | None,
        name: str | None,
        image: Path | None,
        internet: bool | None,
        uri: str | None,
        profile: bool,
    ) -> None:
        """Bring the lab up; machines that are up stay as they are."""
        spec = wanted_spec(context, mirror, destination)
        spec = replace(
            spec,
            name=name or spec.name,
            image=image.absolute() if image else spec.image,
            internet=spec.internet if internet is None else internet,
            uri=uri or spec.uri,
        )
        lab = Lab(spec.name, runner=context.runner, console=context.console, environ=context.environ)
        state = lab.up(spec)
        spans = profiles(lab, state.machines) if profile else {}
        if context.console.json:
            told = {name: boot.objects(found) for name, found in spans.items()}
            context.console.data({**report.inventory(state), **({"profile": told} if profile else {})})
            return
        for name, found in spans.items():
            context.console.info(f"\n{name}")
            context.console.table(boot.HEADERS, boot.rows(found))

    @group.command()
    @click.option("-d", "--destination", help="Mirror the hosts of this destination.")
    @common_options
    @pass_context
    def plan(context: Context, destination: str | None) -> None:
        """Show the machines that `lab up` would make; nothing is started."""
        choice = accelerator.choose(context.runner)
        planned = report.plan(wanted_spec(context, mirror, destination), choice.accelerator)
        if context.console.json:
            context.console.data(planned)
            return
        if choice.reason:
            context.console.info(f"emulated: {choice.reason}")
        context.console.table(report.PLAN_HEADERS, report.plan_rows(planned))

    for command in COMMANDS:
        group.add_command(command)
    return group


@click.command()
@click.option("--all", "every", is_flag=True, help="All labs of this user.")
@click.option("--abandon", is_flag=True, help="Leave what is on a libvirt that does not answer to `lab gc`.")
@NAME_OPTION
@common_options
@pass_context
def down(context: Context, name: str | None, every: bool, abandon: bool) -> None:
    """Remove the lab: machines, disks, keys, daemons; verified."""
    if name is None and not every and not list_labs():
        context.console.info("there is no lab")
        return
    failed: list[FreeholdError] = []
    labs = [chosen(context, known) for known in (list_labs() if every else (name,))]
    for lab in labs:
        if not lab.exists:
            others = ", ".join(list_labs())
            context.console.info(f"there is no lab {lab.name}" + (f"; there are {others}" if others else ""))
        try:
            for line in lab.down(abandon=abandon):
                context.console.warn(f"left to `freehold lab gc`: {line}")
        except FreeholdError as exc:
            if not every:
                raise
            context.console.error(exc)
            failed.append(exc)
    if failed:
        raise LabError(f"{len(failed)} of {len(labs)} labs are not gone")


@click.command()
@NAME_OPTION
@common_options
@pass_context
def status(context: Context, name: str | None) -> None:
    """Show every machine: state, address, boot stage, memory, disk."""
    lab = chosen(context, name)
    found = lab.status()
    if context.console.json:
        state = lab.state
        context.console.data(
            {**report.inventory(state), "machines": [report.status_object(item) for item in found]}
        )
        return
    context.console.table(report.HEADERS, [report.status_row(item) for item in found])


@click.command(name="list")
@common_options
@pass_context
def list_(context: Context) -> None:
    """List the labs of this user."""
    names = list_labs()
    if context.console.json:
        context.console.data(list(names))
        return
    for name in names:
        context.console.print(name)


@click.command()
@click.argument("machines", nargs=-1)
@click.option("--force", is_flag=True, help="Cut the power.")
@NAME_OPTION
@common_options
@pass_context
def stop(context: Context, machines: tuple[str, ...], force: bool, name: str | None) -> None:
    """Power machines off (all of them by default); their disks stay."""
    chosen(context, name).stop(machines, force=force)


@click.command()
@click.argument("machines", nargs=-1)
@NAME_OPTION
@common_options
@pass_context
def start(context: Context, machines: tuple[str, ...], name: str | None) -> None:
    """Start machines that are off and wait until they are ready."""
    chosen(context, name).start(machines)


@click.command()
@click.argument("snapshot", default="clean")
@NAME_OPTION
@common_options
@pass_context
def snapshot(context: Context, snapshot: str, name: str | None) -> None:
    """Keep memory and disks of all machines under a name."""
    Moments(chosen(context, name)).take(snapshot)


@click.command()
@click.argument("snapshot", default="")
@NAME_OPTION
@common_options
@pass_context
def restore(context: Context, snapshot: str, name: str | None) -> None:
    """Put all machines back to a snapshot (the last one by default)."""
    Moments(chosen(context, name)).restore(snapshot)


@click.command()
@click.argument("machines", nargs=-1)
@NAME_OPTION
@common_options
@pass_context
def reset(context: Context, machines: tuple[str, ...], name: str | None) -> None:
    """Begin again from the golden image with new disks."""
    chosen(context, name).reset(machines)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@common_options
@pass_context
def gc(context: Context, dry_run: bool) -> None:
    """Remove what crashed runs and `lab down --abandon` left: machines and processes that no lab has."""
    from lab.gc import collect, leftovers

    found = leftovers(context.environ)
    stays = {} if dry_run else collect(found, context.runner)
    gone = [item for item in found.everything if item not in stays]
    for item, why in stays.items():
        context.console.warn(f"{item} stays: {why}")
    if context.console.json:
        context.console.data(gone)
        return
    for item in gone:
        context.console.print(f"{'would remove' if dry_run else 'removed'} {item}")
    if not found.everything:
        context.console.info("nothing is left over")


COMMANDS: tuple[click.Command, ...] = (
    down,
    status,
    list_,
    *ACCESS,
    stop,
    start,
    snapshot,
    restore,
    reset,
    faults,
    gc,
)

lab = make_group()
