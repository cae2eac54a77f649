"""Keys that mean something elsewhere: Kamal 1's, and those that people put into the wrong place.

Each entry says what to write instead. Kamal 1's keys are reported together, with the `proxy` section
that the old file amounts to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config.supported import Refusal
from deployer.config.tree import Path, walk
from freehold.errors import ConfigError
from freehold.yamlfile import Node


@dataclass(frozen=True)
class Advice:
    """What to say about a key. `path` is dotted, `*` stands for one key."""

    path: str
    message: str
    hint: str = ""
    kamal1: bool = False
    only_map: bool = False
    """Only where the value is a map."""


ADVICE = (
    Advice(
        "traefik",
        "Traefik is gone; the proxy of Freehold takes its place",
        "delete 'traefik' and write a 'proxy' section",
        kamal1=True,
    ),
    Advice(
        "servers.*.traefik",
        "a role asks for requests by 'proxy: true', and refuses them by 'proxy: false'",
        "rename 'traefik' to 'proxy'",
        kamal1=True,
    ),
    Advice(
        "builder.multiarch",
        "architectures are named instead",
        "write arch: amd64, or arch: [amd64, arm64] for both",
        kamal1=True,
    ),
    Advice(
        "builder.remote",
        "a remote builder is one address",
        "write remote: ssh://user@host, and its architecture as arch",
        kamal1=True,
        only_map=True,
    ),
    Advice(
        "builder.local",
        "'local' is true or false",
        "write the architecture as arch, and leave 'local' out",
        kamal1=True,
        only_map=True,
    ),
    Advice("run_directory_path", "it is called 'run_directory'", kamal1=True),
    Advice(
        "healthcheck.cmd",
        "a command that checks the health is an option of the container",
        "write servers.web.options: {health-cmd: …}",
        kamal1=True,
    ),
    Advice(
        "healthcheck.exposed_port",
        "no port is published for health checks any more",
        "delete the line",
        kamal1=True,
    ),
    Advice("healthcheck.cord", "there is no cord file any more", "delete the line", kamal1=True),
    Advice("healthcheck.log_lines", "the last lines are always shown", "delete the line", kamal1=True),
    Advice(
        "stop_wait_time",
        "it is called 'drain_timeout'",
        "write drain_timeout: with the same number of seconds",
        kamal1=True,
    ),
    Advice("readiness_timeout", "it is called 'deploy_timeout'", kamal1=True),
    Advice(
        "hooks",
        "hooks are files, not keys",
        "write an executable file .freehold/hooks/pre-deploy (pre-build, post-deploy, …)",
    ),
    Advice(
        "boot.proxy",
        "the ports of the proxy do not stand under 'boot'",
        "write proxy: {run: {http_port: 80, https_port: 443}}; 80 and 443 are the default",
    ),
    Advice("servers.*.env.files", "unknown key 'files'", "files are mounted into accessories only"),
    Advice("servers.*.host", "unknown key 'host'", "write hosts: and a list"),
    Advice(
        "servers.*.volumes",
        "unknown key 'volumes'",
        "volumes stand at the top, or under options: {volume: …}",
    ),
    Advice("servers.*.healthcheck", "unknown key 'healthcheck'", "it stands under the role's 'proxy'"),
    Advice(
        "servers.*.port", "unknown key 'port'", "requests come by proxy.app_port; others by options.publish"
    ),
    Advice("servers.*.env.clear.clear", "'clear' stands twice", "take one of them out"),
    Advice(
        "accessories.*.healthcheck", "unknown key 'healthcheck'", "it stands under the accessory's 'proxy'"
    ),
    Advice(
        "accessories.*.ports", "unknown key 'ports'", "write port: for one, options: {publish: […]} for more"
    ),
    Advice("accessories.*.volume", "unknown key 'volume'", "write volumes: and a list"),
    Advice("proxy.path", "unknown key 'path'", "write healthcheck: {path: …} or path_prefix: …"),
    Advice("proxy.port", "unknown key 'port'", "write app_port"),
    Advice(
        "network",
        "unknown key 'network'",
        "containers share one network; a further one is options: {network: …} of a role",
    ),
    Advice(
        "rollback", "unknown key 'rollback'", "write retain_containers: with the number of versions to keep"
    ),
)


def give(node: Node) -> None:
    """Raise a ConfigError for the first misplaced key, or for all of Kamal 1's together."""
    nodes = list(walk(node))
    old: list[tuple[Advice, Path, Node]] = []
    for advice in ADVICE:
        for path, entry in nodes:
            if not _matches(advice.path, path) or (advice.only_map and entry.kind != "map"):
                continue
            if advice.kamal1:
                old.append((advice, path, entry))
                continue
            raise ConfigError(
                f"{'.'.join(path)!r}: {advice.message}",
                where=entry.key_where or entry.where,
                hint=advice.hint,
            )
    if old:
        _refuse_kamal1(node, old)


