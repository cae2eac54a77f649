"""Scheduled jobs on a host: systemd timers, a dispatcher that finds the version that serves, its record.

    /etc/systemd/system/freehold-job-<service>-<job>.timer, .service
    apps/<service>/versions/<version>/jobs/<job>.timer, .service, .run     what a version says
    apps/<service>/jobs/run                                                the dispatcher
    apps/<service>/jobs/<job>/runs, <start>.log                            what came of it

Units are installed once a version serves, by a rollback too: jobs are part of a version.
"""

from __future__ import annotations

import shlex

from deployer.commands import docker, hostvalues, layout, networks
from deployer.config import DeployConfig
from deployer.config.jobs import Job
from deployer.script import Step, discard, heredoc

UNITS = "/etc/systemd/system"
KEPT_RUNS = 30
BUSY = 75
OVERTIME = 124
INTERRUPTED = -1
"""The code of a run that was killed before it could say its own: no program ends with it."""
MARK = "@@job "
"""Begins the one line that is said in place of a run somebody asks for: `busy`, `missing`."""
GLANCE = 1
"""Seconds for which a job's lock is asked for before it counts as held: whoever only looks has it briefly."""

# Arguments: the job, why it runs, and its role (units of earlier releases name none).
_DISPATCHER = f"""\
set -o pipefail
umask 002
cd "$(dirname "$0")/.." || exit 1
job=$1 why=$2
mkdir -p "jobs/$job"
exec 9>>"jobs/$job/lock"
flock --wait {GLANCE} 9 || {{
    if [ "$why" = asked ]; then echo "{MARK}busy"; else echo "$job runs already"; fi
    exit {BUSY}
}}
# Of a run that was killed: by a reboot, or by a restart of Docker, which takes its unit with it.
[ ! -e "jobs/$job/running" ] || sed 's,$,\t{INTERRUPTED}\t,' "jobs/$job/running" >>"jobs/$job/runs"
if [ -n "${{3:-}}" ]; then version=$(awk -v role="$3" '{layout.LAST_OF_ROLE}' history)
else version=$(tail -n 1 history | cut -d' ' -f2); fi
if [ "$why" = asked ] && [ ! -e "versions/$version/jobs/$job.run" ]; then echo "{MARK}missing"; exit 1; fi
start=$(date -u +%Y-%m-%dT%H:%M:%SZ) SECONDS=0
log=jobs/$job/$(date -u +%Y%m%dT%H%M%S.%N).log
printf '%s\\t%s\\t%s\\t%s\\n' "$start" "$version" "$why" "${{log##*/}}" >"jobs/$job/running"
(umask 077; : >"$log")
# Whoever asked for it may go before its end: then it is written down only (-p).
bash "versions/$version/jobs/$job.run" 9>&- 2>&1 | tee -p -a "$log" 9>&-
code=$?
sed "s,$,\\t$code\\t$SECONDS," "jobs/$job/running" >>"jobs/$job/runs"
rm -f "jobs/$job/running"
tail -n {KEPT_RUNS} "jobs/$job/runs" >"jobs/$job/runs.new" && mv -f "jobs/$job/runs.new" "jobs/$job/runs"
ls -1 "jobs/$job" | grep '\\.log$' | head -n -{KEPT_RUNS} | while read -r old; do rm -f "jobs/$job/$old"; done
exit $code
"""

