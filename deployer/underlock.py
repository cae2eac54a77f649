"""Scripts on many hosts, for as long as the deploy lock is held and until one of them fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployer.fleet import Answers, Fleet
from deployer.report import check, summary
from deployer.script import Script, ScriptResult
from deployer.stream import Stopped
from freehold.errors import FreeholdError, LockedError


class UnderLock:
    """What a rollout does to the hosts of `fleet`: all of them, or an error that names those which failed."""

    fleet: Fleet

    def _must(self, scripts: Mapping[str, Script], title: str, timeout: float) -> None:
        answers = self._watched(scripts, title, timeout, together=True)
        self._raise(list(answers.errors.values()), scripts, answers.values)

    def _watched(
        self, scripts: Mapping[str, Script], title: str, timeout: float, *, together: bool
    ) -> Answers[ScriptResult]:
        self.still_locked()
        answers = self.fleet.run(scripts, title, timeout=timeout, together=together, watched=True)
        self.still_locked()
        return answers

    def still_locked(self) -> None:
        """LockedError once the lock is lost: another may deploy by now."""
        if self.fleet.lock_lost.is_set():
            raise LockedError(
                f"{self.fleet.lock_host}: the deploy lock was lost while the deploy ran",
                hint="the connection to this host broke, or it went down; run the command again",
            )

    def _raise(
        self,
        failures: Sequence[FreeholdError],
        scripts: Mapping[str, Script],
        results: Mapping[str, ScriptResult],
    ) -> None:
        """One error for all that failed. A host that was only stopped on their account is not one of them."""
        errors = [error for error in failures if not isinstance(error, Stopped)]
        errors += check(scripts, results)
        if errors or failures:
            errors = errors or list(failures)
            raise summary(errors, "every host goes back to the version before") if errors[1:] else errors[0]
