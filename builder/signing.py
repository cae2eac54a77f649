"""Signatures over an image's SHA256SUMS, by an SSH key: everybody who deploys has one.

Format: PROTOCOL.sshsig of OpenSSH; `ssh-keygen -Y verify` checks it anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.store import file_digest
from freehold.errors import BuildError, ProcessError, UsageError
from freehold.process import Runner

# What was signed for, so that a signature over something else cannot stand here.
NAMESPACE = "freehold-image"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"


@dataclass(frozen=True)
class Verified:
    """What was found good: the files, and who signed ("" where nobody was asked for)."""

    files: tuple[str, ...]
    signer: str = ""


def sign(directory: Path, key: Path, runner: Runner) -> Path:
    """Check the sums in `directory` and sign them with the SSH key `key`; returns the signature's file."""
    if not key.is_file():
        raise UsageError(
            f"there is no key {key}", hint="give a private SSH key, or a public one of the agent"
        )
    check_sums(directory)
    signature = directory / SIGNATURE
    signature.unlink(missing_ok=True)
    argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, directory / SUMS)
    _run(runner, argv, f"{directory / SUMS} could not be signed", None)
    return signature


def check_sums(directory: Path) -> tuple[str, ...]:
    """The names in SHA256SUMS; BuildError for a file that is missing or not what it was."""
    listed = directory / SUMS
    if not listed.is_file():
        raise UsageError(
            f"{directory} has no {SUMS}", hint="give an image's directory: `freehold image list`"
        )
    names = []
    for line in listed.read_text().splitlines():
        digest, _, name = line.partition("  ")
        path = directory / name
        if "/" in name or not path.is_file():
            raise BuildError(f"{listed} lists {name!r}, which is not there")
        if file_digest(path) != digest:
            raise BuildError(f"{path} is not what {SUMS} says", hint="build or fetch it again")
        names.append(name)
    if not names:
        raise BuildError(f"{listed} lists nothing")
    return tuple(names)


def verify(directory: Path, signers: Path | None, runner: Runner) -> Verified:
    """Check the sums, and with `signers` (an allowed_signers file of ssh-keygen(1)) who signed them."""
    names = check_sums(directory)
    if signers is None:
        return Verified(names)
    signature = directory / SIGNATURE
    if not signers.is_file():
        raise UsageError(
            f"there is no file {signers}", hint="a line for each signer: `ops@example.com ssh-ed25519 …`"
        )
    if not signature.is_file():
        raise BuildError(f"{directory} is not signed", hint="`freehold image sign` signs it")
    found = _run(
        runner,
        ("ssh-keygen", "-Y", "find-principals", "-s", signature, "-f", signers),
        f"{signature} is by nobody of {signers}",
        None,
    )
    signer = found.splitlines()[0] if found.splitlines() else ""
    _run(
        runner,
        ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", signer, "-n", NAMESPACE, "-s", signature),
        f"the signature of {directory / SUMS} is not good",
        (directory / SUMS).read_bytes(),
    )
    return Verified(names, signer)


def _run(runner: Runner, argv: tuple[str | Path, ...], failure: str, stdin: bytes | None) -> str:
    try:
        return runner.run(argv, stdin=stdin, timeout=60).stdout
    except ProcessError as exc:
        raise BuildError(failure, details=exc.details, hint=exc.hint) from exc
