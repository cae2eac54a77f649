"""What a person typed for `exec`: as one line, and as the audit log tells of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deployer.cli.session import Session
    from freehold.secret import Secret


def typed(command: Sequence[str]) -> str:
    """The words of a command as one line; a single one is a line already."""
    return command[0] if len(command) == 1 else shlex.join(command)


def noted(
    session: Session,
    command: Sequence[str],
    where: str,
    text: str,
    env: Mapping[str, Secret] | None = None,
) -> str:
    """Shell text that runs `text`, noted before: who typed what, and the names of what `env` gives.

    The log is read by many and kept for long: no value of `env` stands there, and none of the
    project's secrets.
    """
    from deployer.commands import phases
    from deployer.secrets import Secrets
    from freehold.secret import redact

    store, given = session.whole.secrets, env or {}
    hidden = [*given.values(), *(store.at_hand() if isinstance(store, Secrets) else ())]
    # Word by word: quotes for the shell would part a value.
    said = typed([redact(word, hidden) for word in command])
    names = f" with {', '.join(given)}" if given else ""
    return phases.noted(session.whole, f"{session.who()} executed '{said}' {where}{names}", text)
