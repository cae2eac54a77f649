"""`freehold image installer`, `netboot` and `remaster`: what turns a bare machine into a host."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from builder.cliopts import profile_of, read_seed, spec_of, spec_options
from builder.installer import AFTER
from builder.vendor import Kind
from cloudinit.profile import HostProfile
from freehold.command import Context, common_options, pass_context
from freehold.console import size as human
from freehold.errors import UsageError


def host_seed(context: Context, host: str, profile: HostProfile, folder: Path | None) -> dict[str, bytes]:
    """The seed of HOST: the files of `folder`, or made from the host profile (identity only)."""
    from cloudinit.keysources import LocalKeySources, resolve_keys
    from cloudinit.seed import Seed, render_seed

    if folder is not None:
        return read_seed(folder)
    profile = resolve_keys(profile, LocalKeySources(context.runner, context.root))
    for user in profile.users:
        if not user.public_keys:
            context.console.warn(
                f"{user.name} has no key and could not log in; give it one in config/host.yml"
            )
    machine = profile.machine(host)
    name = machine.hostname or host
    seed = Seed(name, users=profile.users, network=machine.network, fqdn=machine.fqdn or "")
    # The medium stays in the operator's hands, readable by its owner alone.
    return render_seed(seed, allow_secrets=True).files()


def installation_options(function: Any) -> Any:
    """Options of what installs a host on a bare machine."""
    for option in reversed(
        (
            click.option(
                "--disk",
                "rule",
                default="only",
                show_default=True,
                help="by-id=…, serial=…, model=…, size>=…, size<=…, empty, first-empty, only.",
            ),
            click.option("--wipe", is_flag=True, help="The disk that the rule means may hold something."),
            click.option(
                "--raid1",
                is_flag=True,
                help="A mirror: the rule means two disks (serial=A/B), each of which starts the host alone.",
            ),
            click.option(
                "--seed",
                "folder",
                type=click.Path(path_type=Path),
                help="A directory with user-data and meta-data.  [default: made from the host profile]",
            ),
            click.option(
                "--after",
                type=click.Choice(AFTER),
                default="reboot",
                show_default=True,
                help="What the machine does when it is installed.",
            ),
        )
    ):
        function = option(function)
    return function


@click.command()
@click.argument("host")
@spec_options(kernel="generic")
@installation_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The ISO.  [default: HOST.iso]")
@common_options
@pass_context
def installer(
    context: Context,
    /,
    host: str,
    rule: str,
    wipe: bool,
    folder: Path | None,
    after: Any,
    output: Path | None,
    mirror: str,
    refresh: bool,
    **options: Any,
) -> None:
    """Write the ISO that makes a bare machine into HOST: unattended, offline, for CD and USB, BIOS and UEFI.

    It writes to the one disk that --disk means, and stops with a list of the disks where none or several are
    meant. A disk that holds something is overwritten only where the rule names it (by-id, serial) or --wipe
    is given.
    """
    from builder.diskrule import parse_rule
    from builder.installer import Installation, build_live, write_installer
    from builder.report import reads_cds

    chosen = parse_rule(rule, wipe=wipe, disks=2 if options["raid1"] else 1)
    spec = spec_of(context, options)
    if spec.kernel == "cloud":
        lacking = "USB" if reads_cds(spec) else "USB and no SATA: this medium is for no real machine"
        context.console.warn(f"the cloud kernel of {spec.suite} knows no {lacking}")
    seed = host_seed(context, host, profile_of(context, options["profile"]), folder)
    installation = Installation(host, seed, chosen, after)
    live = build_live(spec, runner=context.runner, console=context.console, mirror=mirror, refresh=refresh)
    target = output or context.root / f"{host}.iso"
    with context.console.step(f"writing {target.name}"):
        write_installer(live, installation, target, runner=context.runner)
    size = target.stat().st_size
    if context.console.json:
        context.console.data(
            {"iso": str(target), "size": size, "host": host, "disk": chosen.text, "image": live.image.key}
        )
    else:
        context.console.info(f"{human(size)}; write it to a USB stick with `dd`, or burn it")
        context.console.print(str(target))


@click.command()
@click.argument("hosts", nargs=-1, required=True, metavar="HOST[=MAC]...")
@spec_options(kernel="generic")
@installation_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("netboot"),
    show_default=True,
    help="The directory.",
)
@click.option("--serve", "listen", metavar="ADDRESS[:PORT]", help="Then serve it over HTTP; Ctrl-C ends it.")
@common_options
@pass_context
def netboot(
    context: Context,
    /,
    hosts: tuple[str, ...],
    rule: str,
    wipe: bool,
    folder: Path | None,
    after: Any,
    output: Path,
    listen: str | None,
    mirror: str,
    refresh: bool,
    **options: Any,
) -> None:
    """Write what installs each HOST over the network: kernel, initramfs, image and iPXE script.

    Have the DHCP server of the provisioning network answer with the URL of boot.ipxe, and the machines start
    from the network. Several hosts are told apart by their MAC addresses.
    """
    from builder.diskrule import parse_rule
    from builder.installer import Installation, build_live
    from builder.netboot import NetHost, check_hosts, parse_host, write_netboot

    chosen = parse_rule(rule, wipe=wipe, disks=2 if options["raid1"] else 1)
    named = [parse_host(text) for text in hosts]
    check_hosts(named)
    place = parse_listen(listen) if listen else None
    if folder is not None and len(named) > 1:
        raise UsageError("--seed is the seed of one host", hint="leave it out: each host gets its own")
    spec, profile = spec_of(context, options), profile_of(context, options["profile"])
    wanted = [
        NetHost(Installation(name, host_seed(context, name, profile, folder), chosen, after), mac)
        for name, mac in named
    ]
    live = build_live(spec, runner=context.runner, console=context.console, mirror=mirror, refresh=refresh)
    with context.console.step(f"writing {output}"):
        files = write_netboot(live, wanted, context.root / output)
    if context.console.json:
        context.console.data({"directory": str(output), "files": sorted(files)})
    else:
        context.console.print(str(output))
    if place is not None:
        _serve(context, files, *place)


def parse_listen(text: str) -> tuple[str, int]:
    """`192.0.2.1:8080` or `192.0.2.1` (port 80) as address and port; UsageError for something else."""
    address, _, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "80")
    try:
        if int(port) > 65535:
            raise ValueError(f"there is no port {port}")
        return str(ipaddress.ip_address(address.strip("[]"))), int(port)
    except ValueError as exc:
        raise UsageError(
            f"{text!r} is no address to serve on: {exc}", hint="such as 192.0.2.1:8080, of this machine"
        ) from exc


def _serve(context: Context, files: dict[str, Path], address: str, port: int) -> None:
    from builder.bootserver import BootServer

    with BootServer(address, port, files, context.console.info) as server:
        context.console.success(f"serving {server.url}; Ctrl-C ends it")
        server.serve_forever(poll_interval=0.5)


@click.command()
@click.argument("iso", type=click.Path(path_type=Path))
@click.option("--preseed", type=click.Path(path_type=Path), help="Debian: the answers, a preseed file.")
@click.option("--autoinstall", type=click.Path(path_type=Path), help="Ubuntu: the answers, user-data.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The new ISO.  [default: ISO-unattended.iso]"
)
@common_options
@pass_context
def remaster(
    context: Context, iso: Path, preseed: Path | None, autoinstall: Path | None, output: Path | None
) -> None:
    """Make a vendor's ISO unattended: with a preseed file (Debian) or autoinstall user-data (Ubuntu).

    The answers are validated first; what makes the medium boot as a CD and as a disk is kept.
    """
    from builder.answers import read_autoinstall, read_preseed
    from builder.remaster import remaster as write

    if (preseed is None) == (autoinstall is None):
        raise UsageError("one of --preseed and --autoinstall is needed")
    target = output or iso.with_name(f"{iso.stem}-unattended.iso")
    if preseed is not None:
        kind: Kind = "debian"
        answers = read_preseed(preseed)
    else:
        assert autoinstall is not None
        kind, answers = "ubuntu", read_autoinstall(autoinstall)
    with context.console.step(f"writing {target.name}"):
        boots = write(iso, target, kind, answers, runner=context.runner)
    if context.console.json:
        context.console.data({"iso": str(target), "vendor": kind, "boots": boots.describe()})
    else:
        context.console.info(f"boots as: {boots.describe()}")
        context.console.print(str(target))
