"""Services beside the application: the `accessories` section as it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.config import shorthand
from deployer.config.delivery import Registry
from deployer.config.env import Env, env, env_schema
from deployer.config.logs import Logging
from deployer.config.proxy import Proxy, proxy_schema
from deployer.config.servers import HOSTS_SCHEMA, TaggedHosts, tagged_hosts
from freehold.settings import fail, read, setting
from freehold.wording import describe
from freehold.yamlfile import Node

PLACES = ("host", "hosts", "role", "roles", "tag", "tags")


@dataclass(frozen=True)
class Mount:
    """A file or directory of an accessory: `local[:remote[:options]]`, or the map form.

    `mode` is octal text (`0640`), `owner` is `user[:group]` by name or number.
    """

    local: str = setting(help="Path in the project (files) or on the host (directories).")
    remote: str = setting(help="Path in the container.", pattern="/.*")
    options: str | None = setting(None, help="Options of the mount.", example="ro")
    mode: str | None = setting(None, help="Mode, octal.", pattern="[0-7]{3,4}", example="0600")
    owner: str | None = setting(
        None, help="Owner and group.", example="999:999", pattern=r"[\w.-]+(:[\w.-]+)?"
    )


def mounts(node: Node) -> tuple[Mount, ...]:
    """The mounts of `files` or `directories`."""
    if node.kind != "list":
        fail(node, f"expected a list, found {describe(node)}", hint="write one '- local:remote' a line")
    return tuple(_mount(element) for element in node.elements())


def _mount(node: Node) -> Mount:
    if node.kind == "map":
        return read(Mount, node)
    local, _, rest = shorthand.text(node).partition(":")
    remote, _, options = rest.partition(":")
    if not local or not remote.startswith("/"):
        fail(
            node,
            f"expected local:remote, found {describe(node)}",
            hint="for example data:/var/lib/mysql; the second path is absolute",
        )
    return Mount(local, remote, options or None)


MOUNTS: Mapping[str, object] = shorthand.Deferred(lambda: _mounts_schema())


def _mounts_schema() -> Mapping[str, object]:
    from freehold.reference import type_schema

    return {"type": "array", "items": {"anyOf": [{"type": "string"}, type_schema(Mount)]}}


@dataclass(frozen=True)
class AccessorySettings:
    """A service beside the application; write one of host, hosts, role, roles, tag and tags."""

    image: str = setting(help="Image.", example="postgres:17")
    service: str | None = setting(
        None,
        help="Name of its container; `<service>-<accessory>` where absent.",
        pattern=r"[A-Za-z0-9][\w.-]*",
    )
    registry: Registry | None = setting(None, help="Registry of its image, where it is not Docker Hub.")
    host: str | None = setting(None, help="Host it runs on.")
    hosts: TaggedHosts = setting(
        factory=dict,
        parse=tagged_hosts,
        schema=HOSTS_SCHEMA,
        form="text or list of text",
        help="Hosts it runs on.",
    )
    role: str | None = setting(None, help="It runs on the hosts of this role.")
    roles: tuple[str, ...] = setting(
        (),
        parse=shorthand.texts,
        schema=shorthand.TEXTS,
        form="text or list of text",
        help="It runs on the hosts of these roles.",
    )
    tag: str | None = setting(None, help="It runs on the hosts with this tag.")
    tags: tuple[str, ...] = setting(
        (),
        parse=shorthand.texts,
        schema=shorthand.TEXTS,
        form="text or list of text",
        help="It runs on the hosts with one of these tags.",
    )
    cmd: str | None = setting(
        None, parse=shorthand.command, schema=shorthand.COMMAND, help="Command instead of the image's own."
    )
    port: str | None = setting(
        None,
        help="Port published on the host: `5432`, `127.0.0.1:5432:5432`.",
        pattern=r"([^\s]+:)?\d+(-\d+)?(/(tcp|udp|sctp))?",
        example="127.0.0.1:5432:5432",
    )
    labels: Mapping[str, str] = setting(
        factory=dict, parse=shorthand.labels, schema=shorthand.SCALARS, help="Labels of the container."
    )
    options: Mapping[str, shorthand.OptionValue] = setting(
        factory=dict,
        parse=shorthand.options,
        schema=shorthand.OPTIONS,
        help="Options of `docker run` by their long names.",
    )
    env: Env = setting(
        factory=Env,
        parse=env,
        schema=shorthand.Deferred(lambda: env_schema(Env)),
        help="Environment.",
    )
    files: tuple[Mount, ...] = setting(
        (),
        parse=mounts,
        schema=MOUNTS,
        form="list of text or map",
        help="Files of the project that are copied and mounted: `LOCAL:REMOTE[:OPTIONS]`, or a map.",
    )
    directories: tuple[Mount, ...] = setting(
        (),
        parse=mounts,
        schema=MOUNTS,
        form="list of text or map",
        help="Directories that are made on the host and mounted: `LOCAL:REMOTE[:OPTIONS]`, or a map.",
    )
    volumes: tuple[str, ...] = setting(
        (), parse=shorthand.volumes, schema=shorthand.VOLUMES, help="Other volumes.", example="data:/data"
    )
    network: str = setting("kamal", help="Docker network.")
    proxy: Node | None = setting(
        None, schema=shorthand.Deferred(proxy_schema), help="How requests reach it, where they do."
    )


@dataclass(frozen=True)
class Accessory:
    """An accessory as it is to run. Paths on the host are relative to the run user's home."""

    name: str
    service: str
    image: str
    hosts: tuple[str, ...]
    network: str = "kamal"
    cmd: str | None = None
    publish: str | None = None
    env: Env = field(default_factory=Env)
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, shorthand.OptionValue] = field(default_factory=dict)
    files: tuple[Mount, ...] = ()
    directories: tuple[Mount, ...] = ()
    volumes: tuple[str, ...] = ()
    logging: Logging = field(default_factory=Logging)
    proxy: Proxy | None = None
    registry: Registry | None = None

    def file_path(self, mount: Mount) -> str:
        """Where a file of the project is kept on the host."""
        return f"{self.service}{mount.remote}"

    def directory_path(self, mount: Mount) -> str:
        """Where a directory is on the host: as written if absolute, else below the service's own."""
        return mount.local if mount.local.startswith("/") else f"{self.service}/{mount.local}"


def published(port: str | None) -> str | None:
    """What `--publish` gets: a bare port is published under its own number."""
    if port is None or ":" in port:
        return port
    return f"{port}:{re.sub('/.*', '', port)}" if "/" not in port else f"{port.partition('/')[0]}:{port}"
