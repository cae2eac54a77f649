"""Reading the keys that a profile only names: files, the SSH agent, GitHub."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from cloudinit.keys import KeySource, PublicKey, parse_authorized_keys
from cloudinit.profile import HostProfile
from cloudinit.users import User
from freehold.errors import ConfigError, ProgramMissing
from freehold.process import Runner

GITHUB_KEYS = "https://github.com/{name}.keys"
FETCH_TIMEOUT = 15.0


class KeySources(Protocol):
    """Where the text of keys comes from; each method returns lines as `authorized_keys` has them."""

    def file(self, path: str) -> str: ...
    def agent(self) -> str: ...
    def github(self, name: str) -> str: ...
    def own(self) -> str: ...


@dataclass(frozen=True)
class LocalKeySources:
    """This machine: files relative to the project's root, `ssh-add -L`, GitHub over HTTPS."""

    runner: Runner
    root: Path

    def file(self, path: str) -> str:
        """The text of a key file; `~` is this user's home. OSError where it cannot be read."""
        return (self.root / Path(path).expanduser()).read_text(encoding="utf-8")

    def agent(self) -> str:
        """The keys of the running agent; empty without one."""
        try:
            found = self.runner.run(["ssh-add", "-L"], check=False, timeout=10)
        except ProgramMissing:
            return ""
        return found.stdout if found.returncode == 0 else ""

    def github(self, name: str) -> str:
        """The keys that a GitHub user has made public. OSError where they cannot be read."""
        with urllib.request.urlopen(GITHUB_KEYS.format(name=name), timeout=FETCH_TIMEOUT) as answer:
            data: bytes = answer.read(1_000_000)
        return data.decode("utf-8", "replace")

    def own(self) -> str:
        """The operator's own keys: the agent's, else `~/.ssh/id_*.pub`."""
        found = self.agent()
        if found:
            return found
        paths = sorted(Path("~/.ssh").expanduser().glob("id_*.pub"))
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


def resolve_keys(profile: HostProfile, sources: KeySources) -> HostProfile:
    """The profile with every key read. A user who names none gets the operator's own beside what is there.

    ConfigError at the key that cannot be read.
    """
    return replace(profile, users=tuple(_resolve_user(user, sources) for user in profile.users))


def _resolve_user(user: User, sources: KeySources) -> User:
    keys: list[PublicKey] = []
    for key in user.keys:
        keys += [key] if isinstance(key, PublicKey) else _resolve(key, sources)
    if not user.keys:
        keys += _usable(sources.own())
    return replace(user, keys=_unique(keys), keys_added=not user.keys)


def _unique(keys: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
    return tuple({(key.type, key.data): key for key in reversed(keys)}.values())[::-1]


def _usable(text: str) -> list[PublicKey]:
    # The operator may hold old keys of kinds that no host takes; they are passed over.
    found: list[PublicKey] = []
    for line in text.splitlines():
        try:
            found += parse_authorized_keys(line)
        except ValueError:
            continue
    return found


def _resolve(source: KeySource, sources: KeySources) -> list[PublicKey]:
    try:
        match source.kind:
            case "file":
                text = sources.file(source.value)
            case "agent":
                text = sources.agent()
            case "github":
                text = sources.github(source.value)
        keys = parse_authorized_keys(text)
    except urllib.error.HTTPError as exc:
        hint = "check the name" if exc.code == 404 else "try again, or write the keys into the file"
        raise ConfigError(f"{source}: GitHub answers {exc.code}", where=source.where, hint=hint) from exc
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ConfigError(f"{source} cannot be read: {reason}", where=source.where) from exc
    except ValueError as exc:
        raise ConfigError(f"{source}: {exc}", where=source.where) from exc
    if not keys:
        hint = "`ssh-add -L` shows what the agent holds" if source.kind == "agent" else ""
        raise ConfigError(f"{source} holds no key", where=source.where, hint=hint)
    return list(keys)
