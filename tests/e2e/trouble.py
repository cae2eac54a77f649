"""Labs whose one machine cannot come up: a kernel that panics, a seed that is none, a first boot that fails.

They boot in the background, side by side, while other tests use the machines that work. Each is a project
of its own, brought up by the real command line in a process of its own: `trouble.py KIND lab up`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import cloudinit.iso
import lab.seeds
from builder.image import load_image
from builder.spec import MiB
from deployer.cli.main import main

# Long enough for a computer that is busy; what these labs show is said long before.
DEADLINE = 2400
PANIC, NO_SEED, BAD_SEED = KINDS = ("panic", "no-seed", "bad-seed")
LAB = """\
name: {kind}
image: {image}
memory: 640M
deadline: {deadline}
machines:
  web-1: {{}}
"""


class Troubled:
    """The labs by kind, on their way up from the beginning."""

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        self._running = {kind: self._up(kind, image) for kind in KINDS}

    def _up(self, kind: str, image: Path) -> subprocess.Popen[bytes]:
        root = self.place / kind
        (root / "config").mkdir(parents=True)
        its = panicking(image, root) if kind == PANIC else image
        (root / "config" / "lab.yml").write_text(LAB.format(kind=kind, image=its, deadline=DEADLINE))
        with (root / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, __file__, kind, "lab", "up"],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def ended(self, kind: str) -> tuple[int, str]:
        """How bringing up the lab ended: the exit code, and all that was printed."""
        return self._running[kind].wait(DEADLINE + 60), (self.place / kind / "said").read_text()

    def freehold(self, kind: str, *words: str) -> str:
        """Run another command in the lab's project; it has to succeed."""
        command = [sys.executable, __file__, "", *words]
        done = subprocess.run(
            command, cwd=self.place / kind, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"freehold {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def end(self) -> None:
        """Nothing of them stays, whatever the tests did."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
                process.wait(60)
        for kind in KINDS:
            self.freehold(kind, "lab", "down", "--lab", kind)


def panicking(image: Path, place: Path) -> Path:
    """The image with a command line on which the kernel finds no first program."""
    good, bad = load_image(image), place / "image"
    bad.mkdir()
    for path in good.directory.iterdir():
        (bad / path.name).symlink_to(path)
    (bad / "manifest.json").unlink()
    text = good.manifest.read_text().replace(
        "root=UUID=", "panic=0 rdinit=/nonexistent init=/none root=UUID=ff"
    )
    (bad / "manifest.json").write_text(text)
    return bad


def spoil(kind: str, patch: pytest.MonkeyPatch) -> None:
    """Damage the seed of this process's lab between its rendering and its machine."""
    render: Callable[..., Any] = lab.seeds.seed_files

    def files(*words: Any, **named: Any) -> Any:
        made = render(*words, **named)
        config = yaml.safe_load(made.vendor_data)
        # Below a file there can be no file.
        config.setdefault("write_files", []).append({"path": "/etc/hostname/none", "content": "none"})
        return replace(made, vendor_data="#cloud-config\n" + yaml.safe_dump(config))

    def iso(_content: Any, path: Path, **_named: Any) -> None:
        path.write_bytes(bytes(MiB))

    if kind == BAD_SEED:
        patch.setattr(lab.seeds, "seed_files", files)
    if kind == NO_SEED:
        patch.setattr(cloudinit.iso, "write_iso", iso)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        # Before the modules that take these by name are loaded, which the command does when it needs them.
        spoil(sys.argv[1], patch)
        sys.argv = ["freehold", *sys.argv[2:]]
        sys.exit(main())
