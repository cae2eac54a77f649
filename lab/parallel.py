"""The same work for several machines at once; the first failure tells the others to give up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from threading import Event

from freehold.errors import FreeholdError, LabError
from lab.state import MachineState


def each(
    machines: Sequence[MachineState],
    work: Callable[[MachineState, Event], None],
    *,
    doing: str,
    failed: Callable[[MachineState, BaseException], None] = lambda _machine, _error: None,
) -> None:
    """Run `work(machine, stop)` for each machine in a thread of its own.

    `stop` is set as soon as one fails, and by Ctrl-C. One failure is raised as it is, several as one
    LabError that names each.
    """
    if not machines:
        return
    stop = Event()
    errors: list[tuple[MachineState, BaseException]] = []
    with ThreadPoolExecutor(len(machines), thread_name_prefix="lab") as pool:
        futures = {pool.submit(work, machine, stop): machine for machine in machines}
        pending = set(futures)
        try:
            while pending:
                # In slices: a thread's wait without a limit would hold back Ctrl-C.
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if error is not None:
                        given_up = stop.is_set()
                        stop.set()
                        failed(futures[future], error)
                        if not given_up or not _follows(error):
                            errors.append((futures[future], error))
        except BaseException:
            stop.set()
            raise
    if len(errors) == 1:
        raise errors[0][1]
    if errors:
        raise _together(errors, doing)


def _follows(error: BaseException) -> bool:
    return isinstance(error, FreeholdError) and error.message.endswith("given up")


def _together(errors: Sequence[tuple[MachineState, BaseException]], doing: str) -> LabError:
    details: list[str] = []
    hints: list[str] = []
    for machine, error in errors:
        message = str(error)
        details.append(message if message.startswith(machine.name) else f"{machine.name}: {message}")
        if isinstance(error, FreeholdError):
            details += [f"  {line}" for line in error.details[-8:]]
            if error.hint and error.hint not in hints:
                hints.append(error.hint)
    return LabError(
        f"{doing} failed on {len(errors)} machines", hint=hints[0] if hints else "", details=details
    )
