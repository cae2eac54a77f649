"""Assets of the last versions: copied out of each new image, and joined with those of the others.

    assets/<version>/<role>.own/   as the image has them
    assets/<version>/<role>/       joined with those of the versions that served before

The joined directory is mounted over `asset_path` in the version's containers, as Kamal does, and the
running version's gets the new files too: whichever version made a page, and whichever answers, finds
its assets. Where the URL follows from the path (`…/public/assets` is `/assets`), the proxy serves the
files whose names are fingerprints from the disk.
"""

from __future__ import annotations

import shlex

from deployer.commands import layout
from deployer.config import DeployConfig, Role

PUBLIC = "/public"


def url(role: Role) -> str:
    """The URL below which the assets of a role are found; empty where the path does not tell."""
    path = (role.asset_path or "").rstrip("/")
    _, found, rest = path.partition(f"{PUBLIC}/")
    return f"/{rest}" if found and rest else ""


def fragment(config: DeployConfig, role: Role, version: str, image: str) -> str:
    """Copy and join the assets of a version; fails where the image has no such directory."""
    assert role.asset_path is not None
    root = f"{layout.app(config.name)}/assets"
    lines = [shlex.join(["bridge_assets", image, role.asset_path, root, role.name, version])]
    if url(role):
        docroot = f"{layout.version(config.name, version)}/docroot-{role.name}{url(role)}"
        joined = layout.assets(config.name, version, role.name)
        lines.append(f"mkdir -p {shlex.quote(docroot.rpartition('/')[0])}")
        lines.append(shlex.join(["ln", "-sfn", joined, docroot]))
    return "\n".join(lines)


def volume(config: DeployConfig, role: Role, version: str) -> list[str]:
    """The mount of the joined directory, with the options of `asset_path`."""
    if role.asset_path is None:
        return []
    mount = f"{layout.assets(config.name, version, role.name)}:{role.asset_path.rstrip('/')}"
    return ["--volume", f"{mount}:{role.asset_options}" if role.asset_options else mount]
