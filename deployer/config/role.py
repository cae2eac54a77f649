"""One kind of container of a service, after reading, and the hosts that run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.config.env import Env
from deployer.config.logs import Logging
from deployer.config.proxy import Proxy
from deployer.config.shorthand import OptionValue


@dataclass(frozen=True)
class Role:
    """One kind of container of the service and the hosts that run it."""

    name: str
    hosts: tuple[str, ...]
    cmd: str | None = None
    proxy: Proxy | None = None
    env: Env = field(default_factory=Env)
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_timeout: float | None = None
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    logging: Logging = field(default_factory=Logging)
    asset_path: str | None = None
    asset_options: str | None = None
    balancers: tuple[str, ...] = ()
    """The hosts that spread its requests, of those that are worked on."""
    balanced: tuple[str, ...] = ()
    """The hosts over which they do: all of the file, whichever are worked on."""

    @property
    def secured(self) -> tuple[str, ...]:
        """The hosts that have its names, and the certificates for them."""
        return self.balancers if self.balanced else self.hosts

    @property
    def restart(self) -> str:
        """The restart policy of its containers."""
        return str(self.options.get("restart", "unless-stopped"))
