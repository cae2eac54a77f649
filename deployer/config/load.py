"""Reading `config/deploy.yml` and the file of its destination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.config.advice import give, refuse_unsupported
from deployer.config.around import Surroundings
from deployer.config.document import Document
from deployer.config.errorpages import read_error_pages
from deployer.config.model import DeployConfig
from deployer.config.resolve import resolve, with_warnings
from deployer.config.shorthand import text
from deployer.config.supported import REFUSED, Refusal
from deployer.config.template.output import Rendered
from deployer.config.template.render import Source, render
from deployer.config.template.world import World, local_world
from deployer.config.tree import at, merge, relocate, walk, without_empty
from deployer.secrets.load import load_secrets
from deployer.secrets.store import Secrets
from freehold import yamlfile
from freehold.errors import ConfigError
from freehold.process import Runner
from freehold.secret import Secret
from freehold.settings import near, read
from freehold.source import Location
from freehold.yamlfile import Node

DEFAULT_FILE = Path("config/deploy.yml")
HOOKS = (".freehold/hooks", ".kamal/hooks")


@dataclass(frozen=True)
class Loaded:
    """The merged files, before their keys are read."""

    node: Node
    rendered: Mapping[str, Rendered]
    warnings: tuple[str, ...]

    def unset(self, where: Location) -> tuple[str, ...]:
        """The environment variables that a template missed on a line."""
        rendered = self.rendered.get(where.file)
        return rendered.unset_at(where) if rendered else ()


def load_config(
    root: Path,
    *,
    config_file: Path | None = None,
    destination: str | None = None,
    environ: Mapping[str, str],
    runner: Runner,
    version: str | None = None,
    secrets: Callable[[str], Secret] | None = None,
    unsupported: Mapping[str, Refusal] = REFUSED,
) -> DeployConfig:
    """Read the configuration of a project.

    `config_file` is relative to `root`; a destination's file stands beside it (`deploy.staging.yml`).
    `secrets` replaces the project's secrets files. Raises ConfigError with file, line and key for the
    first thing that is wrong; nothing but templates' own commands is run.
    """
    file = config_file or DEFAULT_FILE
    world = local_world(root, environ, runner)
    loaded = read_files(root, file, destination, world)
    give(loaded.node)
    document = read(Document, loaded.node, extensions=True)
    refuse_unsupported(loaded.node, unsupported)
    lookup = secrets
    warnings = [*loaded.warnings, *_literal_passwords(loaded)]
    if lookup is None:
        found = load_secrets(root, destination, world.environ, runner, path=document.secrets_path)
        warnings += found.warnings
        lookup = found
    hooks = document.hooks_path or next((path for path in HOOKS if (root / path).is_dir()), HOOKS[0])
    for old in ("pre-traefik-reboot", "post-traefik-reboot"):
        if (root / hooks / old).is_file():
            raise ConfigError(
                f"the hook {old} is Kamal 1's",
                where=Location(f"{hooks}/{old}"),
                hint=f"rename it to {old.replace('traefik', 'proxy')}",
            )
    around = Surroundings(
        file=str(file),
        destination=destination,
        destinations=destinations(root, file),
        hooks_path=hooks,
        secrets=lookup,
        environ=dict(world.environ),
        version=version or world.environ.get("VERSION") or None,
    )
    config = resolve(document, loaded.node, around)
    if config.error_pages_path is not None:
        place = at(loaded.node, "error_pages_path")
        pages = read_error_pages(root, place)
        if not pages:
            warnings.append(
                f"{place.where}: {place.value} holds no page of a status, such as 404.html or 503.html"
            )
        config = replace(config, error_pages=pages)
    return with_warnings(config, warnings)


def project_secrets(
    root: Path,
    *,
    config_file: Path | None = None,
    destination: str | None = None,
    environ: Mapping[str, str],
    runner: Runner,
) -> Secrets:
    """The secrets as `load_config` finds them; of the configuration only `secrets_path` has to be right.

    A project without a configuration has its secrets in the usual place.
    """
    file = config_file or DEFAULT_FILE
    world = local_world(root, environ, runner)
    place = None
    if config_file is not None or (root / file).is_file():
        place = read_files(root, file, destination, world).node.get("secrets_path")
    path = text(place) if place is not None and place.kind != "null" else None
    return load_secrets(root, destination, world.environ, runner, path=path)


def destinations(root: Path, file: Path = DEFAULT_FILE) -> tuple[str, ...]:
    """The destinations that have a file beside the configuration."""
    stem = (root / file).stem
    found = sorted((root / file).parent.glob(f"{stem}.*.yml"))
    return tuple(path.name[len(stem) + 1 : -len(".yml")] for path in found)


def read_files(root: Path, file: Path, destination: str | None, world: World) -> Loaded:
    """Render, parse and merge the configuration and its destination's file."""
    if not (root / file).is_file() and file == DEFAULT_FILE:
        raise ConfigError(
            "no such file",
            where=Location(str(file)),
            hint="`freehold init` writes one; run in the project's directory, or name it with -c",
        )
    files = [file]
    if destination:
        files.append(_overlay(root, file, destination))
    rendered: dict[str, Rendered] = {}
    merged: Node | None = None
    for path in files:
        name = str(path)
        source = Source(yamlfile.read_text(root / path, name), name)
        rendered[name] = render(source, world, destination)
        node = _parse(rendered[name], name)
        merged = merge(merged, node) if merged is not None else node
    assert merged is not None
    warnings = [warning for one in rendered.values() for warning in one.warnings]
    for name, one in rendered.items():
        for line, variable in dict.fromkeys(one.unset):
            warnings.append(
                f"{name}:{line} the environment variable {variable} is not set; its place is empty"
            )
    partial = Loaded(merged, rendered, tuple(warnings))
    return Loaded(without_empty(merged, partial.unset), rendered, partial.warnings)


def _overlay(root: Path, file: Path, destination: str) -> Path:
    overlay = file.with_suffix(f".{destination}.yml")
    if not (root / overlay).is_file():
        there = destinations(root, file)
        guess = near(destination, there)
        hint = f"did you mean {guess!r}?" if guess else f"there are: {', '.join(there) or 'none'}"
        raise ConfigError(
            f"there is no destination {destination!r}: no such file", where=Location(str(overlay)), hint=hint
        )
    return overlay


def _parse(rendered: Rendered, name: str) -> Node:
    """The tree of a rendered file with the positions of its template."""
    try:
        node = yamlfile.parse(rendered.text, name)
    except ConfigError as exc:
        where = rendered.move(exc.where) if exc.where else Location(name)
        unset = rendered.unset_at(where)
        hint = exc.hint or (f"the environment variable {unset[0]} is not set" if unset else "")
        raise ConfigError(exc.message, where=where, hint=hint) from exc
    if node.kind == "null":
        raise ConfigError("the file is empty", where=Location(name), hint="`freehold init` writes an example")
    if node.kind != "map":
        raise ConfigError(
            f"expected keys such as service and servers, found a {node.kind}", where=Location(name, 1)
        )
    return relocate(node, rendered.move)


def _literal_passwords(loaded: Loaded) -> list[str]:
    """Warnings for registry passwords that stand in the file; one that a template computed is in order."""
    found = []
    for path, entry in walk(loaded.node):
        if path[-2:] == ("registry", "password") and entry.kind not in ("list", "map") and entry.where.column:
            found.append(
                f"{entry.where}: a password stands in the file; "
                "write a list with the name of a secret, - KAMAL_REGISTRY_PASSWORD"
            )
    return found
