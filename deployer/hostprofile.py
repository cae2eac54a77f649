"""What a host is to be: `config/host.yml`, with what `proxy.run` of the deploy file says on top."""

from __future__ import annotations

import dataclasses

from cloudinit.profile import HostProfile
from deployer.commands.hostproxy import run_of
from deployer.config import DeployConfig


def running_as(profile: HostProfile, config: DeployConfig, host: str) -> HostProfile:
    """The profile of a host whose proxy runs as the deploy file wants it."""
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
    return dataclasses.replace(profile, proxy=proxy)


def without_proxy(profile: HostProfile) -> HostProfile:
    """The profile of a host that serves nothing."""
    return dataclasses.replace(profile, proxy=dataclasses.replace(profile.proxy, enabled=False))
