"""`freehold lab fault`: breaking things on purpose, and healing them."""

from __future__ import annotations

import click

from builder.spec import parse_size
from freehold.command import Context, common_options, pass_context
from freehold.errors import UsageError
from lab.choose import NAME_OPTION, chosen
from lab.faults import Faults, parse_seconds

CABLE = click.option(
    "--cable",
    type=click.Choice(["both", "lan", "management"]),
    default="both",
    help="lan: between the machines; management: from this computer (SSH, HTTP).",
)


def _faults(context: Context, name: str | None) -> Faults:
    return Faults(chosen(context, name))


@click.group("fault")
def faults() -> None:
    """Break something as production would, and heal it."""


@faults.command()
@click.argument("machine")
@CABLE
@NAME_OPTION
@common_options
@pass_context
def cut(context: Context, machine: str, cable: str, name: str | None) -> None:
    """Pull a machine's cables."""
    _faults(context, name).cut(machine, lan=cable != "management", management=cable != "lan")


@faults.command()
@click.argument("machine")
@CABLE
@NAME_OPTION
@common_options
@pass_context
def mend(context: Context, machine: str, cable: str, name: str | None) -> None:
    """Put a machine's cables back."""
    _faults(context, name).mend(machine, lan=cable != "management", management=cable != "lan")


@faults.command()
@click.argument("machine")
@click.option("--delay", default="0", help="Each way, such as 50ms.")
@click.option("--jitter", default="0", help="At most this much more, such as 10ms.")
@click.option("--loss", default="0%", help="Share of frames that are lost, such as 5%.")
@click.option("--rate", default="0", help="Bits per second, such as 10M.")
@NAME_OPTION
@common_options
@pass_context
def slow(
    context: Context, machine: str, delay: str, jitter: str, loss: str, rate: str, name: str | None
) -> None:
    """Spoil a machine's link to the others."""
    _faults(context, name).slow(
        machine,
        delay=parse_seconds(delay),
        jitter=parse_seconds(jitter),
        loss=parse_share(loss),
        rate=parse_rate(rate),
    )


def parse_share(text: str) -> float:
    """A share of `5%` or `0.05`."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"{text!r} is no share", hint="write 5% or 0.05") from None
    if not 0 <= share <= 1:
        raise UsageError(f"{text} is not between 0% and 100%")
    return share


def parse_rate(text: str) -> float:
    """Bits per second of `64k`, `10M`, `1G` (powers of 1000)."""
    factor = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower(), 1)
    try:
        rate = float(text if factor == 1 else text[:-1]) * factor
    except ValueError:
        raise UsageError(f"{text!r} is no rate", hint="write 64k, 10M or 1G bits per second") from None
    if rate < 0:
        raise UsageError("a rate cannot be negative")
    return rate


@faults.command()
@click.argument("groups", nargs=-1, required=True, metavar="MACHINE,... ...")
@NAME_OPTION
@common_options
@pass_context
def partition(context: Context, groups: tuple[str, ...], name: str | None) -> None:
    """Keep groups of machines apart; machines that no group names are one more group."""
    _faults(context, name).partition(*[group.split(",") for group in groups])


@faults.command()
@click.argument("machine")
@NAME_OPTION
@common_options
@pass_context
def pause(context: Context, machine: str, name: str | None) -> None:
    """Freeze a machine."""
    _faults(context, name).pause(machine)


@faults.command()
@click.argument("machine")
@NAME_OPTION
@common_options
@pass_context
def resume(context: Context, machine: str, name: str | None) -> None:
    """Let a frozen machine go on."""
    _faults(context, name).resume(machine)


@faults.command()
@click.argument("machine")
@NAME_OPTION
@common_options
@pass_context
def kill(context: Context, machine: str, name: str | None) -> None:
    """Cut a machine's power; `freehold lab start` switches it on again."""
    _faults(context, name).kill(machine)


@faults.command("power-cycle")
@click.argument("machine")
@click.option("--wait/--no-wait", default=True, help="Return when the machine is ready again.")
@NAME_OPTION
@common_options
@pass_context
def power_cycle(context: Context, machine: str, wait: bool, name: str | None) -> None:
    """Press a machine's reset button."""
    _faults(context, name).power_cycle(machine, wait=wait)


@faults.command("fill-disk")
@click.argument("machine")
@click.option("--leave", default="0", help="Space to leave free, such as 10M.")
@NAME_OPTION
@common_options
@pass_context
def fill_disk(context: Context, machine: str, leave: str, name: str | None) -> None:
    """Take all free space of a machine's disk."""
    _faults(context, name).fill_disk(machine, leave=parse_size(leave))


@faults.command("stop-docker")
@click.argument("machine")
@NAME_OPTION
@common_options
@pass_context
def stop_docker(context: Context, machine: str, name: str | None) -> None:
    """Stop Docker on a machine."""
    _faults(context, name).stop_docker(machine)


@faults.command("skew-clock", context_settings={"ignore_unknown_options": True})
@click.argument("machine")
@click.argument("offset")
@NAME_OPTION
@common_options
@pass_context
def skew_clock(context: Context, machine: str, offset: str, name: str | None) -> None:
    """Set a machine's clock off, such as 10m or -3h."""
    _faults(context, name).skew_clock(machine, parse_seconds(offset))


@faults.command()
@NAME_OPTION
@common_options
@pass_context
def heal(context: Context, name: str | None) -> None:
    """Undo every fault."""
    _faults(context, name).heal()
