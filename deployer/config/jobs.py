"""Scheduled jobs: the `jobs` section, which Kamal does not have."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from deployer.config.schedule import calendar
from freehold.settings import fail, read, setting
from freehold.wording import describe
from freehold.yamlfile import Node
from freehold.zones import read_zone

NAME = r"[a-z0-9][a-z0-9_-]*"


@dataclass(frozen=True)
class JobSettings:
    """A command that runs by the clock, once, on one host, in a container of the version that serves."""

    schedule: str = setting(
        help="When, as cron writes it: minute hour day month weekday; or @hourly, @daily, @weekly, @monthly.",
        example="30 3 * * *",
    )
    cmd: str = setting(help="Command, run by a shell in a container of its own.", example="bin/rails cleanup")
    role: str | None = setting(
        None, help="Its environment, volumes and options are this role's; the primary role's where absent."
    )
    host: str | None = setting(None, help="Where it runs; the first host of the role where absent.")
    timezone: str = setting(
        "UTC",
        parse=read_zone,
        schema={"type": "string"},
        help="Time zone of the schedule.",
        example="Europe/Berlin",
    )
    timeout: float = setting(
        3600.0, parse=shorthand.seconds, schema=shorthand.SECONDS, help="Seconds after which it is ended."
    )
    catch_up: bool = setting(True, help="Run once after the host comes back when it was off at the time.")

    def __post_init__(self) -> None:
        calendar(self.schedule, self.timezone)
        if not self.cmd.strip():
            raise ValueError("'cmd' is empty")


@dataclass(frozen=True)
class Job:
    """A job as it is to run. `host` is chosen once for the whole file, whatever hosts are selected later."""

    name: str
    schedule: str
    calendar: tuple[str, ...]
    cmd: str
    role: str
    host: str
    timeout: float
    catch_up: bool


def jobs(node: Node) -> Mapping[str, JobSettings]:
    """Jobs by name."""
    if node.kind != "map":
        fail(node, f"expected a map of jobs, found {describe(node)}")
    found = {}
    for name, entry in node.items():
        if not re.fullmatch(NAME, name):
            fail(
                entry.key_where or entry,
                f"{name!r} is no name for a job",
                hint="lowercase letters, digits, '-' and '_'",
            )
        found[name] = read(JobSettings, entry)
    return types.MappingProxyType(found)
