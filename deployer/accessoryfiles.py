"""Reading the files of an accessory from the project; templates are filled in first, as Kamal does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployer.commands import docker
from deployer.commands.accessoryfiles import Content
from deployer.config import Accessory, DeployConfig, Mount
from deployer.config.template.render import Source, render
from deployer.config.template.world import local_world
from freehold.errors import ConfigError
from freehold.process import Runner
from freehold.source import Location

TEMPLATES = (".erb", ".j2", ".jinja", ".jinja2")


def read_files(
    config: DeployConfig,
    accessory: Accessory,
    *,
    root: Path,
    environ: Mapping[str, str],
    runner: Runner,
    warn: Callable[[str], None],
) -> dict[str, Content]:
    """What each file holds, by its path as written. ConfigError: it is missing, or a template is wrong.

    A template (`.erb`, `.j2`) sees the environment and on top of it the accessory's own, secrets too.
    """
    found: dict[str, Content] = {}
    for mount in accessory.files:
        path = _existing(config, accessory, mount, root)
        if path.suffix in TEMPLATES:
            clear, secret = config.accessory_env(accessory)
            own = {**environ, **docker.environment(clear, secret)}
            source = Source(path.read_text(encoding="utf-8"), mount.local)
            rendered = render(source, local_world(root, own, runner), config.destination)
            for line, variable in dict.fromkeys(rendered.unset):
                warn(f"{mount.local}:{line} the variable {variable} is not set; its place is empty")
            found[mount.local] = Content(rendered.text.encode())
        else:
            found[mount.local] = Content(path.read_bytes())
    return found


def _existing(config: DeployConfig, accessory: Accessory, mount: Mount, root: Path) -> Path:
    path = root / Path(mount.local).expanduser()
    where = Location(config.file, key=f"accessories.{accessory.name}.files")
    if path.is_dir():
        raise ConfigError(
            f"{mount.local} is a directory",
            where=where,
            hint="name its files one by one; 'directories' are made on the host",
        )
    if not path.is_file():
        raise ConfigError(
            f"there is no file {mount.local}", where=where, hint="paths are those of the project"
        )
    return path
