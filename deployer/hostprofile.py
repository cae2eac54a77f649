"""What a host is to be: `config/host.yml`, with what `proxy.run` of the deploy file says on top."""

from __future__ import annotations

import dataclasses

from cloudinit.profile import HostProfile, shared_port
from deployer.commands.hostproxy import run_of
from deployer.config import DeployConfig
from freehold.errors import ConfigError
from freehold.source import Location


def running_as(profile: HostProfile, config: DeployConfig, host: str) -> HostProfile:
    """The profile of a host whose proxy runs as the deploy file wants it.

    ConfigError where that would give one port to two services.
    """
    run = run_of(config, host)
    if run is None:
        return profile
    proxy = dataclasses.replace(
        profile.proxy,
        http_port=run.http_port,
        https_port=run.https_port,
        bind_ips=run.bind_ips,
        publish=run.publish,
        metrics_port=run.metrics_port,
        debug=run.debug,
        log_max_size=run.log_max_size or profile.proxy.log_max_size,
    )
    running = dataclasses.replace(profile, proxy=proxy)
    shared = shared_port(running)
    if shared is not None:
        raise ConfigError(
            f"{shared[0]} and {shared[1]} of {host} are both {shared[2]}",
            where=Location("config/deploy.yml", key="proxy.run"),
            hint="give each a port of its own; ssh.port stands in config/host.yml",
        )
    return running


def without_proxy(profile: HostProfile) -> HostProfile:
    """The profile of a host that serves nothing."""
    return dataclasses.replace(profile, proxy=dataclasses.replace(profile.proxy, enabled=False))
