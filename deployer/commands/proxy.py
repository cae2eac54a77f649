"""The proxy's files: which site serves a host name, which route leads to a role, which target answers.

    sites/<host>.caddy             one per host name: listeners, certificate; imports the routes
    routes/<host>/<service>.caddy  one per service: path prefixes, headers, timeouts
    targets/<service>-<role>       ADDRESS:PORT, read for every request; replaced by rename
    current/<service>-<role>       link to what the version that serves brings: error pages, assets
    maintenance/<service>-<role>.html   answers instead of the role while it is there

A deploy of new code replaces targets and links only. Sites and routes change when the configuration
does; then Caddy validates all and reloads, and what was there before comes back if it refuses.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from deployer.commands import assets, certificates, layout
from deployer.commands.site import Extras, file_name, route, site
from deployer.config import DeployConfig, Role
from deployer.config.sendfile import sendfiles, volumes_of
from deployer.script import discard, heredoc


def files(config: DeployConfig, roles: tuple[Role, ...]) -> dict[str, str]:
    """The sites and routes of the proxied roles, by their path below the proxy's directory."""
    wanted: dict[str, str] = {}
    pairs = certificates.pairs(config, roles)
    for role in roles:
        if role.proxy is None:
            continue
        prefix = config.container_prefix(role)
        own = pairs[role.name].name if role.name in pairs else ""
        for name in role.proxy.names or ("",):
            directory = file_name(name) or layout.DEFAULT_HOST
            wanted[f"routes/{directory}/{prefix}.caddy"] = route(role.proxy, prefix, extras(config, role))
            if name or own:
                wanted[f"sites/{directory}.caddy"] = site(role.proxy, name, own)
    return wanted


def extras(config: DeployConfig, role: Role) -> Extras:
    """What a role's route does besides passing requests on."""
    url = assets.url(role)
    docroot = f"{layout.current(config.container_prefix(role))}/docroot-{role.name}" if url else ""
    volumes = volumes_of(config.volumes, role.options)
    files = sendfiles(role.proxy, volumes) if role.proxy is not None else ()
    return Extras(bool(config.error_pages), url, docroot, files)


def store_fragment(name: str, version: str, wanted: Mapping[str, str]) -> str:
    """Keep the proxy's files of a version beside it, so that undo and rollback find them."""
    root = layout.routes(name, version)
    directories = {root, *(f"{root}/{path}".rsplit("/", 1)[0] for path in wanted)}
    lines = [discard(root), shlex.join(["mkdir", "-p", *sorted(directories)])]
    lines += [
        f"cat >{shlex.quote(f'{root}/{path}')} {heredoc(text)}" for path, text in sorted(wanted.items())
    ]
    return "\n".join(lines)


def activate_fragment(config: DeployConfig, version: str | None) -> str:
    """Make the proxy's sites and routes those of a version (None: of no version at all)."""
    want = layout.routes(config.name, version) if version else "/nonexistent"
    mine = [f"{config.container_prefix(role)}.caddy" for role in config.roles]
    return shlex.join(["activate", want, *mine])


def switch_fragment(config: DeployConfig, role: Role, version: str) -> str:
    """Point a role's target at the container of a version, and its link at what the version brings."""
    assert role.proxy is not None
    name, prefix = config.container_name(role, version), config.container_prefix(role)
    # The version's own port: today's configuration may name another than the one a rollback goes to.
    port = shlex.quote(layout.port_file(config.name, version, role.name))
    own = f'"$(cat {port} 2>/dev/null || echo {role.proxy.app_port})"'
    link = link_fragment(config, role, version)
    switch = f"{shlex.join(['switch_to', name, prefix])} {own}"
    return "\n".join([link, switch, shlex.join(["unsplit", prefix])])


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
    return "\n".join([shlex.join(["unsplit", prefix]), shlex.join(["rm", "-f", *paths])])
