"""Scheduled jobs on a host: systemd timers, a dispatcher that finds the version that serves, its record.

    /etc/systemd/system/freehold-job-<service>-<job>.timer, .service
    apps/<service>/versions/<version>/jobs/<job>.timer, .service, .run     what a version says
    apps/<service>/jobs/run                                                the dispatcher
    apps/<service>/jobs/<job>/runs, <start>.log                            what came of it

Units are installed once a version serves, by a rollback too: jobs are part of a version.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from deployer.commands import docker, layout
from deployer.config import DeployConfig
from deployer.config.jobs import Job
from deployer.script import Script, Step, discard, heredoc

UNITS = "/etc/systemd/system"
KEPT_RUNS = 30
BUSY = 75
OVERTIME = 124

# Arguments: the job, and why it runs.
_DISPATCHER = f"""\
set -o pipefail
cd "$(dirname "$0")/.." || exit 1
job=$1 why=$2
mkdir -p "jobs/$job"
exec 9>>"jobs/$job/lock"
flock --nonblock 9 || {{ echo "$job runs already"; exit {BUSY}; }}
version=$(tail -n 1 history | cut -d' ' -f2)
start=$(date -u +%Y-%m-%dT%H:%M:%SZ) SECONDS=0
log=jobs/$job/$(date -u +%Y%m%dT%H%M%S.%N).log
printf '%s\\t%s\\t%s\\t%s\\n' "$start" "$version" "$why" "${{log##*/}}" >"jobs/$job/running"
(umask 077; : >"$log")
bash "versions/$version/jobs/$job.run" 9>&- 2>&1 | tee -a "$log"
code=$?
sed "s,$,\\t$code\\t$SECONDS," "jobs/$job/running" >>"jobs/$job/runs"
rm -f "jobs/$job/running"
tail -n {KEPT_RUNS} "jobs/$job/runs" >"jobs/$job/runs.new" && mv -f "jobs/$job/runs.new" "jobs/$job/runs"
ls -1 "jobs/$job" | grep '\\.log$' | head -n -{KEPT_RUNS} | while read -r old; do rm -f "jobs/$job/$old"; done
exit $code
"""

_INSTALL = r"""
want=@want@ changed= sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -n"
shopt -s nullglob
as_root() {
    $sudo "$@" || { echo "failed: timers of jobs need root, or sudo without a password"; exit 1; }
}
keep=" "
for path in "$want"/*.timer "$want"/*.service; do
    unit=@prefix@${path##*/}
    keep="$keep$unit "
    if ! sed "s/@USER@/$(id -un)/" "$path" | cmp -s - "@units@/$unit"; then
        sed "s/@USER@/$(id -un)/" "$path" | as_root tee "@units@/$unit" >/dev/null
        changed="$changed $unit"
    fi
done
for path in @units@/@prefix@*.timer @units@/@prefix@*.service; do
    unit=${path##*/}
    case "$keep" in *" $unit "*) continue ;; esac
    # Of another service whose name begins as this one's does.
    grep -qx '# Of @name@' "$path" || continue
    case $unit in *.timer) as_root systemctl disable --now --quiet "$unit" ;; esac
    as_root rm -f "$path"
    changed="$changed $unit"
done
[ -n "$changed" ] || { echo "jobs unchanged"; exit 0; }
as_root systemctl daemon-reload
for path in "$want"/*.timer; do
    unit=@prefix@${path##*/}
    as_root systemctl enable --quiet "$unit"
    case "$changed" in *" $unit"*) as_root systemctl restart "$unit" ;; esac
done
echo "jobs:$changed"
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
    """The jobs that run on a host."""
    return tuple(job for job in config.jobs if job.host == host)


def store_fragment(config: DeployConfig, host: str, version: str) -> str:
    """Keep a version's jobs beside it."""
    own = directory(config.name, version)
    lines = [discard(own)]
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
        f"# Of {config.name}\n[Unit]\nDescription=Job {job.name} of {config.name}\n\n[Timer]\n{times}"
        f"AccuracySec=1s\nPersistent={str(job.catch_up).lower()}\n\n[Install]\nWantedBy=timers.target\n"
    )


def service(config: DeployConfig, job: Job) -> str:
    """The service unit of a job; the user is filled in on the host."""
    run = f"{layout.app(config.name)}/jobs/run"
    return (
        f"# Of {config.name}\n[Unit]\nDescription=Job {job.name} of {config.name}\n"
        "After=docker.service\nRequires=docker.service\n\n"
        f"[Service]\nType=oneshot\nUser=@USER@\nExecStart=/bin/bash {run} {job.name} schedule\n"
        f"TimeoutStartSec={round(job.timeout) + 60}\n"
    )


