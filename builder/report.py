"""`image test`: boot an image in every asked way, run the host checks in it, say what was found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder.bare import installed
from builder.image import Image
from builder.installer import Live
from builder.qemu import CLIENT, MODES, Medium, Mode
from builder.spec import ARCHES, SUITES, ImageSpec
from builder.trial import USER, Trial, booted
from cloudinit.checks import CHECKS, CheckResult, access, gather
from cloudinit.facts import Facts
from cloudinit.profile import HostProfile
from freehold.console import Console, duration
from freehold.errors import BuildError, UsageError
from freehold.process import Completed, Runner


@dataclass(frozen=True)
class Output:
    """What a command in the machine returned, as the checks read it."""

    completed: Completed

    @property
    def rc(self) -> int:
        """The exit code."""
        return self.completed.returncode

    @property
    def stdout(self) -> str:
        """Standard output."""
        return self.completed.stdout

    @property
    def stderr(self) -> str:
        """Standard error."""
        return self.completed.stderr


@dataclass(frozen=True)
class TrialHost:
    """A machine on trial as the checks see a host."""

    trial: Trial

    def run(self, command: str, /) -> Output:
        """Run a shell command over SSH."""
        return Output(self.trial.ssh(command, timeout=300, check=False))


@dataclass(frozen=True)
class TrialResult:
    """One boot. `seconds` from power-on to the first SSH answer, the installation from `medium` included."""

    mode: Mode
    seconds: float
    checks: tuple[CheckResult, ...]
    medium: Medium | None = None

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)


def default_modes(arch: str) -> tuple[Mode, ...]:
    """The ways in which a machine of this type starts without help from outside."""
    return ("bios", "secure") if ARCHES[arch].bios else ("uefi",)


def on_trial(spec: ImageSpec) -> ImageSpec:
    """The image as it is tried: the same, unless `ssh.allow` shuts out the computer that tries it."""
    return spec if spec.profile is None else replace(spec, profile=spec.profile.admitting(CLIENT))


def _profile(spec: ImageSpec) -> HostProfile:
    return spec.profile if spec.profile is not None else HostProfile()


def trials(
    image: Image,
    spec: ImageSpec,
    modes: Sequence[str],
    *,
    runner: Runner,
    console: Console,
    evidence: Path,
) -> tuple[TrialResult, ...]:
    """Boot `image` once for each mode (default: `default_modes`), one after the other."""
    port, results = _profile(spec).ssh.port, []
    for mode in chosen_modes(image.arch, modes):
        with (
            console.step(f"booting {image.suite} {image.arch} ({mode})"),
            booted(image, mode, runner=runner, evidence=evidence, ssh_port=port) as trial,
        ):
            results.append(checked(trial, spec, mode))
    return tuple(results)


GENERIC = "add --kernel generic, as installers have it"


def reads_cds(spec: ImageSpec) -> bool:
    """Whether the image's kernel drives the CD drive of a PC."""
    return spec.kernel == "generic" or SUITES[spec.suite].cloud_sata


def check_medium(spec: ImageSpec, modes: Sequence[str], medium: Medium) -> None:
    """UsageError where no machine could be installed this way; before anything is built."""
    if medium == "net" and "secure" in modes:
        raise UsageError("QEMU's network cards carry an iPXE that is not signed", hint="leave secure out")
    if medium == "usb" and spec.kernel == "cloud":
        raise UsageError("the cloud kernel knows no USB", hint=GENERIC)
    if medium == "cd" and not reads_cds(spec):
        raise UsageError(f"the cloud kernel of {spec.suite} knows no SATA, and so no CD drive", hint=GENERIC)
    if "direct" in modes:
        raise UsageError("a machine that starts a kernel directly reads no medium", hint="leave direct out")


def install_trials(
    live: Live,
    spec: ImageSpec,
    modes: Sequence[str],
    medium: Medium,
    *,
    runner: Runner,
    console: Console,
    evidence: Path,
) -> tuple[TrialResult, ...]:
    """Install on an empty disk from the ISO, seen as `medium`, once for each mode; check what starts."""
    check_medium(spec, modes, medium)
    chosen = chosen_modes(live.image.arch, modes or (("bios", "uefi") if medium == "net" else ()))
    port, results = _profile(spec).ssh.port, []
    for mode in chosen:
        with (
            console.step(f"installing {live.image.suite} from {medium} ({mode})"),
            installed(live, mode, medium, runner=runner, evidence=evidence, ssh_port=port) as trial,
        ):
            results.append(replace(checked(trial, spec, mode), medium=medium))
    return tuple(results)


def chosen_modes(arch: str, modes: Sequence[str]) -> Sequence[Mode]:
    """The modes that were asked for, each once; `default_modes` where none was."""
    return [mode for mode in MODES if mode in modes] or default_modes(arch)


def checked(trial: Trial, spec: ImageSpec, mode: Mode, keyed: Collection[str] = (USER,)) -> TrialResult:
    """Wait until the host is done with its first boot, and run the checks; `keyed` as of `judged`."""
    settle(trial)
    profile = _profile(spec)
    return TrialResult(mode, trial.seconds, judged(gather(TrialHost(trial), profile), profile, keyed))


def judged(facts: Facts, profile: HostProfile, keyed: Collection[str]) -> tuple[CheckResult, ...]:
    """The outcome of every check against a machine on trial.

    `keyed` are the users whom its seed gives a key: others need none that the profile has none for.
    """
    users = tuple(user for user in profile.users if user.public_keys or user.name in keyed)
    logins = replace(profile, users=users)
    return tuple(check.result(facts, logins if check is access.keys else profile) for check in CHECKS)


def settle(trial: Trial, *, deadline: float = 1200) -> None:
    """Wait until cloud-init and every unit are done; BuildError where cloud-init failed."""
    done = trial.ssh("cloud-init status --wait --long", timeout=deadline, check=False)
    # 2 means done with warnings: a newer cloud-init calls keys of an older one deprecated.
    if done.returncode not in (0, 2):
        raise BuildError("cloud-init failed in the machine", details=done.stdout.splitlines()[-15:])
    trial.ssh("systemctl is-system-running --wait", timeout=deadline, check=False)


def report(results: Sequence[TrialResult], console: Console) -> None:
    """Print the outcome; BuildError where a check failed."""
    if console.json:
        console.data(
            [
                {
                    "mode": result.mode,
                    "medium": result.medium,
                    "seconds": round(result.seconds, 1),
                    "ok": result.ok,
                    "checks": [
                        {"id": check.id, "title": check.title, "ok": check.ok, "detail": check.detail}
                        for check in result.checks
                    ],
                }
                for result in results
            ]
        )
    else:
        console.table(
            ("boot", "ssh after", "checks", "failed"),
            [
                (
                    f"{result.mode} from {result.medium}" if result.medium else result.mode,
                    duration(result.seconds),
                    len(result.checks),
                    ", ".join(check.id for check in result.checks if not check.ok) or "-",
                )
                for result in results
            ],
        )
    failed = [
        f"{result.mode}: {check.title}: {check.detail}"
        for result in results
        for check in result.checks
        if not check.ok
    ]
    if failed:
        raise BuildError(f"{len(failed)} checks failed", details=failed)
