"""The operator's side of a rehearsal: a project under git, and the command line run in it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FREEHOLD = Path(sys.executable).parent / "freehold"
DEADLINE = 600


@dataclass(frozen=True)
class Production:
    """A project in `root`."""

    root: Path

    def freehold(self, *words: str, expect: int = 0) -> str:
        """Run `freehold`; what it printed, both streams. The exit code has to be `expect`."""
        done = subprocess.run(
            [FREEHOLD, *words],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == expect, f"freehold {' '.join(words)}\n{done.stdout}"
        return done.stdout

    def commit(self, version: str) -> None:
        """Commit the application at another version."""
        path = self.root / "app" / "version.py"
        path.write_text(f'"""The one line that a new version changes."""\n\nVERSION = "{version}"\n')
        for words in (("add", "-A"), ("commit", "-q", "-m", version)):
            subprocess.run(
                ["git", "-c", "user.name=Test", "-c", "user.email=test@example.invalid", *words],
                cwd=self.root,
                check=True,
            )
