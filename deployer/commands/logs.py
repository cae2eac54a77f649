"""`docker logs` of the application's containers, searched and followed."""

from __future__ import annotations

import shlex

from deployer.commands.app import current_name
from deployer.config import DeployConfig, Role


def pipeline(grep: str | None, options: str | None, *, follow: bool) -> str:
    """` | grep …` where something is looked for; finding nothing is no failure."""
    if not grep:
        return ""
    line = ["--line-buffered"] if follow else []
    return (
        " | { " + shlex.join(["grep", *line, *shlex.split(options or ""), "--", grep]) + " || [ $? = 1 ]; }"
    )


def logs_command(
    config: DeployConfig,
    role: Role,
    *,
    follow: bool = False,
    lines: int | None = None,
    since: str | None = None,
    grep: str | None = None,
    grep_options: str | None = None,
    timestamps: bool = True,
    version: str | None = None,
) -> str:
    """`docker logs` of the container that serves. With `follow` it goes on with the next after a switch."""
    flags = ["--timestamps"] if timestamps else []
    if since:
        flags += ["--since", since]
    tail = ["--tail", str(lines)] if lines is not None else []
    find = pipeline(grep, grep_options, follow=follow)
    name = current_name(config, role, version)
    if not follow:
        return (
            f'name={name}; [ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
            f'docker logs {shlex.join([*flags, *tail])} "$name" 2>&1{find}'
        )
    again = shlex.join(["--timestamps"] if timestamps else [])
    return f"""follow() {{
    local name last= first={shlex.quote(shlex.join([*flags, *(tail or ["--tail", "10"])]))}
    while :; do
        name={name}
        if [ -z "$name" ] || [ "$name" = "$last" ]; then sleep 0.5; continue; fi
        eval "docker logs --follow $first \\"$name\\"" 2>&1
        last=$name first={shlex.quote(again)}
    done
}}
follow{find}"""


def container_logs_command(
    config: DeployConfig,
    container: str,
    *,
    follow: bool = False,
    lines: int | None = None,
    since: str | None = None,
    grep: str | None = None,
    grep_options: str | None = None,
    timestamps: bool = True,
) -> str:
    """`docker logs` of one container of the service by its id or name, running or not."""
    flags = ["--timestamps"] if timestamps else []
    flags += ["--follow"] if follow else []
    flags += ["--since", since] if since else []
    flags += ["--tail", str(lines)] if lines is not None else []
    label = shlex.join(["docker", "inspect", "--format", '{{index .Config.Labels "service"}}', container])
    here = f'[ "$({label} 2>/dev/null)" = {shlex.quote(config.service)} ]'
    logs = shlex.join(["docker", "logs", *flags, container])
    # Of several hosts one has it; that the others do not is no failure.
    return f"if {here}; then {logs} 2>&1{pipeline(grep, grep_options, follow=follow)}; fi"
