"""Every error that Freehold raises on purpose.

    FreeholdError                 exit code 1: it failed
    ├── InputError                exit code 2: what the user wrote is wrong
    │   ├── ConfigError           a configuration file, with file, line and key
    │   └── UsageError            the command line
    ├── ProcessError              a local process failed
    │   ├── ProcessTimeout        it ran past its deadline and was ended
    │   └── ProgramMissing        it is not installed
    ├── HostError                 a remote host, at a named step
    │   ├── ConnectError          no SSH connection
    │   │   └── HostKeyError      the host's key is unknown or changed
    │   └── StepFailed            a step of a script exited non-zero
    ├── LockedError               somebody else holds the deploy lock
    ├── DeadlineError             something did not happen in time
    ├── HookError                 a hook of the user's failed
    ├── BuildError                images
    └── LabError                  virtual machines

An error says what failed; `hint` says what to do next; `details` are the last lines it printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.source import Location


class FreeholdError(Exception):
    """Base of the tree: a message for a person, with a hint and details."""

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        where: Location | None = None,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.details = tuple(details)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class InputError(FreeholdError):
    """What the user wrote is wrong; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file is wrong at `where`."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        where: Location | None = None,
        details: Sequence[str] = (),
    ) -> None:
        # What is quoted may be as long as the file.
        super().__init__(_shortened(message), hint=_shortened(hint), where=where, details=details)


class UsageError(InputError):
    """The command line is wrong."""


class ProcessError(FreeholdError):
    """A local process exited with something else than zero."""

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        returncode: int | None = None,
        stdout: str = "",
        stderr: str = "",
        hint: str = "",
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ProcessTimeout(ProcessError):
    """A local process ran past its deadline and was ended."""


class ProgramMissing(ProcessError):
    """A program is not installed on this machine."""


class HostError(FreeholdError):
    """Something failed on a remote host, at a named step where there is one."""

    def __init__(
        self,
        message: str,
        *,
        host: str,
        step: str = "",
        hint: str = "",
        details: Sequence[str] = (),
    ) -> None:
        place = f"{host}: {step}" if step else host
        super().__init__(f"{place}: {message}", hint=hint, details=details)
        self.host = host
        self.step = step


class ConnectError(HostError):
    """No SSH connection to the host."""


class HostKeyError(ConnectError):
    """The host's SSH key is not known, or not the known one."""


class StepFailed(HostError):
    """A step of a script exited with `returncode`."""

    def __init__(
        self,
        message: str,
        *,
        host: str,
        step: str,
        returncode: int,
        output: str = "",
        hint: str = "",
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(
            message,
            host=host,
            step=step,
            hint=hint,
            details=details or tuple(output.splitlines()[-20:]),
        )
        self.returncode = returncode
        self.output = output


class LockedError(FreeholdError):
    """Somebody else holds the lock."""


class DeadlineError(FreeholdError):
    """Something did not happen before its deadline."""


class HookError(FreeholdError):
    """A program of the user's that runs before or after something failed."""


class BuildError(FreeholdError):
    """An image could not be built."""


class LabError(FreeholdError):
    """The lab could not do what was asked."""


def _shortened(text: str) -> str:
    return re.sub(r"\S{400,}", lambda found: f"{found[0][:60]}…{found[0][-20:]}", text)
