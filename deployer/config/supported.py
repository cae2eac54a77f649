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
        "output": "the output of deploys goes to the terminal only",
        "run_directory": "the directory on the hosts is fixed",
        "servers.*.logging": "write log-driver and log-opt under the role's 'options'",
        "servers.*.asset_path": "assets of earlier versions are not kept reachable",
        **{f"proxy.{key}": reason for key, reason in _PROXY.items()},
        **{f"servers.*.proxy.{key}": reason for key, reason in _PROXY.items()},
    }
)
