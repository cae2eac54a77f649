"""A user who may not: libvirt's socket, /dev/kvm, directories that cannot be written. No machine is started.

The command runs as a user whom file modes bind; root does without the capabilities that set it above them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from freehold.environment import which
from tests.conftest import cannot_run, program

BOUND = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner,-sys_admin")
# A device that exists and that this user may not open, in a /dev of the command's own.
WITH_KVM = """
set -eu
mount -t tmpfs tmpfs /mnt
for name in null zero random urandom; do touch /mnt/$name; mount --bind /dev/$name /mnt/$name; done
mknod -m 000 /mnt/kvm c 10 232
mount --move /mnt /dev
exec "$@"
"""


class Operator:
    """A project with a lab of one machine, and directories of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "config").mkdir()
        self.lab_file("machines: {web-1: {}}\n")
        self.env = {
            **os.environ,
            **{f"FREEHOLD_{name}": str(root / name.lower()) for name in ("STATE", "CACHE", "RUNTIME")},
        }

    def lab_file(self, text: str) -> None:
        (self.root / "config" / "lab.yml").write_text(f"name: shop\n{text}")

    def freehold(
        self, *words: str, around: Sequence[str] = (), **env: str
    ) -> subprocess.CompletedProcess[str]:
        bound = BOUND if os.geteuid() == 0 else ()
        return subprocess.run(
            [*around, *bound, program("freehold"), *words],
            cwd=self.root,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def left(self) -> list[str]:
        """What there is below the directories of Freehold."""
        places = [self.root / name for name in ("state", "runtime")]
        return [str(path) for place in places for path in (place, *place.rglob("*")) if path.exists()]


@pytest.fixture
def operator() -> Iterator[Operator]:
    if os.geteuid() == 0 and which("setpriv") is None:
        cannot_run("integration", "setpriv is not installed")
    # pytest's own directories are too deep for Unix sockets.
    with TemporaryDirectory(prefix="fh") as place:
        yield Operator(Path(place))


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr


def test_a_libvirt_that_the_user_may_not_use(operator: Operator) -> None:
    path = operator.root / "libvirt-sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0)
        done = operator.freehold("lab", "up", "--uri", f"qemu+unix:///system?socket={path}")
    # Before an image is built, which takes minutes.
    refused(done, "Permission denied", "hint: this user may not use it: join the group libvirt")
    assert "image" not in done.stderr
    assert operator.left == []


def test_no_libvirt_at_all(operator: Operator) -> None:
    done = operator.freehold("lab", "up", "--uri", "qemu+unix:///system?socket=/nonexistent/libvirt-sock")
    refused(done, "does not answer", "hint: no libvirt daemon answers there")
    assert operator.left == []


@pytest.mark.parametrize("name", ["STATE", "CACHE"])
def test_a_directory_that_cannot_be_written(operator: Operator, name: str) -> None:
    closed = operator.root / "closed"
    closed.mkdir(mode=0o555)
    done = operator.freehold("lab", "up", **{f"FREEHOLD_{name}": str(closed / "freehold")})
    refused(done, f"{closed}/freehold", "Permission denied", f"hint: set FREEHOLD_{name} to a directory")
    assert operator.left == []


def in_own_dev() -> tuple[str, ...]:
    if os.geteuid() != 0:
        cannot_run("integration", "a /dev of its own needs root")
    return ("unshare", "--mount", "bash", "-c", WITH_KVM, "bash")


def test_kvm_that_the_user_may_not_open_is_said_and_done_without(operator: Operator) -> None:
    done = operator.freehold("lab", "plan", around=in_own_dev())
    assert done.returncode == 0, done.stderr
    assert "emulated: this user may not open /dev/kvm (join the group kvm)" in done.stderr
    done = operator.freehold("lab", "plan", "--json", around=in_own_dev())
    assert json.loads(done.stdout)["accelerator"] == "tcg"


def test_kvm_that_is_asked_for_and_not_there_ends_before_anything_is_made(operator: Operator) -> None:
    operator.lab_file("accelerator: kvm\nmachines: {web-1: {}}\n")
    done = operator.freehold("lab", "up", around=in_own_dev())
    refused(done, "asks for KVM, but this user may not open /dev/kvm", "hint: `accelerator: auto`")
    assert operator.left == []
