"""The proxy of a host as a service of systemd: look at it, read its log, start and stop it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from cloudinit.parts.caddyfile import LOG
from cloudinit.parts.lastgood import FAILING, OVER, REASON, RUN, reason
from cloudinit.parts.listeners import SERVICE_UNIT, SOCKET_UNIT
from deployer.commands import layout
from deployer.commands.balance import LOOK, Behind, parse_look
from deployer.commands.wishes import LogWishes
from deployer.config import DeployConfig, ProxyRun
from deployer.script import Script, ScriptResult, Step, heredoc
from freehold.errors import UsageError

# Units are root's; a user of the profile may become root by sudo.
ROOT = """root() {
    if [ "$(id -u)" = 0 ]; then "$@"; return; fi
    sudo -n "$@" || { echo "failed: this needs root; let $(id -un) use sudo without a password"; exit 1; }
}
"""
_AGO = re.compile(r"(\d+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class ProxyFacts:
    """The proxy of a host: what it is, and whom it serves."""

    host: str
    state: str
    version: str = ""
    since: str = ""
    listens: str = ""
    sites: tuple[str, ...] = ()
    targets: tuple[tuple[str, str, str], ...] = field(default=())
    """Service and role, address, and `maintenance` or `paused`."""
    certificates: tuple[tuple[str, str, str], ...] = field(default=())
    """Host name, until when (empty: there is none), and who signed it or why there is none."""
    behind: tuple[Behind, ...] = field(default=())
    """The hosts that it spreads requests over."""
    refused: str = ""
    """Why it serves by the last configuration that it accepted, and not by the one on the disk."""
    failing: str = ""
    """Why it does not start."""


def details() -> Script:
    """What the proxy of a host is doing."""
    shell = f"""\
printf 'state\\t%s\\n' "$(systemctl is-active {SERVICE_UNIT} || true)"
printf 'version\\t%s\\n' "$({layout.CADDY} version 2>/dev/null | cut -d' ' -f1)"
printf 'since\\t%s\\n' "$(systemctl show --value --property ActiveEnterTimestamp {SERVICE_UNIT})"
printf 'refused\\t%s\\n' "$({REASON})"
printf 'failing\\t%s\\n' "$({FAILING})"
printf 'listens\\t%s\\n' "$(sed -n '1s/^# listens: //p' {layout.CADDYFILE} 2>/dev/null)"
for path in {layout.PROXY}/sites/*.caddy; do
    case $path in *'/*.caddy' | */{layout.ASKED}.caddy | */{layout.BALANCED}.caddy) continue ;; esac
    printf 'site\\t%s\\n' "$(basename "$path" .caddy)"