def _refuse_kamal1(node: Node, old: list[tuple[Advice, Path, Node]]) -> None:
    details = [
        f"{(entry.key_where or entry.where).file}:{(entry.key_where or entry.where).line} "
        f"{'.'.join(path)}: {advice.message}" + (f"; {advice.hint}" if advice.hint else "")
        for advice, path, entry in sorted(old, key=lambda item: (item[2].key_where or item[2].where).line)
    ]
    proxy = suggested_proxy(node) if any(path[0] == "traefik" for _, path, _ in old) else []
    if proxy:
        details += ["what the file amounts to now:", *proxy]
    first = min((entry for _, _, entry in old), key=lambda entry: (entry.key_where or entry.where).line)
    names = ", ".join(dict.fromkeys(".".join(path) for _, path, _ in old))
    raise ConfigError(
        f"the file is written for Kamal 1 ({names})",
        where=first.key_where or first.where,
        details=details,
        hint="change the lines below; deploying with Kamal 2's keys needs nothing else",
    )


def suggested_proxy(node: Node) -> list[str]:
    """The `proxy` section that Traefik's labels and the old health check amount to, as lines of YAML."""
    labels: dict[str, str] = {}
    for path, entry in walk(node):
        if len(path) > 2 and path[-2] == "labels" and entry.kind not in ("map", "list"):
            labels[path[-1]] = str(entry.value)
    hosts = [
        host
        for name, value in labels.items()
        if name.endswith(".rule")
        for group in re.findall(r"Host\(([^)]*)\)", value)
        for host in re.findall(r"[`\"']([^`\"']+)[`\"']", group)
    ]
    hosts = list(dict.fromkeys(hosts))
    secure = any(".tls" in name or value == "websecure" for name, value in labels.items())
    lines = ["proxy:"]
    if len(hosts) == 1:
        lines.append(f"  host: {hosts[0]}")
    elif hosts:
        lines += ["  hosts:", *(f"    - {host}" for host in hosts)]
    if secure and hosts:
        lines.append("  ssl: true")
    old = node.get("healthcheck")
    port = old.get("port") if old else None
    for name, value in labels.items():
        if name.endswith("loadbalancer.server.port"):
            port = Node(value, node.where)
    if port is not None:
        lines.append(f"  app_port: {port.value}")
    probe = old.get("path") if old else None
    if probe is None:
        probe = next((Node(v, node.where) for n, v in labels.items() if n.endswith("healthcheck.path")), None)
    if probe is not None:
        lines += ["  healthcheck:", f"    path: {probe.value}"]
    return lines if len(lines) > 1 else []


def _matches(pattern: str, path: Path) -> bool:
    parts = pattern.split(".")
    return len(parts) == len(path) and all(one in ("*", name) for one, name in zip(parts, path, strict=True))


def refuse_unsupported(node: Node, unsupported: Mapping[str, Refusal]) -> None:
    """Raise a ConfigError for the first key in the file that the table (by dotted pattern) names."""
    if not unsupported:
        return
    for path, entry in walk(node):
        for pattern, refusal in unsupported.items():
            if _matches(pattern, path):
                raise ConfigError(
                    f"{'.'.join(path)!r} has no meaning here: {refusal.reason}",
                    where=entry.key_where or entry.where,
                    hint=refusal.hint,
                )
