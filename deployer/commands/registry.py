"""Registries: logging in, pulling on a host. Passwords travel on standard input, never in argv."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass

from deployer.config import DeployConfig
from deployer.script import Script, Step, heredoc
from freehold.errors import ConfigError
from freehold.secret import Secret
from freehold.source import Location

HUB = "https://index.docker.io/v1/"
"""What Docker calls its own registry in the client's file."""


@dataclass(frozen=True)
class Access:
    """Who may pull and push where; `server` is None for Docker Hub."""

    server: str | None
    username: Secret
    password: Secret

    @property
    def key(self) -> str:
        """The registry's name in the client's file: host and port only."""
        if not self.server:
            return HUB
        return self.server.partition("://")[2].split("/")[0] or self.server.split("/")[0]


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


def client_file(text: str, login: Access) -> str:
    """A docker client's config.json that can do what `text` can and is logged in besides. Pure."""
    found = json.loads(text) if text.strip() else {}
    pair = f"{login.username.reveal()}:{login.password.reveal()}"
    found.setdefault("auths", {})[login.key] = {"auth": base64.b64encode(pair.encode()).decode()}
    # A store or helper would be asked instead of the file.
    found.pop("credsStore", None)
    found.get("credHelpers", {}).pop(login.key, None)
    return json.dumps(found)


def login_fragment(login: Access) -> str:
    """`docker login` that stays, for this user of the host."""
    server = [login.server] if login.server else []
    argv = ["docker", "login", "--username", login.username.reveal(), "--password-stdin", *server]
    return f"{shlex.join(argv)} {heredoc(login.password.reveal())}"


def logout_fragment(server: str | None) -> str:
    """`docker logout`; one that is not logged in is no failure."""
    return shlex.join(["docker", "logout", *([server] if server else [])])


def logged_in(command: str, login: Access | None) -> str:
    """A command that is logged in where there is a login, which lives for it only and leaves no password."""
    if login is None:
        return command
    pair = shlex.quote(f"{login.username.reveal()}:{login.password.reveal()}")
    # printf is a word of the shell itself: what it is given stands in no process's argv.
    return f"""(
    umask 077
    DOCKER_CONFIG=$(mktemp -d) || exit 1
    export DOCKER_CONFIG
    trap 'rm -rf "$DOCKER_CONFIG"' EXIT
    auth=$(printf %s {pair} | base64 -w 0)
    printf '{{"auths":{{"%s":{{"auth":"%s"}}}}}}\\n' {shlex.quote(login.key)} "$auth" \\
        >"$DOCKER_CONFIG/config.json"
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