done
for path in $(grep -l '^https://[^ ]' {layout.PROXY}/sites/*.caddy 2>/dev/null); do
    name=$(basename "$path" .caddy)
    case $name in *_wildcard* | _default) continue ;; esac
    if found=$(shows_certificate "$name"); then
        end=$(date -u -d "$(openssl x509 -noout -enddate <<<"$found" | cut -d= -f2)" +%FT%TZ)
        signed=$(openssl x509 -noout -issuer -nameopt multiline,utf8,-esc_msb <<<"$found" |
            sed -n 's/^ *commonName *= //p')
        printf 'certificate\\t%s\\t%s\\t%s\\n' "$name" "$end" "$signed"
    else
        printf 'certificate\\t%s\\t\\t%s\\n' "$name" "$(last_refusal "$name")"
    fi
done
for path in {layout.PROXY}/targets/*; do
    [ -e "$path" ] || continue
    name=$(basename "$path") address=$(cat "$path") mode=
    if [ -e "{layout.PROXY}/targets/.$name.paused" ]; then
        address=$(cat "{layout.PROXY}/targets/.$name.paused") mode=paused
    fi
    [ ! -e "{layout.PROXY}/maintenance/$name.html" ] || mode=maintenance
    printf 'target\\t%s\\t%s\\t%s\\n' "$name" "$address" "$mode"
done
{LOOK}"""
    return Script((Step("details", shell, "the proxy"),), library=layout.library())


def parse_details(result: ScriptResult) -> ProxyFacts:
    """The answer of `details`."""
    values: dict[str, str] = {}
    sites, targets, shown = [], [], []
    for line in result.lines("details"):
        kind, *cells = line.split("\t")
        if kind == "site":
            sites.append(cells[0].replace("_wildcard", "*"))
        elif kind == "target" and len(cells) == 3:
            targets.append((cells[0], cells[1], cells[2]))
        elif kind == "certificate" and len(cells) == 3:
            shown.append((cells[0], cells[1], cells[2]))
        elif cells:
            values[kind] = cells[0]
    return ProxyFacts(
        result.host,
        values.get("state", ""),
        values.get("version", ""),
        values.get("since", ""),
        values.get("listens", ""),
        tuple(sites),
        tuple(targets),
        tuple(shown),
        parse_look(result.lines("details")),
        reason(values.get("refused", "")),
        reason(values.get("failing", "")),
    )


def control(verb: str) -> Script:
    """`start`, `stop` or `restart`. The sockets stay open while the proxy restarts; a stop closes them."""
    units = {
        "start": [SOCKET_UNIT, SERVICE_UNIT],
        "stop": [SOCKET_UNIT, SERVICE_UNIT],
        "restart": [SERVICE_UNIT],
    }[verb]
    shell = f"{ROOT}root {shlex.join(['systemctl', verb, *units])}"
    return Script((Step(verb, shell, f"{verb} the proxy"),))


_SUPERVISED = f"""main=$(systemctl show --value --property MainPID {SERVICE_UNIT})
[ "$(cat "/proc/$main/comm" 2>/dev/null)" = proxy ]"""
"""Whether another Caddy can take over: an earlier recipe's service was Caddy itself."""


def _write_over(*, only_other: bool) -> str:
    text = files("deployer").joinpath("data/over.sh").read_text(encoding="utf-8")
    settings = f"ONLY_OTHER={'1' if only_other else ''} LOG={LOG}\n"
    return f"root install -m 644 /dev/stdin {OVER} {heredoc(settings + text)}"


def announce() -> Script:
    """Before the recipe replaces the program: it need not restart the proxy, another Caddy will take over."""
    shell = f"{ROOT}if {_SUPERVISED}; then\n{_write_over(only_other=True)}\nfi"
    return Script((Step("announce", shell, "announce another program"),))


def take_over(*, only_other: bool = False) -> Script:
    """Another Caddy serves from now on, and the one that does goes on with what is open.

    `only_other`: where it is another program than the one that runs. A proxy that cannot is restarted, unless
    the recipe has done so.
    """
    restart = "" if only_other else f"root systemctl restart {SERVICE_UNIT}"
    shell = f"""{ROOT}
if ! {{ {_SUPERVISED}; }}; then
    {restart or "exit 0"}
    exit
fi
# No deploy has Caddy read its configuration meanwhile.
exec 8>{layout.LOCKS}/proxy.lock
flock -w 60 8 || {{ echo "failed: a deploy of this host has held the proxy's routes for 60 s"; exit 1; }}
root rm -f {RUN}/said
{_write_over(only_other=only_other)}
root kill -USR1 "$main"
for ((tries = 0; tries < 600; tries++)); do
    if said=$(root cat {RUN}/said 2>/dev/null); then
        [ "$said" = ok ] || {{ echo "failed: $said"; exit 1; }}
        exit 0
    fi
    sleep 0.1
done
echo "failed: the proxy does not answer; systemctl restart {SERVICE_UNIT} begins anew"
exit 1"""
    return Script((Step("restart", shell, "another process takes over", 60),))


def idle() -> Script:
    """Fails where a service is still routed through the proxy."""
    shell = f"""\
names=$({{ ls {layout.PROXY}/targets; ls {layout.PROXY}/routes/{layout.BALANCED}; }} 2>/dev/null |
    sed 's/[.]caddy$//' | sort -u | tr '\\n' ' ') || true
[ -z "$names" ] || {{ echo "failed: the proxy still serves $names"; exit 1; }}"""
    return Script((Step("idle", shell, "nothing is served"),))


def logs_command(wishes: LogWishes) -> str:
    """Shell text that prints the log: a line of JSON for each request and each event."""
    folder = LOG.rpartition("/")[0]
    history = f"ls -tr {folder}/*.log 2>/dev/null | xargs -r -d '\\n' cat"
    limit, narrowed = "", ""
    if wishes.since:
        limit = f"limit=$(date -d {shlex.quote(_date(wishes.since))} +%s) || exit 2\n"
        history += (
            """ | awk -v limit="$limit" """
            """'match($0, /"ts":[0-9.]+/) && substr($0, RSTART + 5, RLENGTH - 5) + 0 >= limit + 0'"""
        )
    if wishes.grep:
        words = ["grep", "--line-buffered", *wishes.grep_options, "--", wishes.grep]
        narrowed = " | " + shlex.join(words)
    if not wishes.timestamps:
        narrowed += """ | sed -u 's/"ts":[0-9.]*,//'"""
    tail = f" | tail --lines {wishes.lines}" if wishes.lines is not None else ""
    if not wishes.follow:
        return f"{limit}{history}{narrowed}{tail} || true"
    # What has been written, then what comes; the file is replaced when it is rotated.
    before = f"{history}{narrowed}{tail} || true\n" if wishes.since or wishes.grep or wishes.lines else ""
    return f"{limit}{before}tail --follow=name --retry --lines 0 {LOG} 2>/dev/null{narrowed}"


def _date(since: str) -> str:
    ago = _AGO.fullmatch(since)
    if ago:
        return f"{ago[1]} {_UNITS[ago[2]]} ago"
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([T ][\d:.]+(Z|[+-]\d\d:?\d\d)?)?", since):
        raise UsageError(f"{since!r} is no time", hint="for example 10m, 2h, 2026-01-31T12:00:00Z")
    return since


def run_of(config: DeployConfig, host: str) -> ProxyRun | None:
    """How the file wants the proxy of a host to run; None where it says nothing."""
    owners: Sequence[object] = (*config.routed_on(host), *config.accessories_on(host))
    for owner in owners:
        proxy = getattr(owner, "proxy", None)
        if proxy is not None and proxy.run is not None:
            found: ProxyRun = proxy.run
            return found
    return None


def words(run: ProxyRun) -> list[str]:
    """What the first line of the host's Caddyfile says of a proxy that runs so."""
    found = [f"http={run.http_port}", f"https={run.https_port}"]
    found += [f"bind={','.join(run.bind_ips)}"] if run.bind_ips else []
    found += [] if run.publish else ["publish=no"]
    found += [f"metrics={run.metrics_port}"] if run.metrics_port else []
    found += ["debug"] if run.debug else []
    return [*found, f"log={run.log_max_size}"] if run.log_max_size else found
