"""The commands that go into a machine or show where it is: ssh, exec, cp, console, logs, inventories."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from freehold.command import Context, common_options, pass_context
from freehold.errors import LabError, UsageError
from freehold.files import write_atomic
from freehold.yamlfile import dump
from lab import report, sites, ssh
from lab.choose import NAME_OPTION, chosen
from lab.graph import svg
from lab.links import told
from lab.terminal import attach, attach_far
from lab.virtconsole import open_console

# What stands behind the machine's name belongs to the command there.
PASSING = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=PASSING, name="ssh")
@click.argument("machine")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@NAME_OPTION
@common_options
@pass_context
def ssh_(context: Context, machine: str, command: tuple[str, ...], name: str | None) -> int:
    """Log in on a machine, or run a shell command there on this terminal."""
    state = chosen(context, name).reached(machine)
    # `lab ssh M -- COMMAND`, as people write it elsewhere; no shell has a command of that name.
    words = command[1:] if command[:1] == ("--",) else command
    argv = ssh.ssh_command(state, state.machine(machine), words, shell=True)
    return _foreground(context, argv)


def _foreground(context: Context, argv: tuple[str, ...]) -> int:
    # ssh gets the terminal itself, so that it can ask for one there, resize it and pass Ctrl-C on.
    done = context.runner.run(
        argv,
        stdin=sys.stdin.buffer,
        stdout_to=sys.stdout.buffer,
        on_line=lambda line: click.echo(line, err=True),
        foreground=True,
        check=False,
    )
    return exit_code(done.returncode)


def exit_code(returncode: int) -> int:
    """What a shell makes of it: a program that a signal ended has failed."""
    return returncode if returncode >= 0 else 128 - returncode


@click.command(context_settings=PASSING, name="exec")
@click.option("-m", "--machine", "machines", multiple=True, help="Only on this machine; may be repeated.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@NAME_OPTION
@common_options
@pass_context
def exec_(context: Context, machines: tuple[str, ...], command: tuple[str, ...], name: str | None) -> int:
    """Run a command on every machine, one after the other."""
    lab = chosen(context, name)
    state = lab.state
    worst = 0
    results = {}
    for machine in [state.machine(item) for item in machines] if machines else state.machines:
        done = lab.exec(machine.name, command, check=False)
        worst = max(worst, exit_code(done.returncode))
        results[machine.name] = {
            "returncode": done.returncode,
            "stdout": done.stdout,
            "stderr": done.stderr,
        }
        if not context.console.json:
            for line in (done.stdout + done.stderr).splitlines():
                context.console.print(f"{context.console.host_label(machine.name)} {line}")
    if context.console.json:
        context.console.data(results)
    return worst


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@NAME_OPTION
@common_options
@pass_context
def cp(context: Context, paths: tuple[str, ...], recursive: bool, name: str | None) -> None:
    """Copy files; paths on a machine are written `web-1:/path`, the last path is where they go."""
    if len(paths) < 2:
        raise UsageError("cp needs a source and a destination", hint="freehold lab cp notes.txt web-1:/tmp/")
    parts = [path.partition(":") for path in paths]
    state = chosen(context, name).reached(
        *(before for before, colon, _ in parts if colon and "/" not in before)
    )
    context.runner.run(ssh.scp_command(state, paths, recursive=recursive))


@click.command()
@click.argument("machine")
@NAME_OPTION
@common_options
@pass_context
def console(context: Context, machine: str, name: str | None) -> None:
    """Attach this terminal to a machine's serial console; Ctrl-] leaves it."""
    lab = chosen(context, name)
    state = lab.state
    uuid = state.machine(machine).uuid
    with lab.connected(state) as virt:
        if state.nat:
            # libvirt brings it here: the device is another user's, or another computer's.
            context.console.info(f"console of {machine}; Ctrl-] leaves it")
            attach_far(open_console(virt, uuid))
            return
        device = virt.console_device(uuid)
    context.console.info(f"console of {machine}; Ctrl-] leaves it")
    attach(Path(device))


