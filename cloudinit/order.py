"""A seed as it was ordered: the profile and the user's own files read, everything checked, then packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloudinit import schemas
from cloudinit.hostkeys import HostKey
from cloudinit.keysources import LocalKeySources, resolve_keys
from cloudinit.ownparts import CLOUD_CONFIG, read_network, read_part
from cloudinit.profile import HostProfile, load_profile
from cloudinit.providers import PROVIDERS, SMALLEST
from cloudinit.recipe import make_recipe
from cloudinit.seed import Seed, SeedFiles, render_seed
from cloudinit.userdata import Form, Part, encode, fit
from freehold import yamlfile
from freehold.console import Console
from freehold.process import Runner

PROFILE = "config/host.yml"


@dataclass(frozen=True)
class SeedOrder:
    """What is asked of a seed. `form` auto: plain where it fits, else packed."""

    host: str
    golden: bool = False
    allow_secrets: bool = False
    user_data: tuple[Path, ...] = ()
    vendor_data: Path | None = None
    network_config: Path | None = None
    network_version: Literal["1", "2"] = "2"
    form: Literal["auto"] | Form = "auto"
    provider: str | None = None


def project_profile(root: Path) -> HostProfile:
    """The profile of the project at `root`, or the default one."""
    path = root / PROFILE
    return load_profile(path, name=PROFILE) if path.exists() else HostProfile()


def make_files(
    order: SeedOrder, keys: tuple[HostKey, ...], root: Path, runner: Runner, console: Console
) -> Mapping[str, bytes]:
    """The files of the seed by name; InputError before anything is written."""
    profile = resolve_keys(project_profile(root), LocalKeySources(runner, root))
    for user in profile.users:
        if not user.public_keys:
            console.warn(f"{user.name} has no key and could not log in; give it one in {PROFILE}")
    seed = _seed(order, profile, keys)
    made = render_seed(seed, allow_secrets=order.allow_secrets)
    _check(made)
    return {**made.files(), "user-data": _user_data(order, seed, made.user_data)}


def _seed(order: SeedOrder, profile: HostProfile, keys: tuple[HostKey, ...]) -> Seed:
    machine = profile.machine(order.host)
    network, vendor = order.network_config, order.vendor_data
    return Seed(
        machine.hostname or order.host,
        users=profile.users,
        host_keys=keys,
        network=machine.network,
        fqdn=machine.fqdn or "",
        # With the name that the profile gives the host, as `server bootstrap` would have it.
        recipe=None if order.golden else make_recipe(profile.for_host(order.host)),
        network_version=1 if order.network_version == "1" else 2,
        network_text=read_network(network, str(network), golden=order.golden) if network else "",
        parts=tuple(read_part(path, str(path)) for path in order.user_data),
        vendor=read_part(vendor, str(vendor), own_keys=False) if vendor else None,
    )


def _check(made: SeedFiles) -> None:
    # What the user wrote was checked with its own lines; this is for what was made of it.
    schemas.validate(yamlfile.parse(made.user_data, "user-data"), "cloud-config")
    if made.network_config is not None:
        schemas.validate_network(yamlfile.parse(made.network_config, "network-config"))


def _user_data(order: SeedOrder, seed: Seed, text: str) -> bytes:
    parts = tuple(
        Part(own.type, Path(own.name).name, own.text) for own in seed.parts if own.type != CLOUD_CONFIG
    )
    form = None if order.form == "auto" else order.form
    if order.provider is not None:
        return fit(text, PROVIDERS[order.provider], parts, form=form)
    if form is None:
        form = "plain" if len(encode(text, "plain", parts)) <= SMALLEST.limit else "mime"
    return encode(text, form, parts)
