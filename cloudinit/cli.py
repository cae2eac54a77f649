"""`freehold image seed`: the files that make one machine out of an image."""

from __future__ import annotations

from pathlib import Path

import click

from freehold.command import Context, common_options, pass_context

_PROVIDERS = (
    "azure",
    "digitalocean",
    "ec2",
    "gcp",
    "hetzner",
    "linode",
    "openstack",
    "oracle",
    "scaleway",
    "vultr",
)


@click.command()
@click.argument("host")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory.  [default: seeds/HOST]",
)
@click.option("--for", "provider", type=click.Choice(_PROVIDERS), help="Keep to this provider's size limit.")
@click.option("--golden", is_flag=True, help="For an image that `freehold image build` made: identity only.")
@click.option("--host-key", is_flag=True, help="Make the SSH host key now; needs --allow-secrets.")
@click.option("--allow-secrets", is_flag=True, help="The seed may hold private keys and password hashes.")
@common_options
@pass_context
def seed(
    context: Context,
    host: str,
    output: Path | None,
    provider: str | None,
    golden: bool,
    host_key: bool,
    allow_secrets: bool,
) -> None:
    """Write the seed of HOST: user-data to paste at a provider, and an ISO for everything else."""
    from cloudinit.hostkeys import generate_host_key
    from cloudinit.iso import write_iso
    from cloudinit.keysources import LocalKeySources, resolve_keys
    from cloudinit.profile import HostProfile, load_profile
    from cloudinit.recipe import make_recipe
    from cloudinit.seed import Seed, render_seed
    from cloudinit.userdata import PROVIDERS, fit
    from freehold.files import write_atomic

    path = context.root / "config/host.yml"
    profile = load_profile(path, name="config/host.yml") if path.exists() else HostProfile()
    profile = resolve_keys(profile, LocalKeySources(context.runner, context.root))
    for user in profile.users:
        if not user.public_keys:
            context.console.warn(
                f"{user.name} has no key and could not log in; give it one in config/host.yml"
            )
    machine = profile.machine(host)
    keys = (generate_host_key(host),) if host_key else ()
    made = render_seed(
        Seed(
            host,
            users=profile.users,
            host_keys=keys,
            network=machine.network,
            fqdn=machine.fqdn or "",
            recipe=None if golden else make_recipe(profile),
        ),
        allow_secrets=allow_secrets,
    )
    files = made.files()
    if provider is not None:
        files["user-data"] = fit(made.user_data, PROVIDERS[provider])
    directory = output or context.root / "seeds" / host
    for name, data in files.items():
        write_atomic(directory / name, data, mode=0o600)
    write_iso(files, directory / "seed.iso")
    if keys:
        write_atomic(directory / "known_hosts", keys[0].known_hosts(host) + "\n", mode=0o644)
    context.console.success(f"wrote the seed of {host} to {directory}")
    context.console.data(
        {
            "host": host,
            "directory": str(directory),
            "files": sorted([*files, "seed.iso", *(["known_hosts"] if keys else [])]),
            "user_data_bytes": len(files["user-data"]),
            "host_key": keys[0].fingerprint if keys else None,
        }
    )
