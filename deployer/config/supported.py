"""Keys that are read and checked but not honoured yet. The loader refuses them by name.

A pattern is a dotted path with `*` for one key; the reason completes "… is not supported yet: ".
Whoever makes a key work takes its line out.
"""

from __future__ import annotations

import types
from collections.abc import Mapping

_PROXY = {
    "ssl.certificate_pem": "certificates are automatic only",
    "buffering": "requests and answers are streamed",
    "logging": "the access log has fixed headers",
    "run": "the proxy listens on ports 80 and 443 of every address",
}

NOT_YET: Mapping[str, str] = types.MappingProxyType(
    {
        "accessories": "only the application itself is deployed",
        "asset_path": "assets of earlier versions are not kept reachable",
        "error_pages_path": "the proxy serves its own error pages",
        "logging": "write log-driver and log-opt under a role's 'options'",
        "run_directory": "the directory on the hosts is fixed",
        "boot.parallel_roles": "the roles of a host start one after the other",
        "env.tags": "tags of hosts are not used",
        "servers.*.logging": "write log-driver and log-opt under the role's 'options'",
        "servers.*.asset_path": "assets of earlier versions are not kept reachable",
        "ssh.key_data": "keys are read from files and the agent",
        "ssh.forward_agent": "the agent stays on this machine",
        "ssh.log_level": "the SSH protocol is not logged",
        "sshkit": "connections have fixed bounds",
        **{f"proxy.{key}": reason for key, reason in _PROXY.items()},
        **{f"servers.*.proxy.{key}": reason for key, reason in _PROXY.items()},
    }
)
