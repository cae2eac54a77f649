"""The proxy's files: which site serves a host name, which route leads to a role, which target answers.

    sites/<host>.caddy             one per host name: listeners, certificate; imports the routes
    sites/_ask.caddy               who may have a certificate at the first visit (ondemand.py)
    sites/_balance.caddy           imports what spreads requests over hosts (balance.py)
    routes/<host>/<service>.caddy  one per service: path prefixes, headers, timeouts
    targets/<service>-<role>       ADDRESS:PORT, read for every request; replaced by rename
    current/<service>-<role>       link to what the version that serves brings: error pages, assets
    maintenance/<service>-<role>.html   answers instead of the role while it is there

A deploy of new code replaces targets and links only. Sites and routes change when the configuration
does; then Caddy validates all and reloads, and what was there before comes back if it refuses.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployer.commands import assets, balance, certificates, layout, ondemand
from deployer.commands.redirects import led_route, led_site
from deployer.commands.site import Extras, file_name, route, site
from deployer.config import DeployConfig, Role
from deployer.config.sendfile import sendfiles, volumes_of
from deployer.script import heredoc


def files(config: DeployConfig, roles: tuple[Role, ...], host: str) -> dict[str, str]:
    """The sites and routes of the proxied roles on a host, by their path below the proxy's directory."""
    wanted: dict[str, str] = {}
    pairs = certificates.pairs(config, [role for role in roles if host in role.secured])
    # A name's site is that of the role which has all of it, where one has.
    first: dict[str, Role] = {}
    for role in sorted(roles, key=lambda role: role.proxy is not None and not role.proxy.whole):
        for name in (role.proxy.names or ("",)) if role.proxy is not None else ():
            first.setdefault(name, role)
    for role in roles:
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        own = pairs[role.name].name if role.name in pairs else ""
        # Behind other hosts it is them who have HTTPS, and the names that lead elsewhere.
        secured = host in role.secured
        seen = role.proxy if secured else replace(role.proxy, ssl=False, redirect_from=())
        if host in role.balancers:
            wanted[f"sites/{layout.BALANCED}.caddy"] = balance.SITE
            wanted[f"routes/{layout.BALANCED}/{prefix}.caddy"] = balance.spread(role, prefix)
        for name in seen.names or ("",):
            directory = file_name(name) or layout.DEFAULT_HOST
            peers = tuple(peer for peer in config.sharing.get(name, ()) if peer != host)
            more = extras(config, role, host, peers if not name else ())
            wanted[f"routes/{directory}/{prefix}.caddy"] = route(role.proxy, prefix, more)
            if first[name] is not role:
                continue
            if name or own or seen.ssl_on_demand:
                behind = any(host in one.hosts and one.balanced for one in roles)
                wanted[f"sites/{directory}.caddy"] = site(seen, name, own, peers, behind=behind)
            if seen.on_demand(name):
                wanted[f"sites/{layout.ASKED}.caddy"] = ondemand.SITE
                asked = f"routes/{layout.ASKED}/{prefix}.caddy"
                wanted[asked] = wanted.get(asked, "") + ondemand.question(role.proxy, prefix, name)
        for name in seen.redirect_from:
            peers = tuple(peer for peer in config.sharing.get(name, ()) if peer != host)
            wanted[f"sites/{name}.caddy"] = led_site(role.proxy, name, own, peers)
            wanted[f"routes/{name}/{prefix}.caddy"] = led_route(role.proxy, prefix)
    return wanted


def extras(config: DeployConfig, role: Role, host: str, peers: tuple[str, ...] = ()) -> Extras:
    """What a role's route does besides passing requests on."""
    url = assets.url(role)
    here = layout.current(config.container_prefix(role))
    docroot = f"{here}/docroot-{role.name}" if url else ""
    volumes = volumes_of(config.volumes, role.options)
    files = sendfiles(role.proxy, volumes) if role.proxy is not None else ()
    return Extras(
        bool(config.error_pages),
        url,
        docroot,
        files,
        peers,
        spreads=host in role.balancers,
        runs=host in role.hosts,
        balancers=layout.balancers(here, role.name) if role.balanced else "",
    )


def store_fragment(config: DeployConfig, version: str, wanted: Mapping[str, str]) -> str:
    """Keep the proxy's files of a version beside it, so that undo and rollback find them.

    Other roles may have been deployed at this version before: their routes stay.
    """
    root = layout.routes(config.name, version)
    directories = {root, *(f"{root}/{path}".rsplit("/", 1)[0] for path in wanted)}
    mine = " ".join(
        f"{shlex.quote(root)}/routes/*/{shlex.quote(name)}" for name in route_files(config, config.roles)
    )
    lines = [
        f"[ ! -d {shlex.quote(root)} ] || rm -f {mine}",
        shlex.join(["mkdir", "-p", *sorted(directories)]),
    ]
    lines += [
        f"cat >{shlex.quote(f'{root}/{path}')} {heredoc(text)}" for path, text in sorted(wanted.items())
    ]
    deployed = " ".join(
        sorted({shlex.quote(path.rpartition("/")[2]) for path in wanted if "routes/" in path})
    )
    return "\n".join([*lines, *([f"unclaimed {shlex.quote(root)} {deployed}"] if deployed else [])])


def route_files(config: DeployConfig, roles: Sequence[Role]) -> list[str]:
    """The names under which the routes of roles stand, whatever host name they are for."""
    return [f"{config.container_prefix(role)}.caddy" for role in roles]


def unclaimed_fragment(config: DeployConfig, version: str) -> str:
    """Fails where another service of the host has a claim on what the routes of a version are of."""
    return shlex.join(["unclaimed", layout.routes(config.name, version), *route_files(config, config.roles)])


def activate_fragment(config: DeployConfig, version: str | None, roles: Sequence[Role] | None = None) -> str:
    """Make the proxy's sites and routes for roles (default: all) those of a version (None: of none)."""
    want = layout.routes(config.name, version) if version else "/nonexistent"
    return shlex.join(["activate", want, *route_files(config, config.roles if roles is None else roles)])


def switch_fragment(config: DeployConfig, role: Role, version: str) -> str:
    """Point a role's target at the container of a version, and its link at what the version brings."""
    assert role.proxy is not None
    name, prefix = config.container_name(role, version), config.container_prefix(role)
    # The version's own port: today's configuration may name another than the one a rollback goes to.
    port = shlex.quote(layout.port_file(config.name, version, role.name))
    own = f'"$(cat {port} 2>/dev/null || echo {role.proxy.app_port})"'
    brings = layout.version(config.name, version)
    switch = f"{shlex.join(['switch_to', name, prefix])} {own} {shlex.quote(brings)}"
    return "\n".join([switch, shlex.join(["unsplit", prefix])])


def link_fragment(config: DeployConfig, role: Role, version: str | None) -> str:
    """Point a role's link at a version (None: at none)."""
    prefix = config.container_prefix(role)
    if version is None:
        return f"rm -f {shlex.quote(layout.current(prefix))}"
    return shlex.join(["link_current", prefix, layout.version(config.name, version)])


def forget_fragment(config: DeployConfig, role: Role) -> str:
    """Nothing of a role is left: no target, no link, no maintenance."""
    prefix = config.container_prefix(role)
    paths = (
        layout.target(prefix),
        layout.paused(prefix),
        layout.current(prefix),
        layout.maintenance(prefix),
    )
    gone = shlex.join(["rm", "-rf", layout.allowed(prefix)])
    return "\n".join([shlex.join(["unsplit", prefix]), shlex.join(["rm", "-f", *paths]), gone])