def run_text(config: DeployConfig, job: Job, version: str) -> str:
    """What runs: a container of its own with the role's image, environment, volumes and options."""
    role = config.role(job.role)
    env = layout.env_file(config.name, version, job.role)
    name = f"{config.container_prefix(role)}-job-{job.name}"
    flags = ["--rm", "--pull", "never", "--name", name, "--env-file", env]
    if "network" not in role.options:
        flags += ["--network", layout.NETWORK]
    for variable, value in docker.identity(config, role, version, job.host).items():
        if variable != "KAMAL_CONTAINER_NAME":
            flags += ["--env", f"{variable}={value}"]
    for volume in config.volumes:
        flags += ["--volume", volume]
    labels = {"service": config.service, "destination": config.destination or "", "freehold.job": job.name}
    for label, value in labels.items():
        flags += ["--label", f"{label}={value}"]
    flags += docker.options_argv(
        {key: value for key, value in role.options.items() if key not in ("publish", "name", "restart")}
    )
    container = shlex.quote(config.container_name(role, version))
    seconds = round(job.timeout)
    return f"""\
image=$(docker inspect --format '{{{{.Image}}}}' {container}) || exit 1
names=
if [ -e {env}.multi ]; then
    . {env}.multi
    names=$(sed -n 's/^export \\([^=]*\\)=.*/--env \\1/p' {env}.multi)
fi
docker rm --force {name} >/dev/null 2>&1
intime=$(mktemp)
# Goes with this script, or ends the container first: a shell as PID 1 heeds no SIGTERM.
(
    timeout {seconds} tail --pid=$$ -f /dev/null
    if [ $? = 124 ]; then
        rm -f "$intime"
        docker stop --time 10 {name}
    fi
) >/dev/null 2>&1 &
docker run {shlex.join(flags)} $names --entrypoint /bin/sh "$image" -c {shlex.quote(job.cmd)}
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
    ):
        text = text.replace(word, value)
    return Step("jobs", text, "timers of jobs")


def list_script(config: DeployConfig, host: str) -> Script:
    """What a host knows of its jobs: next time, the run under way, the last runs."""
    lines = []
    for job in on_host(config, host):
        own = f"{layout.app(config.name)}/jobs/{job.name}"
        show = ["systemctl", "show", "--property", "NextElapseUSecRealtime", "--value"]
        timer_unit = unit(config.name, job.name)
        lines.append(
            f"if [ -e {UNITS}/{timer_unit} ]; then "
            f"printf 'next\\t{job.name}\\t%s\\n' \"$({shlex.join([*show, timer_unit])})\"; fi\n"
            f"[ ! -e {own}/running ] || sed 's/^/running\\t{job.name}\\t/' {own}/running\n"
            f"[ ! -e {own}/runs ] || sed 's/^/run\\t{job.name}\\t/' {own}/runs"
        )
    return Script((Step("jobs", "\n".join([*lines, "true"]), "jobs"),))


@dataclass(frozen=True)
class Run:
    """A run of a job; `code` is None while it goes on."""

    start: str
    version: str
    why: str
    log: str
    code: int | None = None
    seconds: int | None = None


@dataclass(frozen=True)
class JobState:
    """A job on its host: when it runs next (empty: no timer), and its runs, the oldest first."""

    next: str = ""
    runs: tuple[Run, ...] = ()


def parse_states(lines: tuple[str, ...]) -> dict[str, JobState]:
    """The answer of `list_script`, by job."""
    found: dict[str, JobState] = {}
    for line in lines:
        kind, *cells = line.split("\t")
        if not cells:
            continue
        state = found.get(cells[0], JobState())
        if kind == "next":
            state = JobState(cells[1], state.runs)
        elif kind == "run" and len(cells) == 7:
            run = Run(cells[1], cells[2], cells[3], cells[4], int(cells[5]), int(cells[6]))
            ended = tuple(one for one in state.runs if one.code is not None)
            state = JobState(state.next, (*ended, run, *(one for one in state.runs if one.code is None)))
        elif kind == "running" and len(cells) == 5:
            state = JobState(state.next, (*state.runs, Run(cells[1], cells[2], cells[3], cells[4])))
        found[cells[0]] = state
    return found


def run_command(config: DeployConfig, job: Job) -> str:
    """Run a job now, as its timer does."""
    return shlex.join(["bash", f"{layout.app(config.name)}/jobs/run", job.name, "asked"])


def log_command(config: DeployConfig, job: Job, run: Run) -> str:
    """What a run printed."""
    return shlex.join(["cat", f"{layout.app(config.name)}/jobs/{job.name}/{run.log}"])
