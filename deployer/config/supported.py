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
        "run_directory": "the directory on the hosts is fixed",
        **{f"proxy.{key}": reason for key, reason in _PROXY.items()},
        **{f"servers.*.proxy.{key}": reason for key, reason in _PROXY.items()},
        **{f"accessories.*.proxy.{key}": reason for key, reason in _PROXY.items()},
    }
)
