"""The proxy's files: which site serves a host name, which route leads to a role, which target answers.

    sites/<host>.caddy             one per host name: listeners, certificate; imports the routes
    routes/<host>/<service>.caddy  one per service: path prefixes, headers, timeouts
    targets/<service>-<role>       ADDRESS:PORT, read for every request; replaced by rename

A deploy of new code replaces targets only. Sites and routes change when the configuration does; then
Caddy validates all and reloads, and what was there before comes back if it refuses.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from deployer.commands import layout
from deployer.config import DeployConfig, Proxy, Role
from deployer.script import heredoc

HOLD = 30
"""Seconds a request waits for a target that does not answer yet."""


def files(config: DeployConfig, roles: tuple[Role, ...]) -> dict[str, str]:
    """The sites and routes of the proxied roles, by their path below the proxy's directory."""
    wanted: dict[str, str] = {}
    for role in roles:
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        for name in role.proxy.names or (layout.DEFAULT_HOST,):
            directory = file_name(name)
            wanted[f"routes/{directory}/{prefix}.caddy"] = route(role.proxy, prefix)
            if role.proxy.names:
                wanted[f"sites/{directory}.caddy"] = site(role.proxy, name)
    return wanted


def file_name(host: str) -> str:
    """A host name as a file name (`*.example.com` begins with a star)."""
    return host.replace("*", "_wildcard")


def site(proxy: Proxy, host: str) -> str:
    """The site of one host name."""
    routes = (
        f"\timport {layout.PROXY}/routes/{file_name(host)}/*.caddy\n"
        # Without it Caddy answers a path that nobody serves with an empty 200.
        '\trespond "nothing is served here" 404\n'
    )
    if not proxy.ssl:
        return f"http://{host} {{\n\timport freehold_http\n{routes}}}\n"
    plain = "\tredir https://{host}{uri} 308\n" if proxy.ssl_redirect else routes
    return (
        f"https://{host} {{\n\timport freehold_https\n{routes}}}\n"
        f"http://{host} {{\n\timport freehold_http\n{plain}}}\n"
    )


def route(proxy: Proxy, prefix: str) -> str:
    """The route of one role: `handle` blocks, of which Caddy tries the longest path first.

    It sorts blocks whose matcher is one path written inline, across all services of a host name; a
    named matcher of two paths would be tried in the order of the files.
    """
    body = upstream(proxy, prefix)
    blocks = []
    for path in proxy.prefixes or ("/",):
        clean = path.rstrip("/")
        if not clean:
            blocks.append(f"handle {{\n{body}}}\n")
            continue
        strip = f"\turi strip_prefix {clean}\n" if proxy.strip_path_prefix else ""
        header = f"\trequest_header X-Forwarded-Prefix {clean}\n" if proxy.strip_path_prefix else ""
        blocks += [f"handle {matcher} {{\n{strip}{header}{body}}}\n" for matcher in (f"{clean}/*", clean)]
    return "".join(blocks)


def upstream(proxy: Proxy, prefix: str) -> str:
    """The directives that pass a request on to whatever the target file says now.

    `tcp/` in front keeps the Caddyfile from reading the placeholder's slashes as a network name.
    Idle connections are kept for a second only, so that an old container is seen to be idle soon.
    """
    trusted = "\t\ttrusted_proxies 0.0.0.0/0 ::/0\n" if _trusts(proxy) else ""
    return (
        "\tencode zstd gzip\n"
        f"\treverse_proxy tcp/{{file.{layout.target(prefix)}}} {{\n"
        f"\t\tlb_try_duration {HOLD}s\n"
        "\t\tlb_try_interval 100ms\n"
        f"{trusted}"
        "\t\ttransport http {\n"
        "\t\t\tdial_timeout 5s\n"
        "\t\t\tkeepalive 1s\n"
        f"\t\t\tresponse_header_timeout {proxy.response_timeout:g}s\n"
        "\t\t}\n"
        "\t}\n"
    )


def _trusts(proxy: Proxy) -> bool:
    return proxy.forward_headers if proxy.forward_headers is not None else not proxy.ssl


def store_fragment(name: str, version: str, wanted: Mapping[str, str]) -> str:
    """Keep the proxy's files of a version beside it, so that undo and rollback find them."""
    root = layout.routes(name, version)
    lines = [f"rm -rf {shlex.quote(root)}", f"mkdir -p {shlex.quote(root)}"]
    for path, text in sorted(wanted.items()):
        full = f"{root}/{path}"
        lines.append(f"mkdir -p {shlex.quote(full.rsplit('/', 1)[0])}")
        lines.append(f"cat >{shlex.quote(full)} {heredoc(text)}")
    return "\n".join(lines)


def activate_fragment(config: DeployConfig, version: str | None) -> str:
    """Make the proxy's sites and routes those of a version (None: of no version at all)."""
    want = layout.routes(config.name, version) if version else "/nonexistent"
    mine = [f"{config.container_prefix(role)}.caddy" for role in config.roles]
    return shlex.join(["activate", want, *mine])


def switch_fragment(config: DeployConfig, role: Role, version: str) -> str:
    """Point a role's target at the container of a version."""
    assert role.proxy is not None
    name, prefix = config.container_name(role, version), config.container_prefix(role)
    # The version's own port: today's configuration may name another than the one a rollback goes to.
    port = shlex.quote(layout.port_file(config.name, version, role.name))
    own = f'"$(cat {port} 2>/dev/null || echo {role.proxy.app_port})"'
    return f"{shlex.join(['switch_to', name, prefix])} {own}"
