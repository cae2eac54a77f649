"""Where a host is reached: address, port, user, keys, and whose word on host keys counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployer.config import DeployConfig, Ssh
from freehold.secret import Secret

CONNECT_TIMEOUT = 15
"""Seconds for a TCP connection, where ~/.ssh/config says nothing else."""


@dataclass(frozen=True)
class Endpoint:
    """How to open an SSH connection to one host.

    `name` is the host as the configuration calls it; `known_hosts` are read besides the user's and
    the system's own files, or instead of them where `only_known` is set (a lab knows its hosts' keys).
    """

    name: str
    address: str
    user: str
    port: int | None = None
    keys: tuple[str, ...] = ()
    keys_only: bool = False
    known_hosts: tuple[Path, ...] = ()
    only_known: bool = False
    jump: str | None = None
    proxy_command: str | None = None
    config_files: tuple[str, ...] | None = None
    """None: the user's own ~/.ssh/config; empty: none."""
    key_data: tuple[Secret, ...] = ()
    """Private keys themselves, in PEM form."""
    among: frozenset[str] | None = None
    """Data of public keys: of all keys at hand, only these are offered."""
    forward_agent: bool = False
    dns_retries: int = 0


@dataclass(frozen=True)
class Reached:
    """How a host was reached, and the host key that it proved to have: `ssh-ed25519 AAAA…`."""

    address: str
    port: int
    user: str
    host_key: str


def endpoint(host: str, ssh: Ssh, *, key_data: tuple[Secret, ...] = (), dns_retries: int = 0) -> Endpoint:
    """The endpoint of a host of `deploy.yml`; `key_data` are the keys that `ssh.key_data` names."""
    files: tuple[str, ...] | None = None
    if ssh.config is False:
        files = ()
    elif isinstance(ssh.config, str):
        files = (ssh.config,)
    elif isinstance(ssh.config, tuple):
        files = ssh.config
    return Endpoint(
        name=host,
        address=host,
        user=ssh.user,
        # Port 22 is what every configuration says by default; ~/.ssh/config may then say another.
        port=None if ssh.port == 22 else ssh.port,
        keys=ssh.keys,
        keys_only=ssh.keys_only,
        jump=ssh.proxy,
        proxy_command=ssh.proxy_command,
        config_files=files,
        key_data=key_data,
        forward_agent=ssh.forward_agent,
        dns_retries=dns_retries,
    )


def endpoints(config: DeployConfig) -> dict[str, Endpoint]:
    """The endpoint of every host by its name."""
    keys = tuple(_key(config, entry) for entry in config.ssh.key_data)
    retries = config.sshkit.dns_retries
    return {host: endpoint(host, config.ssh, key_data=keys, dns_retries=retries) for host in config.all_hosts}


def _key(config: DeployConfig, entry: str) -> Secret:
    """The key that a name stands for; Kamal also lets the key itself stand in the file."""
    from deployer.connect import private_key

    inline = entry.startswith("-----BEGIN")
    found = Secret(entry) if inline else config.secret(entry, wanted_by=f"{config.file} ssh.key_data")
    private_key(found)  # before anything is contacted
    return found
