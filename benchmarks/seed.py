"""A seed ISO, from the profile to the bytes of the volume, in this process."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cloudinit import schemas
from cloudinit.iso import iso_bytes
from cloudinit.keys import parse_public_key
from cloudinit.profile import parse_profile
from cloudinit.recipe import make_recipe
from cloudinit.seed import Seed, render_seed
from freehold.yamlfile import parse

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"
PROFILE = f"""\
users: [{{name: deploy, keys: [{KEY}]}}]
firewall: {{open: [5432 from 198.51.100.0/24]}}
machines: {{web-1: {{network: {{interfaces: [{{addresses: [192.0.2.10/24], gateway4: 192.0.2.1}}]}}}}}}
"""
LIMIT = 0.050


@dataclass(frozen=True)
class Result:
    """Median seconds of each part; the limit is for the ISO."""

    seconds: dict[str, float]
    rounds: int

    @property
    def good(self) -> bool:
        """Whether a seed ISO kept the limit, whichever image it is for."""
        return all(taken < LIMIT for name, taken in self.seconds.items() if name.startswith("ISO"))

    def as_data(self) -> dict[str, Any]:
        """For --json."""
        return {"seconds": self.seconds, "limit": LIMIT, "rounds": self.rounds}

    def as_text(self) -> str:
        """For people."""
        lines = [f"{name}: {1000 * taken:.1f} ms" for name, taken in self.seconds.items()]
        return "\n".join([*lines, f"(median of {self.rounds}; limit for an ISO {1000 * LIMIT:.0f} ms)"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=50, help="how often each part is done")


def run(options: argparse.Namespace) -> Result:
    """Measure the seed of a golden image, that of a vendor's image, and the check before writing."""
    profile = parse_profile(PROFILE)
    (user,) = profile.users
    assert parse_public_key(KEY) in user.keys
    network = profile.machine("web-1").network

    def golden() -> None:
        iso_bytes(render_seed(Seed("web-1", profile.users, network=network)).files())

    def vendor() -> None:
        seed = Seed("web-1", profile.users, network=network, recipe=make_recipe(profile))
        iso_bytes(render_seed(seed).files())

    text = render_seed(Seed("web-1", profile.users, recipe=make_recipe(profile))).user_data

    def check() -> None:
        schemas.validate(parse(text, "user-data"), "cloud-config")

    parts = {"ISO for a golden image": golden, "ISO for a vendor's image": vendor, "check by schema": check}
    return Result({name: _median(part, options.rounds) for name, part in parts.items()}, options.rounds)


def _median(work: Callable[[], None], rounds: int) -> float:
    work()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
