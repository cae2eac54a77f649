"""What a child process sees of this one's environment, and where programs are looked for."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

from freehold.secret import Secret

# What a child may see of our own environment; everything else is given on purpose.
KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TERM",
    "SSH_AUTH_SOCK",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "CONTAINERS_STORAGE_CONF",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SOURCE_DATE_EPOCH",
)
CLIENTS = frozenset({"docker", "podman", "pack", "git"})
"""Programs that reach other computers, and start helpers of the user's that do."""
FOR_CLIENTS = (
    "DOCKER_",
    "BUILDX_",
    "BUILDKIT_",
    "CONTAINER_",
    "CONTAINERS_",
    "REGISTRY_AUTH_FILE",
    "KUBECONFIG",
    # The cache of a CI.
    "ACTIONS_",
    # Helpers that know the login of a registry.
    "AWS_",
    "AZURE_",
    "CLOUDSDK_",
    "GOOGLE_",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "GNUPGHOME",
    "PASSWORD_STORE_",
    "SSL_CERT_",
    # Of git's own, not where its repository is: GIT_DIR is set in a hook, for another one.
    "GIT_ASKPASS",
    "GIT_CONFIG_",
    "GIT_SSH",
    "GIT_SSL_",
    "GIT_TERMINAL_PROMPT",
    "SSH_ASKPASS",
)
"""What the names of variables begin with that `CLIENTS` see besides `KEPT`; no other child does."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The program `name` on PATH or in the system's own directories (sbin is not on every user's PATH)."""
    env = os.environ if environ is None else environ
    found = shutil.which(name, path=f"{env.get('PATH', '')}:{SYSTEM_PATH}")
    return Path(found) if found else None


def user_name(environ: Mapping[str, str]) -> str:
    """Who runs this; the number of a user who has no name, as in the containers of a CI."""
    name = next((environ[key] for key in ("LOGNAME", "USER") if environ.get(key)), None)
    if name is not None:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def clean_environment(
    environ: Mapping[str, str], extra: Mapping[str, str | Secret] | None = None, *, program: str = ""
) -> dict[str, str]:
    """The environment of a child that runs `program`: the names in `KEPT`, what `CLIENTS` need, a fixed
    locale, system directories on PATH, `extra`.
    """
    env = {name: environ[name] for name in KEPT if name in environ}
    if Path(program).name in CLIENTS:
        env |= {name: value for name, value in environ.items() if name.startswith(FOR_CLIENTS)}
    path = env.get("PATH", "")
    missing = [part for part in SYSTEM_PATH.split(":") if part not in path.split(":")]
    env["PATH"] = ":".join([*([path] if path else []), *missing])
    env["LANG"] = env["LC_ALL"] = "C.UTF-8"
    for name, value in (extra or {}).items():
        env[name] = value.reveal() if isinstance(value, Secret) else value
    return env
