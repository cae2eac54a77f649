"""Production's twin: the hosts of `deploy.yml` as machines of a lab."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cloudinit.profile import HostProfile, load_profile
from deployer.config import DeployConfig, load_config
from deployer.config.proxy import Proxy
from deployer.endpoint import Endpoint
from deployer.hostprofile import running_as
from freehold.process import Runner
from lab import tunnel
from lab.address import SOURCES
from lab.labfile import LabFile, load_lab_file
from lab.mirror import as_name, mirror
from lab.model import LabSpec, guest_ports
from lab.state import load_state

LAB_FILE = Path("config/lab.yml")


def lab_file(root: Path) -> LabFile:
    """`config/lab.yml`, or the default where there is none."""
    path = root / LAB_FILE
    return load_lab_file(path, name=str(LAB_FILE)) if path.exists() else LabFile()


def lab_name(config: DeployConfig, root: Path) -> str:
    """The lab of a service (and destination), unless the lab's file names another."""
    return lab_file(root).name or as_name(config.name)


def lab_spec(config: DeployConfig, root: Path) -> LabSpec:
    """One machine per host with the same roles and accessories; sizes and image from `config/lab.yml`."""
    hosts = [
        (
            host,
            (
                *(role.name for role in config.roles_on(host)),
                *(accessory.name for accessory in config.accessories_on(host)),
                *(["loadbalancer"] if host in config.balancers else []),
            ),
        )
        for host in config.all_hosts
    ]
    profile = rehearsed(lab_profile(root), config)
    spec = mirror(lab_name(config, root), hosts, file=lab_file(root), profile=profile)
    return dataclasses.replace(
        spec,
        machines=tuple(
            dataclasses.replace(machine, guest=guest_ports(running_as(profile, config, machine.host)))
            for machine in spec.machines
        ),
    )


def project_spec(
    root: Path, *, runner: Runner, environ: Mapping[str, str], destination: str | None = None
) -> LabSpec:
    """The lab that mirrors the deploy file of a project; a test suite gives it to the fixture `lab_spec`."""
    return lab_spec(load_config(root, destination=destination, environ=environ, runner=runner), root)


def lab_profile(root: Path) -> HostProfile:
    """`config/host.yml` as a lab uses it: its machines accept the lab's own key, not the operator's."""
    path = root / "config" / "host.yml"
    return load_profile(path, name="config/host.yml") if path.exists() else HostProfile()


def rehearsed(profile: HostProfile, config: DeployConfig) -> HostProfile:
    """The profile of a lab's machines: they let this computer in, whatever `ssh.allow` says.

    No authority signs for them, so where HTTPS is automatic they do. Their proxies listen everywhere, see
    `everywhere`.
    """
    profile = profile.admitting(*SOURCES)
    profile = dataclasses.replace(profile, proxy=dataclasses.replace(profile.proxy, bind_ips=()))
    proxies = [*(role.proxy for role in config.roles), *(item.proxy for item in config.accessories)]
    if not any(proxy is not None and proxy.ssl is True for proxy in proxies):
        return profile
    return dataclasses.replace(profile, proxy=dataclasses.replace(profile.proxy, acme_ca="internal"))


def bound(config: DeployConfig) -> tuple[str, ...]:
    """The addresses that `bind_ips` of the deploy file names."""
    proxies = [*(role.proxy for role in config.roles), *(item.proxy for item in config.accessories)]
    runs = [proxy.run for proxy in proxies if proxy is not None and proxy.run is not None]
    return tuple(dict.fromkeys(address for run in runs for address in run.bind_ips))


def everywhere(config: DeployConfig) -> DeployConfig:
    """The deploy file as a lab's machines can follow it: their proxies listen on all addresses.

    Those that `bind_ips` names are production's. A machine has another one by which this computer reaches it,
    and systemd would listen on an address that is not there without a word.
    """
    return dataclasses.replace(
        config,
        roles=tuple(dataclasses.replace(role, proxy=_unbound(role.proxy)) for role in config.roles),
        accessories=tuple(
            dataclasses.replace(item, proxy=_unbound(item.proxy)) for item in config.accessories
        ),
    )


def _unbound(proxy: Proxy | None) -> Proxy | None:
    if proxy is None or proxy.run is None:
        return proxy
    return dataclasses.replace(proxy, run=dataclasses.replace(proxy.run, bind_ips=()))


def lab_endpoints(config: DeployConfig, root: Path, runner: Runner) -> dict[str, Endpoint]:
    """Each host's machine; LabError where the lab is not up or lacks one."""
    state = load_state(lab_name(config, root))
    tunnel.ensure(state, runner, [state.machine(host) for host in config.all_hosts])
    found = {}
    for host in config.all_hosts:
        machine = state.machine(host)
        found[host] = Endpoint(
            name=host,
            address=machine.address,
            user=state.user,
            port=machine.ssh_port,
            keys=(str(state.key),),
            keys_only=True,
            known_hosts=(state.known_hosts,),
            only_known=True,
            config_files=(),
        )
    return found
