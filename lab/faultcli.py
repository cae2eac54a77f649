"""`freehold lab fault`: breaking things on purpose, and healing them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from builder.spec import parse_size
from freehold.command import Context, Group, common_options, pass_context
from freehold.errors import UsageError
from lab.choose import NAME_OPTION, chosen
from lab.faults import Faults, parse_seconds

CABLE = click.option(
    "--cable",
    type=click.Choice(["both", "lan", "management"]),
    default="both",
    help="lan: between the machines; management: from this computer (SSH, HTTP).",
)
NETWORK = click.option("--network", default="", help="Of the cables between the machines only this one's.")


@click.group("fault", cls=Group)
def faults() -> None:
    """Break something as production would, and heal it."""


def fault(name: str | None = None, **settings: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A command of the group: its function gets the lab's faults in front of its own parameters."""

    def make(function: Callable[..., None]) -> click.Command:
        # `wraps` carries the parameters that click's decorators left on the function.
        @functools.wraps(function)
        def command(context: Context, /, name: str | None, **parameters: Any) -> None:
            function(Faults(chosen(context, name)), **parameters)

        return faults.command(name, **settings)(NAME_OPTION(common_options(pass_context(command))))

    return make


@fault()
@click.argument("machine")
@CABLE
@NETWORK
def cut(faults: Faults, machine: str, cable: str, network: str) -> None:
    """Pull a machine's cables."""
    faults.cut(machine, **meant(cable, network))


def meant(cable: str, network: str) -> dict[str, Any]:
    """Which cables: `--network` alone means none that leads to this computer."""
    if network and cable == "management":
        raise UsageError("`--network` is of the cables between the machines", hint="leave `--cable` out")
    lan = cable != "management"
    return {"lan": lan, "management": cable != "lan" and not network, "network": network}


@fault()
@click.argument("machine")
@CABLE
@NETWORK
def mend(faults: Faults, machine: str, cable: str, network: str) -> None:
    """Put a machine's cables back."""
    faults.mend(machine, **meant(cable, network))


@fault()
@click.argument("machine")
@click.option("--delay", default="0", help="Each way, such as 50ms.")
@click.option("--jitter", default="0", help="At most this much more, such as 10ms.")
@click.option("--loss", default="0%", help="Share of frames that are lost, such as 5%.")
@click.option("--rate", default="0", help="Bits per second, such as 10M.")
@NETWORK
def slow(faults: Faults, machine: str, delay: str, jitter: str, loss: str, rate: str, network: str) -> None:
    """Spoil a machine's links to the others."""
    faults.slow(
        machine,
        delay=parse_seconds(delay),
        jitter=parse_seconds(jitter),
        loss=parse_share(loss),
        rate=parse_rate(rate),
        network=network,
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


@fault()
@click.argument("groups", nargs=-1, required=True, metavar="MACHINE,... ...")
def partition(faults: Faults, groups: tuple[str, ...]) -> None:
    """Keep groups of machines apart; machines that no group names are one more group."""
    faults.partition(*[group.split(",") for group in groups])


@fault()
@click.argument("machine")
def pause(faults: Faults, machine: str) -> None:
    """Freeze a machine."""
    faults.pause(machine)


@fault()
@click.argument("machine")
def resume(faults: Faults, machine: str) -> None:
    """Let a frozen machine go on."""
    faults.resume(machine)


@fault()
@click.argument("machine")
def kill(faults: Faults, machine: str) -> None:
    """Cut a machine's power; `lab start` or `lab fault heal` switches it on again."""
    faults.kill(machine)


@fault("power-cycle")
@click.argument("machine")
@click.option("--wait/--no-wait", default=True, help="Return when the machine is ready again.")
def power_cycle(faults: Faults, machine: str, wait: bool) -> None:
    """Press a machine's reset button."""
    faults.power_cycle(machine, wait=wait)


@fault("fill-disk")
@click.argument("machine")
@click.option("--leave", default="0", help="Space to leave free, such as 10M.")
def fill_disk(faults: Faults, machine: str, leave: str) -> None:
    """Take all free space of a machine's disk."""
    faults.fill_disk(machine, leave=parse_size(leave))


@fault("stop-docker")
@click.argument("machine")
def stop_docker(faults: Faults, machine: str) -> None:
    """Stop Docker on a machine."""
    faults.stop_docker(machine)


@fault("skew-clock", context_settings={"ignore_unknown_options": True})
@click.argument("machine")
@click.argument("offset")
def skew_clock(faults: Faults, machine: str, offset: str) -> None:
    """Set a machine's clock off, such as 10m or -3h."""
    faults.skew_clock(machine, parse_seconds(offset))


@fault()
def heal(faults: Faults) -> None:
    """Undo every fault."""
    faults.heal()
