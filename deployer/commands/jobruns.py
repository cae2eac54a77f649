"""What a host knows of its jobs: the question (shell) beside the answer (a parser), and running one now."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from deployer.commands import layout
from deployer.commands.jobs import INTERRUPTED, MARK, UNITS, on_host, unit
from deployer.config import DeployConfig
from deployer.config.jobs import Job
from deployer.script import Script, Step


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
            # A run under way has the lock; it may end while it is asked for.
            f"[ ! -e {own}/running ] || flock --shared --nonblock {own}/lock "
            f"sed 's/^/killed\\t{job.name}\\t/' {own}/running 2>/dev/null || "
            f"sed 's/^/running\\t{job.name}\\t/' {own}/running 2>/dev/null || true\n"
            f"[ ! -e {own}/runs ] || sed 's/^/run\\t{job.name}\\t/' {own}/runs"
        )
    return Script((Step("jobs", "\n".join([*lines, "true"]), "jobs"),))


@dataclass(frozen=True)
class Run:
    """A run of a job; `code` is None while it goes on, `seconds` too where it was killed."""

    start: str
    version: str
    why: str
    log: str
    code: int | None = None
    seconds: int | None = None

    @property
    def result(self) -> str:
        """How it ended, for people."""
        words = {None: "running", INTERRUPTED: "interrupted"}
        return words.get(self.code, f"exit code {self.code}")


@dataclass(frozen=True)
class JobState:
    """A job on its host: when it runs next (empty: no timer), and its runs, the oldest first."""

    next: str = ""
    runs: tuple[Run, ...] = ()

    def joined(self, run: Run) -> JobState:
        """With one more run."""
        runs = sorted((*self.runs, run), key=lambda one: (one.code is None, one.start))
        return JobState(self.next, tuple(runs))


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
            seconds = int(cells[6]) if cells[6] else None
            state = state.joined(Run(cells[1], cells[2], cells[3], cells[4], int(cells[5]), seconds))
        elif kind in ("running", "killed") and len(cells) == 5:
            code = INTERRUPTED if kind == "killed" else None
            state = state.joined(Run(cells[1], cells[2], cells[3], cells[4], code))
        found[cells[0]] = state
    return found


def run_command(config: DeployConfig, job: Job) -> str:
    """Run a job now, as its timer does. In place of a run that cannot be, one line says why (`MARK`)."""
    run = f"{layout.app(config.name)}/jobs/run"
    words = shlex.join(["bash", run, job.name, "asked", job.role])
    return f"if [ ! -e {run} ]; then echo {shlex.quote(MARK + 'missing')}; exit 1; fi\n{words}"


def log_command(config: DeployConfig, job: Job, run: Run) -> str:
    """What a run printed."""
    return shlex.join(["cat", f"{layout.app(config.name)}/jobs/{job.name}/{run.log}"])
