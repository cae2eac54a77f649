"""Keys that are read and checked but not honoured yet. The loader refuses them by name.

A pattern is a dotted path with `*` for one key; the reason completes "… is not supported yet: ".
Whoever makes a key work takes its line out.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

_PROXY = {
    "buffering.max_response_body": "the proxy does not measure answers",
    "run.registry": "the proxy is a program of the host, not a container",
    "run.repository": "the proxy is a program of the host, not a container",
    "run.version": "the proxy is the Caddy that this Freehold carries",
    "run.options": "the proxy is a program of the host, not a container",
}

NOT_YET: Mapping[str, str] = types.MappingProxyType(
    {
        "accessories": "only the application itself is deployed",
        "hooks_path": "hooks are not run",
        "hooks_output": "hooks are not run",
        "logging": "write log-driver and log-opt under a role's 'options'",
        "output": "the output of deploys goes to the terminal only",
        "run_directory": "the directory on the hosts is fixed",
        "boot.parallel_roles": "the roles of a host start one after the other",
        "env.tags": "tags of hosts are not used",
        "servers.*.logging": "write log-driver and log-opt under the role's 'options'",
        "ssh.key_data": "keys are read from files and the agent",
        "ssh.forward_agent": "the agent stays on this machine",
        "ssh.log_level": "the SSH protocol is not logged",
        "sshkit": "connections have fixed bounds",
        "builder.secrets": "builds get no secrets",
        "builder.ssh": "builds get no SSH agent",
        "builder.remote": "images are built on this machine",
        "builder.local": "images are built on this machine",
        "builder.driver": "the engine's own builder is used",
        "builder.cache": "the engine's own cache is used",
        "builder.pack": "images are built from a Dockerfile",
        "builder.provenance": "no attestation is made",
        "builder.sbom": "no bill of materials is made",
        **{f"proxy.{key}": reason for key, reason in _PROXY.items()},
        **{f"servers.*.proxy.{key}": reason for key, reason in _PROXY.items()},
    }
)