_INSTALL = r"""
want=@want@ changed= units= bad= sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
shopt -s nullglob
# left_out UNIT: it is of a role of this service that is not part of this deploy.
left_out() {
    local role
    role=$(sed -n 's/^# Role //p' "$1")
    [ -n "$role" ] || return 1
    case " @left_out@ " in *" $role "*) return 0 ;; esac
    return 1
}
as_root() {
    $sudo "$@" || { echo "failed: timers of jobs need root, or sudo without a password"; exit 1; }
}
# sound UNIT: systemd has it as its file says, and a timer waits. An earlier run may have been cut off
# between the two.
sound() {
    local said
    said=$(systemctl show --property ActiveState,UnitFileState,NeedDaemonReload "$1")
    grep -qx NeedDaemonReload=no <<<"$said" || return 1
    case $1 in *.service) return 0 ;; esac
    grep -qx ActiveState=active <<<"$said" && grep -qx UnitFileState=enabled <<<"$said"
}
for path in "$want"/*.timer "$want"/*.service; do
    unit=@prefix@${path##*/}
    if left_out "$path"; then continue; fi
    units="$units $unit"
    if ! sed "s/@USER@/$(id -un)/" "$path" | cmp -s - "@units@/$unit"; then
        sed "s/@USER@/$(id -un)/" "$path" | as_root tee "@units@/$unit" >/dev/null
        changed="$changed $unit"
    fi
done
for path in @units@/@prefix@*.timer @units@/@prefix@*.service; do
    unit=${path##*/}
    case "$units " in *" $unit "*) continue ;; esac
    # Of another service whose name begins as this one's does.
    grep -qx '# Of @name@' "$path" || continue
    if left_out "$path"; then continue; fi
    case $unit in *.timer) as_root systemctl disable --now --quiet "$unit" ;; esac
    as_root rm -f "$path"
    # Else systemd would hold a job that failed against the host until it starts anew.
    $sudo systemctl reset-failed "$unit" 2>/dev/null || true
    changed="$changed $unit"
done
for unit in $units; do
    case "$changed " in *" $unit "*) continue ;; esac
    sound "$unit" || changed="$changed $unit"
done
[ -n "$changed" ] || { echo "jobs unchanged"; exit 0; }
as_root systemctl daemon-reload
for path in "$want"/*.timer; do
    unit=@prefix@${path##*/}
    case "$changed " in *" $unit "*) ;; *) continue ;; esac
    # One that systemd does not take keeps the others from nothing.
    { $sudo systemctl enable --quiet "$unit" && $sudo systemctl restart "$unit"; } || bad="$bad $unit"
done
echo "jobs:$changed"
[ -z "$bad" ] || { echo "failed: systemd does not start$bad"; exit 1; }
"""


def prefix(name: str) -> str:
    """How the units of a service's jobs begin."""
    return f"freehold-job-{name}-"


def unit(name: str, job: str, kind: str = "timer") -> str:
    """The unit of a job."""
    return f"{prefix(name)}{job}.{kind}"


def directory(name: str, version: str) -> str:
    """What a version says about the jobs of this host."""
    return f"{layout.version(name, version)}/jobs"


def on_host(config: DeployConfig, host: str) -> tuple[Job, ...]:
    """The jobs of the selected roles that run on a host."""
    return tuple(job for job in config.jobs if job.host == host and job.role not in config.left_out)


def store_fragment(config: DeployConfig, host: str, version: str) -> str:
    """Keep a version's jobs beside it; those of roles that were not selected stay as they are there."""
    own = directory(config.name, version)
    lines = [discard(own)]
    if config.left_out:
        others = "|".join(shlex.quote(name) for name in config.left_out)
        lines = [
            f"for unit in {shlex.quote(own)}/*.timer; do\n"
            '    [ -e "$unit" ] || continue\n'
            f"    case $(sed -n 's/^# Role //p' \"$unit\") in {others}) continue ;; esac\n"
            '    rm -f "${unit%.timer}".{timer,service,run}\n'
            "done"
        ]
    here = on_host(config, host)
    if here:
        lines.append(f"mkdir -p {shlex.quote(own)} {layout.app(config.name)}/jobs")
        run = f"{layout.app(config.name)}/jobs/run"
        lines.append(f"cat >{run}.new {heredoc(_DISPATCHER)}\nmv -f {run}.new {run}")
    for job in here:
        for kind, text in (
            ("timer", timer(config, job)),
            ("service", service(config, job)),
            ("run", run_text(config, job, version)),
        ):
            lines.append(f"cat >{shlex.quote(f'{own}/{job.name}.{kind}')} {heredoc(text)}")
    return "\n".join(lines)


