"""The sections of `deploy.yml` as they are written: one dataclass a section, each key declared once.

Names, defaults and meanings are Kamal 2's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.config import shorthand
from freehold.settings import setting


@dataclass(frozen=True)
class Healthcheck:
    """How the new container is probed before it gets traffic."""

    path: str = setting("/up", help="Path that answers 2xx when the application is ready.", pattern="/.*")
    interval: float = setting(
        1.0, parse=shorthand.seconds, help="Seconds between probes.", schema=shorthand.SECONDS
    )
    timeout: float = setting(
        5.0, parse=shorthand.seconds, help="Seconds one probe may take.", schema=shorthand.SECONDS
    )
    port: int | None = setting(None, help="Port to probe; `app_port` where absent.", minimum=1, maximum=65535)
    max_attempts: int | None = setting(
        None, help="Probes before giving up (Kamal 1); `deploy_timeout` bounds them too.", minimum=1
    )


@dataclass(frozen=True)
class Proxy:
    """How requests reach a role."""

    host: str | None = setting(None, help="Host name that is served.", example="app.example.com")
    hosts: tuple[str, ...] = setting((), help="Several host names.")
    app_port: int = setting(
        80, help="Port the application listens on inside the container.", minimum=1, maximum=65535
    )
    ssl: bool = setting(False, help="Serve HTTPS with an automatic certificate; needs a host.")
    ssl_redirect: bool = setting(True, help="Redirect HTTP to HTTPS where `ssl` is on.")
    path_prefix: str | None = setting(
        None, help="Serve only paths below this prefix.", pattern="/.*", example="/api"
    )
    path_prefixes: tuple[str, ...] = setting((), help="Several path prefixes.")
    strip_path_prefix: bool = setting(True, help="Take the prefix off before the application sees the path.")
    response_timeout: float = setting(
        30.0,
        parse=shorthand.seconds,
        help="Seconds the application may take to begin its answer.",
        schema=shorthand.SECONDS,
    )
    forward_headers: bool | None = setting(
        None, help="Trust X-Forwarded-* of the client; default: only where `ssl` is off."
    )
    healthcheck: Healthcheck = setting(factory=Healthcheck, help="Probe before traffic.")

    def __post_init__(self) -> None:
        if self.host and self.hosts:
            raise ValueError("write either 'host' or 'hosts', not both")
        if self.path_prefix and self.path_prefixes:
            raise ValueError("write either 'path_prefix' or 'path_prefixes', not both")
        if self.ssl and not self.names:
            raise ValueError("'ssl' needs a 'host' to ask a certificate for")

    @property
    def names(self) -> tuple[str, ...]:
        """All host names served; empty means any."""
        return (self.host,) if self.host else self.hosts

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All path prefixes served; empty means the whole site."""
        return (self.path_prefix,) if self.path_prefix else self.path_prefixes


@dataclass(frozen=True)
class Env:
    """Environment of a container: clear values, and names of secrets (`NAME` or `NAME:SECRET`)."""

    clear: Mapping[str, str] = setting(
        factory=dict,
        parse=shorthand.clear_env,
        help="Values that may be read by everybody.",
        schema=shorthand.CLEAR,
    )
    secret: tuple[str, ...] = setting(
        (), help="Names looked up in the secrets file; `NAME:SECRET` renames.", pattern="[^:]+(:[^:]+)?"
    )

    def merged(self, other: Env) -> Env:
        """This environment with `other` on top."""
        taken = {name.partition(":")[0] for name in other.secret} | set(other.clear)
        clear = {name: value for name, value in self.clear.items() if name not in taken}
        kept = tuple(name for name in self.secret if name.partition(":")[0] not in taken)
        return Env({**clear, **other.clear}, kept + other.secret)


@dataclass(frozen=True)
class Ssh:
    """How to reach the hosts."""

    user: str = setting("root", help="Who to log in as.")
    port: int = setting(22, help="Port of sshd.", minimum=1, maximum=65535)
    keys: tuple[str, ...] = setting((), help="Private key files.")
    keys_only: bool = setting(False, help="Use only `keys`, not the agent's.")
    proxy: str | None = setting(None, help="Jump host, `user@host:port`.")
    proxy_command: str | None = setting(None, help="Command whose streams are the connection.")
    config: bool | str | tuple[str, ...] = setting(
        True, help="Read ~/.ssh/config (true), nothing (false) or these files."
    )


@dataclass(frozen=True)
class Registry:
    """Where images are pulled from; without one they travel over SSH."""

    server: str | None = setting(None, help="Registry; Docker Hub where absent.", example="ghcr.io")
    username: str | None = setting(None, parse=shorthand.optional_text, help="User name or its secret.")
    password: str | None = setting(
        None, parse=shorthand.secret_name, help="Name of the secret that holds the password."
    )


@dataclass(frozen=True)
class Builder:
    """How the image is built."""

    context: str | None = setting(None, help="Build context; a clean clone of the repository where absent.")
    dockerfile: str = setting("Dockerfile", help="Dockerfile, relative to the context.")
    target: str | None = setting(None, help="Stage to build.")
    arch: str | tuple[str, ...] | None = setting(None, help="Architecture of the hosts.", example="amd64")
    args: Mapping[str, str] = setting(
        factory=dict, parse=shorthand.clear_env, help="Build arguments.", schema=shorthand.CLEAR
    )


@dataclass(frozen=True)
class Boot:
    """How many hosts are started at once."""

    limit: int | str | None = setting(
        None, help="Hosts at a time: a number or a percentage.", pattern=r"\d+%?", example="25%"
    )
    wait: float = setting(
        0.0, parse=shorthand.seconds, help="Seconds between groups.", schema=shorthand.SECONDS
    )
