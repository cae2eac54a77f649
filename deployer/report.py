"""Why a deploy failed, in the words of the host: cause, probe, exit code, last log lines, a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deployer.script import Script, ScriptResult
from deployer.stream import Stopped
from freehold.errors import FreeholdError, HostError, StepFailed

if TYPE_CHECKING:
    from deployer.fleet import Answers

CAUSE = "failed: "
LOG = "log| "
HINTS = (
    ("Docker is not installed", "`freehold server bootstrap` installs Docker and the proxy"),
    ("permission denied while trying to connect", "add the user to the group docker, or log in as root"),
    ("Docker does not answer", "look at `systemctl status docker` on the host"),
    ("on-demand TLS cannot be enabled", "`freehold proxy boot` teaches the proxy to ask before it gets one"),
    ("the proxy is not installed", "`freehold server bootstrap` installs the proxy"),
    (
        "/var/lib/freehold/proxy",
        "`freehold server bootstrap` prepares it; the user must be in group freehold",
    ),
    ("the Docker network", "`freehold server bootstrap` makes it"),
    ("the proxy does not run as", "`freehold proxy reboot` makes it so"),
    ("the proxy does not run", "look at `journalctl -u freehold-proxy` on the host"),
    (
        "on this host already",
        "give one of them another proxy.host or path_prefix; `freehold app remove` takes the other away",
    ),
    (
        "proxy.ssl: ",
        "leave ssl out of the one that has but a path of the name, or write the same ssl and ssl_redirect "
        "for both",
    ),
    ("port is already allocated", "another container publishes this port; stop it, or choose another"),
    ("address already in use", "another program listens on this port; stop it, or choose another"),
    (
        "nothing can be balanced to it",
        "write addresses under 'servers', or names that a load balancer finds as well as this computer",
    ),
    ("unauthorized", "are `registry.username` and `registry.password` right?"),
    ("no basic auth credentials", "give `registry.username` and `registry.password`"),
    ("manifest unknown", "the registry has no such version; `freehold build push` brings it there"),
    ("HTTP response to HTTPS", "a registry without TLS stands under insecure-registries in daemon.json"),
    ("has no label service", "build it with Freehold, or write LABEL service=… into its Dockerfile"),
    ("are left on this host", "`freehold app remove` removes the application with all that belongs to it"),
    ("No such image", "the image is not on the host; deploy without --skip-push"),
    ("no space left", "free some disk space on the host (`freehold prune all`)"),
    ("answered nothing", "does the application listen on 0.0.0.0 and on `proxy.app_port`?"),
    (
        " answered 3",
        "the health check is redirected in vain; exempt its path from redirects to HTTPS",
    ),
    (" answered 4", "does `proxy.healthcheck.path` exist without a login?"),
    (" answered 5", "the application starts but fails; its last lines are above"),
    ("exit code 137", "it was killed; perhaps it needs more memory"),
    ("the container ended", "its last lines are above"),
    ("the container crashed", "its last lines are above"),
)


def step_error(script: Script, result: ScriptResult) -> HostError:
    """The error for a script that did not end well on its host."""
    return text_error(result, script.title)


def text_error(result: ScriptResult, title: Callable[[str], str] = str) -> HostError:
    """The same for a script that came as text; `title` names a step for people."""
    step = result.failed
    if step is None or (step.state == "cut" and result.returncode == -1):
        detail = result.noise or (step.lines[-20:] if step else ())
        cause = (
            "the connection was lost"
            if result.returncode == -1
            else (detail[-1] if detail else f"the script ended with exit code {result.returncode}")
        )
        hint = "check the network, then run again" if result.returncode == -1 else ""
        return HostError(cause, host=result.host, step=step.name if step else "", hint=hint, details=detail)
    cause = next((line[len(CAUSE) :] for line in step.lines if line.startswith(CAUSE)), "")
    lines = [line for line in step.lines if not line.startswith((CAUSE, "waiting: ", "See 'docker "))]
    if not cause:
        cause = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    whole = "\n".join([cause, *lines])
    hint = next((hint for word, hint in HINTS if word.lower() in whole.lower()), "")
    return StepFailed(
        cause,
        host=result.host,
        step=title(step.name),
        returncode=result.returncode,
        output=step.text,
        hint=hint,
        details=[line.removeprefix(LOG) for line in lines[-52:]],
    )


def check(scripts: Mapping[str, Script], results: Mapping[str, ScriptResult]) -> list[FreeholdError]:
    """One error for each host whose script did not end well."""
    return [step_error(scripts[host], result) for host, result in results.items() if not result.ok]


def summary(errors: list[FreeholdError], what: str) -> FreeholdError:
    """One error for several hosts: the first in full, the others in a line each."""
    first, *others = errors
    message = f"{what}: {first.message}"
    if others:
        message += "".join(f"\n  and {other.message}" for other in others)
    return FreeholdError(message, hint=first.hint, details=first.details)


def told(scripts: Mapping[str, Script], answers: Answers[ScriptResult]) -> Answers[ScriptResult]:
    """The same answers, with a host whose script did not end well among the errors."""
    from deployer.fleet import Answers

    failed = {
        host: step_error(scripts[host], result) for host, result in answers.values.items() if not result.ok
    }
    well = {host: result for host, result in answers.values.items() if result.ok}
    return Answers(well, {**answers.errors, **failed})


def must(
    scripts: Mapping[str, Script], answers: Answers[ScriptResult], what: str
) -> Mapping[str, ScriptResult]:
    """What every host answered; raise where one could not be asked or a script did not end well."""
    errors = [*answers.errors.values(), *check(scripts, answers.values)]
    if errors:
        raise summary(errors, what) if errors[1:] else errors[0]
    return answers.values


def connection_lost(answers: Answers[ScriptResult], host: str) -> bool:
    """Whether a host's script may have come to its end although nobody heard of it."""
    if host in answers.errors:
        return isinstance(answers.errors[host], HostError) and not isinstance(answers.errors[host], Stopped)
    return answers.values[host].returncode == -1
