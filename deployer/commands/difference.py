"""What a deploy would change on a host besides the image: environment, options, routes.

The host tells what runs; values of secrets stay out of everything that is shown, old and new.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from deployer.commands import docker, hostvalues, layout, proxy
from deployer.config import DeployConfig, Role
from deployer.script import Script, ScriptResult, Step


@dataclass(frozen=True)
class Change:
    """One line of a difference. `kind` is env, option or route; `sign` is +, - or ~."""

    host: str
    role: str
    kind: str
    sign: str
    what: str


# Roles share the site of a name, which is told once.
_ROUTES_OF = """\
told=
routes_of() {
    local root=@APP@/versions/$version/proxy found path
    for found in "$root"/routes/*/"$1".caddy; do
        [ -e "$found" ] || continue
        found=${found#"$root/routes/"}
        for path in "routes/$found" "sites/${found%/*}.caddy"; do
            case "$told " in *" $path "*) continue ;; esac
            told="$told $path"
            [ ! -e "$root/$path" ] || sed "s,^,route\\t$path\\t," "$root/$path"
        done
    done
}"""


def question(config: DeployConfig, host: str) -> Script:
    """Ask a host how the containers that serve are run."""
    app = layout.app(config.name)
    lines = [_ROUTES_OF.replace("@APP@", app)]
    for role in config.roles_on(host):
        lines.append(f"version={layout.serving(config.name, role.name)}")
        name = f'{shlex.quote(config.container_prefix(role))}-"$version"'
        files = f'{app}/versions/"$version"/{role.name}'
        lines.append(
            f"docker inspect --format '{{{{range .Config.Env}}}}{{{{println (json .)}}}}{{{{end}}}}' {name} "
            f"2>/dev/null | sed 's/^/env\\t{role.name}\\t/' || true\n"
            f"image=$(docker inspect --format '{{{{.Image}}}}' {name} 2>/dev/null || true)\n"
            f"docker image inspect --format '{{{{range .Config.Env}}}}{{{{println (json .)}}}}{{{{end}}}}' "
            f"\"$image\" 2>/dev/null | sed 's/^/image\\t{role.name}\\t/' || true\n"
            f"for kind in secrets run; do [ -e {files}.$kind ] || continue\n"
            # An empty list is an answer too.
            f"printf '%s\\t{role.name}\\t\\n' $kind\n"
            f'sed "s/^/$kind\\t{role.name}\\t/" {files}.$kind\ndone'
        )
        # Values are told as they stand in the container's environment: on one line.
        for asked in hostvalues.names(config.env_of(role, host).clear.values()):
            lines.append(
                f"printf 'host\\t%s\\t' {asked}\nprintf '%s' {hostvalues.lookup(asked)} | tr '\\n' ' '\necho"
            )
        lines.append(f"routes_of {shlex.quote(config.container_prefix(role))}")
    for role in config.balanced_on(host):
        if host not in role.hosts:
            lines.append(f"version={layout.serving(config.name, role.name)}")
            lines.append(f"routes_of {shlex.quote(config.container_prefix(role))}")
    return Script((Step("running", "\n".join(lines), "what runs there"),))


def changes(config: DeployConfig, result: ScriptResult) -> list[Change]:
    """What differs between the answer of `question` and the configuration."""
    told: dict[tuple[str, str], list[str]] = {}
    for line in result.lines("running"):
        kind, _, rest = line.partition("\t")
        name, _, text = rest.partition("\t")
        told.setdefault((kind, name), []).append(text)
    found: list[Change] = []
    for role in config.roles_on(result.host):
        if ("env", role.name) not in told:
            found.append(Change(result.host, role.name, "container", "+", "nothing runs yet"))
            continue
        found += _environment(config, role, result.host, told)
        if ("run", role.name) in told:
            before = [text for text in told["run", role.name] if text]
            after = docker.manner(config, role, "VERSION", result.host)
            found += _lines(result.host, role.name, "option", before, after)
    files = proxy.files(config, config.routed_on(result.host), result.host)
    before_routes = {name: lines for (kind, name), lines in told.items() if kind == "route"}
    for path in sorted({*before_routes, *files}):
        before, after = before_routes.get(path, []), files.get(path, "").splitlines()
        found += _lines(result.host, path, "route", before, after)
    return found


def _environment(
    config: DeployConfig, role: Role, host: str, told: Mapping[tuple[str, str], list[str]]
) -> list[Change]:
    clear, secret = config.env_for(role, host)
    host_has = {name: "".join(told["host", name]) for kind, name in told if kind == "host"}
    wanted = {
        name: value if name in secret else hostvalues.fill(value, host_has)
        for name, value in docker.environment(clear, secret).items()
    }
    running = _variables(told.get(("env", role.name), []))
    own = {*_variables(told.get(("image", role.name), [])), *docker.identity(config, role, "", host)}
    # Without the list nobody knows which of the old values were secret.
    listed = told.get(("secrets", role.name))
    hidden = {*secret, *(running if listed is None else listed)}

    def change(sign: str, name: str) -> Change:
        old, new = running.get(name), wanted.get(name)
        shown_old = "[secret]" if name in hidden else old
        shown_new = "[secret]" if name in secret else new
        if name in secret and name in hidden and sign == "~":
            return Change(host, role.name, "env", sign, f"{name} changed (secret)")
        parts = {
            "+": f"{name}={shown_new}",
            "-": f"{name}={shown_old}",
            "~": f"{name}: {shown_old} → {shown_new}",
        }
        return Change(host, role.name, "env", sign, parts[sign])

    found = []
    for name in sorted({*wanted, *running}):
        if name not in running:
            found.append(change("+", name))
        elif name not in wanted:
            # What the image itself sets, and what every container is told, is no part of the file.
            if name not in own:
                found.append(change("-", name))
        elif running[name] != wanted[name]:
            found.append(change("~", name))
    return found


def _variables(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, equals, value = str(json.loads(line) if line else "").partition("=")
        if equals:
            # Docker tells the bare name of a variable that it left out.
            found[name] = value
    return found


def _lines(host: str, name: str, kind: str, before: list[str], after: list[str]) -> list[Change]:
    return [
        Change(host, name, kind, line[0], line[1:].strip())
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
