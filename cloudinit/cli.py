"""`freehold image seed`: the files that make one machine out of an image."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from freehold.command import Context, common_options, pass_context

_PROVIDERS = (
    "azure",
    "digitalocean",
    "ec2",
    "gce",
    "hetzner",
    "linode",
    "openstack",
    "oracle",
    "scaleway",
    "vultr",
)
_FILE = click.Path(path_type=Path, dir_okay=False)
_DEFAULT_ADDRESS = "127.0.0.1:8000"


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
@click.option("--allow-secrets", is_flag=True, help="The seed may hold private keys, hashes and tokens.")
@click.option(
    "--user-data", type=_FILE, multiple=True, help="Also this cloud-config or script; may be said again."
)
@click.option("--vendor-data", type=_FILE, help="This cloud-config as vendor-data.")
@click.option("--network-config", type=_FILE, help="This network-config in place of the profile's.")
@click.option(
    "--network-version",
    type=click.Choice(["1", "2"]),
    default="2",
    show_default=True,
    help="Version of the network-config that is made.",
)
@click.option(
    "--form",
    type=click.Choice(["auto", "plain", "gzip", "mime"]),
    default="auto",
    show_default=True,
    help="Form of the user-data; auto packs what is larger than 16 KiB.",
)
@click.option(
    "--serve",
    "address",
    is_flag=False,
    flag_value=_DEFAULT_ADDRESS,
    metavar="HOST:PORT",
    help=f"Serve it over HTTP until Ctrl-C.  [default: {_DEFAULT_ADDRESS}]",
)
@click.option("--once", is_flag=True, help="With --serve: end when a machine has fetched it.")
@common_options
@pass_context
def seed(
    context: Context,
    /,
    host: str,
    output: Path | None,
    host_key: bool,
    address: str | None,
    once: bool,
    **wishes: Any,
) -> None:
    """Write the seed of HOST: user-data to paste at a provider, and an ISO for everything else.

    Everything is checked before anything is written: the profile, your own files, and the seed itself
    against the schemas of cloud-init 22.4 to 26.2.
    """
    from cloudinit.hostkeys import generate_host_key
    from cloudinit.iso import write_iso
    from cloudinit.order import SeedOrder, make_files, project_profile
    from cloudinit.serve import read_address
    from freehold.errors import UsageError
    from freehold.files import write_atomic

    if once and address is None:
        raise UsageError("--once says how long to serve", hint="add --serve")
    where = read_address(address) if address is not None else None
    order = SeedOrder(host, **wishes)
    keys = (generate_host_key(host),) if host_key else ()
    files = make_files(order, keys, context.root, context.runner, context.console)
    directory = output or context.root / "seeds" / host
    _sweep(directory)
    for name, data in files.items():
        write_atomic(directory / name, data, mode=0o600)
    write_iso(files, directory / "seed.iso")
    if keys:
        line = keys[0].known_hosts(host, project_profile(context.root).ssh.port)
        write_atomic(directory / "known_hosts", line + "\n", mode=0o644)
    if context.console.json:
        context.console.data(
            {
                "host": host,
                "directory": str(directory),
                "files": sorted([*files, "seed.iso", *(["known_hosts"] if keys else [])]),
                "user_data_bytes": len(files["user-data"]),
                "host_key": keys[0].fingerprint if keys else None,
            }
        )
    else:
        context.console.info(f"the seed of {host}: {len(files['user-data']):,} bytes of user-data")
        context.console.print(str(directory))
    if where is not None:
        _serve(context, files, where, once)


def _sweep(directory: Path) -> None:
    """Remove what an earlier order wrote and this one may not: whoever takes the directory takes it all."""
    if not all((directory / name).is_file() for name in ("user-data", "meta-data", "seed.iso")):
        return  # no seed of ours, whatever else lies there
    for name in ("network-config", "vendor-data", "known_hosts"):
        (directory / name).unlink(missing_ok=True)


def _serve(context: Context, files: Mapping[str, bytes], where: tuple[str, int], once: bool) -> None:
    from cloudinit.serve import kernel_argument, serve, smbios_argument

    with serve(files, *where, log=context.console.info) as running:
        context.console.info(f"serving on {running.url} until Ctrl-C; tell the machine by one of:")
        context.console.print(f"kernel:  {kernel_argument(running.url)}")
        context.console.print(f"QEMU:    {smbios_argument(running.url)}")
        # A timeout keeps the main thread open to signals.
        while not (once and running.fetched.is_set()):
            running.fetched.wait(0.5)
            if not once:
                time.sleep(0.5)
