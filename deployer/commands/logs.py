"""`docker logs` of the application's containers, searched and followed."""

from __future__ import annotations

import shlex

from deployer.commands.app import current_name
from deployer.commands.wishes import LogWishes
from deployer.config import DeployConfig, Role


def pipeline(wishes: LogWishes) -> str:
    """` | grep …` where something is looked for; finding nothing is no failure."""
    if not wishes.grep:
        return ""
    words = ["grep", *(["--line-buffered"] if wishes.follow else []), *wishes.grep_options]
    return " | { " + shlex.join([*words, "--", wishes.grep]) + " || [ $? = 1 ]; }"


def logs_command(config: DeployConfig, role: Role, wishes: LogWishes, version: str | None = None) -> str:
    """`docker logs` of the container that serves.

    With `follow` it goes on with the next one after a switch, and with the same one after a restart.
    """
    since = ["--since", wishes.since] if wishes.since else []
    find = pipeline(wishes)
    name = current_name(config, role, version)
    if not wishes.follow:
        return (
            f'name={name}; [ -n "$name" ] || {{ echo "no container of {role.name} runs" >&2; exit 3; }}; '
            f'docker logs {shlex.join(wishes.flags)} "$name" 2>&1{find}'
        )
    first = shlex.join([*wishes.stamps, *since, *wishes.tail])
    again = shlex.join(wishes.stamps)
    look = shlex.join(["docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}}"])
    # A version that is deployed once more has the same name and another id; a restart has another start.
    return f"""follow() {{
    local name id started last_id= last_started= how={shlex.quote(first)}
    while :; do
        name={name}
        read -r id started < <({look} "$name" 2>/dev/null)
        if [ -z "$id" ] || [ "$id $started" = "$last_id $last_started" ]; then sleep 0.5; continue; fi
        if [ -n "$last_id" ]; then how={shlex.quote(again)}; fi
        if [ "$id" = "$last_id" ]; then how="$how --since $started"; fi
        eval "docker logs --follow $how $id" 2>&1
        last_id=$id last_started=$started
    done
}}
follow{find}"""


def container_logs_command(config: DeployConfig, container: str, wishes: LogWishes) -> str:
    """`docker logs` of one container of the service by its id or name, running or not."""
    label = shlex.join(["docker", "inspect", "--format", '{{index .Config.Labels "service"}}', container])
    here = f'[ "$({label} 2>/dev/null)" = {shlex.quote(config.service)} ]'
    logs = shlex.join(["docker", "logs", *wishes.flags, container])
    # Of several hosts one has it; that the others do not is no failure.
    return f"if {here}; then {logs} 2>&1{pipeline(wishes)}; fi"