def timer(config: DeployConfig, job: Job) -> str:
    """The timer unit of a job."""
    times = "".join(f"OnCalendar={time}\n" for time in job.calendar)
    return (
        f"# Of {config.name}\n# Role {job.role}\n"
        f"[Unit]\nDescription=Job {job.name} of {config.name}\n\n[Timer]\n{times}"
        f"AccuracySec=1s\nPersistent={str(job.catch_up).lower()}\n\n[Install]\nWantedBy=timers.target\n"
    )


def service(config: DeployConfig, job: Job) -> str:
    """The service unit of a job; the user is filled in on the host."""
    run = f"{layout.app(config.name)}/jobs/run"
    return (
        f"# Of {config.name}\n# Role {job.role}\n"
        f"[Unit]\nDescription=Job {job.name} of {config.name}\n"
        "After=docker.service\nRequires=docker.service\n\n"
        f"[Service]\nType=oneshot\nUser=@USER@\nExecStart=/bin/bash {run} {job.name} schedule {job.role}\n"
        f"TimeoutStartSec={round(job.timeout) + 60}\n"
    )


def run_text(config: DeployConfig, job: Job, version: str) -> str:
    """What runs: a container of its own with the role's image, environment, volumes and options."""
    role = config.role(job.role)
    env = layout.env_file(config.name, version, job.role)
    name = f"{config.container_prefix(role)}-job-{job.name}"
    first, *further = networks.of(role.options)
    flags = ["--rm", "--pull", "never", "--name", name, "--env-file", env, "--network", first.text]
    for variable, value in docker.identity(config, role, version, job.host).items():
        if variable != "KAMAL_CONTAINER_NAME":
            flags += ["--env", f"{variable}={value}"]
    for volume in config.volumes:
        flags += ["--volume", volume]
    labels = {"service": config.service, "destination": config.destination or "", "freehold.job": job.name}
    for label, value in labels.items():
        flags += ["--label", f"{label}={value}"]
    flags += docker.options_argv(networks.rest(role.options, "publish", "name", "restart"))
    rest = f'{hostvalues.join(flags)} $names --entrypoint /bin/sh "$image" -c {shlex.quote(job.cmd)}'
    run = f"docker run {rest}"
    if further:
        connects = " && ".join(networks.connect(network, name) for network in further)
        run = f"docker create {rest} >/dev/null && {connects} && docker start --attach {name}"
    container = shlex.quote(config.container_name(role, version))
    seconds = round(job.timeout)
    return f"""\
image=$(docker inspect --format '{{{{.Image}}}}' {container}) || exit 1
names=
if [ -e {env}.multi ]; then
    . {env}.multi
    names=$({docker.NAMES_APART} {env}.multi | sed 's/^/--env /')
fi
docker rm --force {name} >/dev/null 2>&1
intime=$(mktemp)
# Goes with this script, or ends the container first: a shell as PID 1 heeds no SIGTERM.
(
    timeout {seconds} tail --pid=$$ -f /dev/null
    if [ $? = 124 ]; then
        rm -f "$intime"
        # It may not have been made yet, or not be started.
        while kill -0 $$; do docker stop --time 10 {name}; sleep 1; done
    fi
) >/dev/null 2>&1 &
{run}
code=$?
if [ ! -e "$intime" ]; then
    echo "ended after {seconds} s"
    exit {OVERTIME}
fi
rm -f "$intime"
exit $code
"""


def install_step(config: DeployConfig, version: str | None) -> Step:
    """Make the host's timers those of a version (None: of none at all)."""
    want = directory(config.name, version) if version else "/nonexistent"
    text = _INSTALL
    for word, value in (
        ("@want@", shlex.quote(want)),
        ("@prefix@", prefix(config.name)),
        ("@units@", UNITS),
        ("@name@", config.name),
        ("@left_out@", " ".join(config.left_out)),
    ):
        text = text.replace(word, value)
    return Step("jobs", text, "timers of jobs")
