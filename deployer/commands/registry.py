"""Registries: logging in, pulling on a host. Passwords travel on standard input, never in argv."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deployer.config import DeployConfig
from deployer.script import Script, Step, heredoc
from freehold.errors import ConfigError
from freehold.secret import Secret
from freehold.source import Location

HUB = "https://index.docker.io/v1/"
"""What Docker calls its own registry in the client's file."""
HUB_HOST = HUB.split("/")[2]
HUB_DOMAIN = HUB_HOST.partition(".")[2]
"""What an image's name and podman call it; its other hosts are below."""


@dataclass(frozen=True)
class Access:
    """Who may pull and push where; `server` is None for Docker Hub."""

    server: str | None
    username: Secret
    password: Secret

    @property
    def keys(self) -> tuple[str, ...]:
        """The registry's names in the clients' files, host and port only; Docker's own has several."""
        host = host_of(self.server)
        hub = f".{host}".endswith(f".{HUB_DOMAIN}")
        return tuple(dict.fromkeys((HUB, HUB_DOMAIN, host))) if hub else (host,)


def host_of(server: str | None) -> str:
    """Host and port of a registry, without scheme and path."""
    return (server or HUB_DOMAIN).rpartition("://")[2].split("/")[0]


def argument(server: str | None, *, program: str = "docker") -> list[str]:
    """The server as `docker login` takes it: Docker's own is none, or the login is kept where nobody looks.

    podman wants a name always.
    """
    own = host_of(server) in (HUB_HOST, HUB_DOMAIN)
    if program == "podman":
        return [HUB_DOMAIN if own or not server else server]
    return [] if own or not server else [server]


def access(config: DeployConfig) -> Access | None:
    """The credentials of the `registry` section; None where it names none.

    ConfigError: only one of the two is given, or a secret is not defined.
    """
    registry = config.registry
    if registry is None or (registry.username is None and registry.password is None):
        return None
    if registry.username is None or registry.password is None:
        missing = "username" if registry.username is None else "password"
        raise ConfigError(
            f"the registry has no {missing}",
            where=Location(config.file, key="registry"),
            hint=f"write {missing}: and a list with the name of a secret, or use --no-registry",
        )

    def secret(name: str) -> Secret:
        return config.secret(name, wanted_by=f"{config.file} registry")

    return Access(registry.server, registry.username.value(secret), registry.password.value(secret))


def client_file(text: str, login: Access, has: Callable[[str], bool]) -> str:
    """A docker client's config.json that can do what `text` can and is logged in besides. Pure.

    `has` tells whether there is a program of that name.
    """
    found = _with_login(text, login)
    if has(f"docker-credential-{found.get('credsStore')}"):
        # No helper means the file, for this registry alone: the store is asked for all others.
        found["credHelpers"].update(dict.fromkeys(login.keys, ""))
    else:
        found.pop("credsStore", None)
    return json.dumps(found)


def podman_file(texts: Sequence[str], login: Access) -> str:
    """The one file that podman reads: the logins of all these, of which the last counts most, and ours. Pure.

    It knows no store, and takes an empty helper for a program.
    """
    all_of: dict[str, dict[str, object]] = {}
    for found in (_with_login(text, login) for text in texts):
        for kind in ("auths", "credHelpers"):
            all_of.setdefault(kind, {}).update(found[kind])
    return json.dumps(all_of)


def _with_login(text: str, login: Access) -> dict[str, Any]:
    found = json.loads(text) if text.strip() else {}
    pair = f"{login.username.reveal()}:{login.password.reveal()}"
    for kind in ("auths", "credHelpers"):
        found[kind] = found.get(kind) or {}
    for key in login.keys:
        found["auths"][key] = {"auth": base64.b64encode(pair.encode()).decode()}
        # A helper would be asked instead of the file.
        found["credHelpers"].pop(key, None)
    return found


def login_fragment(login: Access) -> str:
    """`docker login` that stays, for this user of the host."""
    argv = ["docker", "login", "--username", login.username.reveal(), "--password-stdin"]
    argv += argument(login.server)
    return f"{shlex.join(argv)} {heredoc(login.password.reveal())}"


def logout_fragment(server: str | None) -> str:
    """`docker logout`; one that is not logged in is no failure."""
    return shlex.join(["docker", "logout", *argument(server)])


def logged_in(command: str, login: Access | None) -> str:
    """A command that is logged in where there is a login, which lives for it only and leaves no password."""
    if login is None:
        return command
    pair = shlex.quote(f"{login.username.reveal()}:{login.password.reveal()}")
    form = ",".join('"%s":{"auth":"%s"}' for _ in login.keys)
    values = " ".join(f'{shlex.quote(key)} "$auth"' for key in login.keys)
    # printf is a word of the shell itself: what it is given stands in no process's argv.
    return f"""(
    umask 077
    DOCKER_CONFIG=$(mktemp -d) || exit 1
    export DOCKER_CONFIG
    trap 'rm -rf "$DOCKER_CONFIG"' EXIT
    auth=$(printf %s {pair} | base64 -w 0)
    printf '{{"auths":{{{form}}}}}\\n' {values} >"$DOCKER_CONFIG/config.json"
    {command}
)"""


def pull_fragment(image: str, service: str, login: Access | None) -> str:
    """Pull an image and prove whose it is."""
    pull = logged_in(shlex.join(["docker", "pull", "--quiet", image]), login)
    inspect = shlex.join(
        ["docker", "image", "inspect", "--format", '{{index .Config.Labels "service"}}', image]
    )
    return f"""{pull}
label=$({inspect})
if [ "$label" != {shlex.quote(service)} ]; then
    echo "failed: the image has no label service={service}, so it was built for something else"
    exit 1
fi"""


def pull_script(config: DeployConfig, image: str, login: Access | None) -> Script:
    """The script that pulls on one host."""
    return Script((Step("pull", pull_fragment(image, config.service, login), f"pull {image}"),))


def login_script(login: Access) -> Script:
    """The script that logs one host in."""
    return Script((Step("login", login_fragment(login), f"log in to {login.server or 'Docker Hub'}"),))


def logout_script(server: str | None) -> Script:
    """The script that logs one host out."""
    return Script((Step("logout", logout_fragment(server), f"log out of {server or 'Docker Hub'}"),))