@click.command()
@click.argument("machine")
@click.option("-n", "--lines", default=0, help="Only the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the machine prints.")
@NAME_OPTION
@common_options
@pass_context
def logs(context: Context, machine: str, lines: int, follow: bool, name: str | None) -> None:
    """Show what a machine printed on its serial console since its last start."""
    lab = chosen(context, name)
    path = lab.console_log(machine)
    if not path.is_file():
        raise LabError(f"{machine} has printed nothing yet")
    with path.open("rb") as stream:
        text = stream.read().decode(errors="replace")
        shown = text.splitlines()[-lines:] if lines else text.splitlines()
        for line in shown:
            context.console.print(line)
        while follow:
            more = stream.read()
            if more:
                sys.stdout.write(more.decode(errors="replace"))
                sys.stdout.flush()
            else:
                time.sleep(0.2 if not lab.state.nat else 1.0)
                lab.console_log(machine)


@click.command(name="ssh-config")
@NAME_OPTION
@common_options
@pass_context
def ssh_config(context: Context, name: str | None) -> None:
    """Print the lab's ssh_config, for `ssh -F` or an Include line."""
    context.console.print(chosen(context, name).state.ssh_config.read_text().rstrip("\n"))


@click.command()
@click.option("--domain", default="", help="Call machine web-1 `web-1.DOMAIN`.")
@NAME_OPTION
@common_options
@pass_context
def hosts(context: Context, domain: str, name: str | None) -> None:
    """Print lines for /etc/hosts: the machines, and the sites that those which run serve."""
    lab = chosen(context, name)
    state = lab.state
    found = {machine.name: sites.served(lab, machine) for machine in state.machines}
    block = report.hosts_block(state, domain, sites.hosts_lines(found, state))
    context.console.print(block.rstrip("\n"))


@click.command()
@click.option("--ansible", is_flag=True, help="As an Ansible inventory in YAML.")
@NAME_OPTION
@common_options
@pass_context
def inventory(context: Context, ansible: bool, name: str | None) -> None:
    """Print the lab for other programs, as JSON or for Ansible."""
    state = chosen(context, name).state
    if ansible:
        context.console.print(dump(report.ansible(state)).rstrip("\n"))
    else:
        context.console.data(report.inventory(state))


@click.command(name="open")
@click.argument("machine", required=False)
@NAME_OPTION
@common_options
@pass_context
def open_(context: Context, machine: str | None, name: str | None) -> None:
    """Print (and on a desktop open) what a machine serves, under its name, or its proxy's address.

    Without MACHINE it is the first one that serves something.
    """
    lab = chosen(context, name)
    state = lab.state
    candidates = [state.machine(machine)] if machine else state.machines
    serving = ((item, sites.served(lab, item)) for item in candidates)
    where, found = next(((item, some) for item, some in serving if some), (candidates[0], ()))
    url = found[0].url(where) if found else report.urls(state)[where.name][0]
    context.console.print(url)
    desktop = sites.desktop(context.environ)
    names = [site.name for site in found]
    if all(sites.leads_to(item, where.address) for item in names[:1]):
        if desktop:
            click.launch(url)
        return
    command = sites.browser(where, names, url, state.directory / "browser") if desktop else None
    if command is not None:
        context.runner.start(command, env=desktop, detach=True)
        return
    rules = ",".join(f"MAP {item} {where.address}" for item in names)
    context.console.warn(
        f"{names[0]} does not lead to the lab on this computer: put the lines of `freehold lab hosts` into "
        f"/etc/hosts, or, without root, chromium --host-resolver-rules='{rules}' --user-data-dir=DIR"
    )


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
@NAME_OPTION
@common_options
@pass_context
def graph(context: Context, output: Path | None, name: str | None) -> None:
    """Draw the lab as SVG: machines, roles, addresses, and what is broken between them."""
    state = chosen(context, name).state
    found = told(state)
    picture = svg(state, found.get("links", {}), found.get("groups", {}))
    if output is None:
        context.console.print(picture.rstrip("\n"))
        return
    write_atomic(output, picture)
    context.console.success(f"{output} shows the lab {state.name}")


ACCESS: tuple[click.Command, ...] = (
    ssh_,
    exec_,
    cp,
    console,
    logs,
    ssh_config,
    hosts,
    inventory,
    open_,
    graph,
)
