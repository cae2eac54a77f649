"""Which keys a connection offers, in which order: as OpenSSH and Net::SSH do.

Keys that the file holds or names and those of ~/.ssh/config first, then the agent's, then the usual files.
With `keys_only` the agent is asked for those very keys alone, so that one with a passphrase can be used.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import paramiko
from paramiko.auth_strategy import AuthResult, AuthSource, AuthStrategy, InMemoryPrivateKey

KINDS: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
USUAL = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
CERTIFICATE = "-cert.pub"
MAGIC = b"openssh-key-v1\0"


class Refused(paramiko.AuthenticationException):
    """The host took no key. `locked` are files with a passphrase, whose keys the agent does not have."""

    def __init__(self, reason: str, locked: Sequence[Path] = ()) -> None:
        self.locked = tuple(locked)
        told = [f"{file} is protected by a passphrase, and the agent does not have it" for file in locked]
        super().__init__("; ".join([reason, *told]))


class Keys(AuthStrategy):
    """Offers the keys of one connection until the host takes one.

    Of `files` there need not be any: ~/.ssh/config often names those that other computers have.
    """

    def __init__(
        self,
        user: str,
        given: Sequence[paramiko.PKey] = (),
        files: Iterable[str] = (),
        *,
        only: bool = False,
        among: frozenset[str] | None = None,
    ) -> None:
        """`among`: the data of the public keys that may be offered; all where it is None."""
        super().__init__(paramiko.SSHConfig())
        self.among = among
        self.user = user
        self.only = only
        self.given = tuple(given)
        named = [Path(name).expanduser() for name in dict.fromkeys(files)]
        usual = [Path(name).expanduser() for name in USUAL]
        if only:
            named, usual = named or ([] if given else usual), []
        self.files = [file for file in named if file.is_file()]
        self.usual = [file for file in usual if file.is_file() and file not in named]
        self.locked: list[Path] = []

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        """Log in. Refused: no key is taken, or there is none."""
        reason = "there is no key to offer"
        for source in self.get_sources():
            try:
                further = source.authenticate(transport)
                if {"keyboard-interactive", "password"} & set(further):
                    transport.auth_interactive_dumb(self.user)
                return AuthResult(strategy=self)
            except paramiko.SSHException as exc:
                reason = str(exc).rstrip(".")
                if not transport.is_active():
                    break
        raise Refused(reason, self.locked)

    def get_sources(self) -> Iterator[AuthSource]:
        """The keys in their order."""
        with _agent() as agent:
            for key in self.offered(agent):
                yield InMemoryPrivateKey(self.user, key)

    def any(self) -> bool:
        """Whether there is a key to offer."""
        with _agent() as agent:
            return next(self.offered(agent), None) is not None

    def offered(self, agent: Sequence[paramiko.PKey]) -> Iterator[paramiko.PKey]:
        """The keys in their order; `agent` are those that it has."""
        for key in self._at_hand(agent):
            if self.among is None or key.get_base64() in self.among:
                yield key

    def _at_hand(self, agent: Sequence[paramiko.PKey]) -> Iterator[paramiko.PKey]:
        yield from self.given
        for file in self.files:
            yield from self._load(file)
        own = {key.asbytes() for key in self.given}.union(*map(public_parts, self.files))
        held = [one for one in agent if not self.only or own & _parts(one)]
        yield from held
        there: set[bytes] = set().union(*map(_parts, held))
        self.locked = [file for file in self.locked if not public_parts(file) & there]
        for file in self.usual:
            yield from self._load(file)

    def _load(self, file: Path) -> list[paramiko.PKey]:
        try:
            key = load(file)
        except paramiko.PasswordRequiredException:
            self.locked.append(file)
            return []
        if key is not None and self.among is not None:
            # It is to show what it opens itself, not its certificate.
            key.public_blob = None
        return [key] if key is not None else []


@contextlib.contextmanager
def _agent() -> Iterator[Sequence[paramiko.PKey]]:
    """The agent's keys, for the length of the block; none where it cannot be asked."""
    try:
        agent = paramiko.Agent()
    except (paramiko.SSHException, OSError):
        yield ()
        return
    try:
        yield agent.get_keys()
    finally:
        agent.close()


def _parts(key: paramiko.PKey) -> set[bytes]:
    """The public part of an agent's key; of a certificate also the certificate."""
    return {key.asbytes(), getattr(key, "blob", b"")}


def load(file: Path) -> paramiko.PKey | None:
    """The key of a file, with its certificate where one lies beside it; None where it holds none.

    paramiko.PasswordRequiredException: it is protected by a passphrase.
    """
    key = Path(str(file).removesuffix(CERTIFICATE))
    certificate = Path(f"{key}{CERTIFICATE}")
    for kind in KINDS:
        try:
            found = kind.from_private_key_file(str(key))
        except paramiko.PasswordRequiredException:
            raise
        except (paramiko.SSHException, OSError, ValueError, IndexError):
            continue
        if certificate.is_file():
            with contextlib.suppress(OSError, ValueError, paramiko.SSHException):
                found.load_certificate(str(certificate))
        return found
    return None


def public_parts(file: Path) -> set[bytes]:
    """The public parts of a key, and of its certificate: from the files beside it, or from its own."""
    key = str(file).removesuffix(CERTIFICATE).removesuffix(".pub")
    found = set()
    for beside in (f"{key}.pub", f"{key}{CERTIFICATE}"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            found.add(base64.b64decode(Path(beside).read_text().split()[1], validate=True))
    with contextlib.suppress(OSError, ValueError, IndexError, paramiko.SSHException):
        found.add(_own_public_part(Path(key)))
    return found


def _own_public_part(key: Path) -> bytes:
    """A file in OpenSSH's form has it unencrypted in front of the key (PROTOCOL.key of OpenSSH)."""
    body = "".join(line for line in key.read_text().splitlines() if "-----" not in line)
    data = base64.b64decode(body, validate=True)
    if not data.startswith(MAGIC):
        found = load(key)
        if found is None:
            raise ValueError("no key")
        return found.asbytes()
    message = paramiko.Message(data[len(MAGIC) :])
    for _ in ("cipher", "function", "options"):
        message.get_binary()
    if message.get_int() != 1:
        raise ValueError("several keys")
    return bytes(message.get_binary())
