"""Requests spread over the hosts of a role by hosts in front of them: what their proxies are told and asked.

A host in front dials the others' proxies as visitors would, with a mark, and asks each whether it is well.
What dials is one named route for a role, whatever its names and paths, as each that dials asks by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.commands import challenges, layout
from deployer.config import DeployConfig, Proxy, Role
from deployer.script import ScriptResult, Step

MARK = "Freehold-Balanced"
"""A header that hosts in front set: `request`, or `health` where they ask how a host is."""
REST = 3
"""Seconds for which a host is left alone that could not be reached."""
HELD = 40
"""Seconds that a host may keep a request before its application has it; longer than it waits for a target."""
SITE = f"import {layout.PROXY}/routes/{layout.BALANCED}/*.caddy\n"
HEARD = ("header_up X-Forwarded-For {header.X-Forwarded-For}", f"header_up -{MARK}")
"""The application sees the visitor, not the host in front as well."""
VISITOR = "log_append visitor {header.X-Forwarded-For}\n"
"""For the log, in which the address is that of the host in front."""
REFUSED = 'respond "this host is reached by way of its load balancers" 403\n'
MARKED = f"@marked header {MARK} *\nhandle @marked {{\n\t{REFUSED}}}\n"
"""What has been spread already is not spread again: who brings a mark and is not known here is refused."""


@dataclass(frozen=True)
class Behind:
    """A host as seen from one in front of it; `state` is empty where it is well."""

    prefix: str
    address: str
    state: str = ""


def arrivals(routes: str) -> str:
    """For a site that leads to HTTPS otherwise: what comes by way of a host in front."""
    inner = "".join(f"\t{line}\n" for line in routes.splitlines())
    return f"@spread header {MARK} *\nhandle @spread {{\n{inner}}}\n"


def admitted(directory: str, served: str) -> str:
    """The part of a route for those who come from an address in the directory. Questions are not logged."""
    inner = "".join(f"\t\t{line}\n" for line in served.splitlines())
    return f"""\
@balanced {{
	header {MARK} *
	file {{
		root {directory}
		try_files {{remote_host}}
	}}
}}
handle @balanced {{
	route {{
		@asked header {MARK} health
		log_skip @asked
{inner}	}}
}}
"""


def asked(proxy: Proxy) -> str:
    """The path by which a host is asked how it is: the health check's, as visitors would ask for it."""
    first = next(iter(proxy.prefixes), "/").rstrip("/")
    return (first if proxy.strip_path_prefix else "") + proxy.healthcheck.path


def spread(role: Role, prefix: str) -> str:
    """The named route that spreads the requests of a role. Its first line is for `look`.

    What could be sent to no host is tried with another one, and nothing else is: it has reached the
    application perhaps. A host is out while its answers to the health check are not well.
    """
    proxy = role.proxy
    assert proxy is not None
    hosts = [challenges.web(proxy, host) for host in role.balanced]
    scheme = "https" if proxy.ssl else "http"
    name = next(iter(proxy.names), "").replace("*", "health")
    check, named = proxy.healthcheck, f'\n\t\t\tHost "{name}"' if name else ""
    trusted = "\t\ttrusted_proxies 0.0.0.0/0 ::/0\n" if proxy.forward_headers else ""
    return f"""\
# balances: {prefix} {scheme} {name or "-"} {asked(proxy)} {" ".join(hosts)}
&({prefix}) {{
	reverse_proxy {" ".join(f"http://{host}" for host in hosts)} {{
		lb_policy least_conn
		lb_retry_match {{
			method NEVER
		}}
		lb_try_duration 30s
		lb_try_interval 100ms
		fail_duration {REST}s
		health_uri "{asked(proxy)}"
		health_interval {check.interval:g}s
		health_timeout {check.timeout:g}s
		health_headers {{{named}
			{MARK} health
			User-Agent freehold-health
			X-Forwarded-Proto {scheme}
		}}
{trusted}\
		header_up {MARK} request
		stream_close_delay 24h
		transport http {{
			dial_timeout 2s
			keepalive 1s
			response_header_timeout {proxy.response_timeout + HELD:g}s
		}}
	}}
}}
"""


def admit_fragment(
    config: DeployConfig, role: Role, version: str, addresses: Sequence[str], *, kept: bool = False
) -> str:
    """Whom a version of a role takes for hosts in front: these addresses; where none is known, as now.

    `kept`: a version that served knows its own, and is told of these besides.
    """
    if not role.balanced:
        return ""
    place = layout.balancers(layout.version(config.name, version), role.name)
    if kept:
        return shlex.join(["admit", place, *addresses])
    now = layout.balancers(layout.current(config.container_prefix(role)), role.name)
    return shlex.join(["admit_only", place, now, *addresses])


# -- what hosts in front are asked --------------------------------------------------------------

_WAYS = r"""for name in @hosts@; do
    found=$(getent ahosts "$name" | awk '{ print $1 }' | sort -u)
    if [ -z "$found" ]; then
        echo "failed: $name is not known here, so that nothing can be balanced to it"
        exit 1
    fi
    for address in $found; do
        { ip -o route get "$address" 2>/dev/null || true; } | awk -v name="$name" \
            '{ for (i = 1; i < NF; i++) if ($i == "src") print "way\t" name "\t" $(i + 1) }'
    done
done"""
LOOK = f"""for path in {layout.PROXY}/routes/{layout.BALANCED}/*.caddy; do
    [ -e "$path" ] || continue
    read -r _ _ prefix scheme name asked hosts <"$path"
    for to in $hosts; do
        flags=()
        [ "$name" = - ] || flags=(--header "Host: $name")
        code=$(curl --silent --globoff --output /dev/null --max-time 3 --write-out '%{{http_code}}' \\
            --header '{MARK}: health' --header 'User-Agent: freehold-health' \\
            --header "X-Forwarded-Proto: $scheme" "${{flags[@]}}" "http://$to$asked") || true
        case $code in
            2?? | 3??) code= ;;
            000) code='answers nothing' ;;
            *) code="answers $code" ;;
        esac
        printf 'behind\\t%s\\t%s\\t%s\\n' "$prefix" "$to" "$code"
    done
done
true"""
"""How the hosts are that the proxy of a host spreads requests over, of whichever service."""


def ways_step(config: DeployConfig, host: str) -> Step:
    """From which of its addresses a host in front comes to those behind it."""
    names = dict.fromkeys(name for role in config.balanced_on(host) for name in role.balanced)
    return Step("ways", _WAYS.replace("@hosts@", shlex.join(names)), "how it reaches the others")


def parse_ways(result: ScriptResult) -> tuple[tuple[str, str], ...]:
    """The answer of `ways_step`: a host, and an address from which it is reached."""
    rows = [line.split("\t") for line in result.lines("ways")]
    return tuple((row[1], row[2]) for row in rows if row[0] == "way" and len(row) == 3)


def admissible(ways: Mapping[str, Sequence[tuple[str, str]]], host: str) -> tuple[str, ...]:
    """The addresses from which hosts in front come to a host; `ways` by the host in front."""
    found = (address for rows in ways.values() for name, address in rows if name == host)
    return tuple(dict.fromkeys(found))


def parse_look(lines: Sequence[str], prefixes: Sequence[str] | None = None) -> tuple[Behind, ...]:
    """The answer of `LOOK`, of these services and roles (default: all)."""
    rows = [line.split("\t") for line in lines]
    found = [Behind(row[1], row[2], row[3]) for row in rows if row[0] == "behind" and len(row) == 4]
    return tuple(one for one in found if prefixes is None or one.prefix in prefixes)
