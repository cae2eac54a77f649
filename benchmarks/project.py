"""The example application as a project under git that a measurement may change."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[1]
FREEHOLD = REPO / ".venv" / "bin" / "freehold"


@dataclass(frozen=True)
class Project:
    """A copy of examples/hello."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Project:
        """Copy it and commit version 1."""
        shutil.copytree(REPO / "examples" / "hello", root, ignore=shutil.ignore_patterns("__pycache__"))
        made = cls(root)
        made.git("init", "--quiet")
        made.commit(1)
        return made

    def git(self, *words: str) -> None:
        """Run git in the project."""
        identity = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.invalid")
        subprocess.run(["git", *identity, *words], cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def commit(self, number: int) -> None:
        """Change the one line that makes a version, and commit it."""
        path = self.root / "app" / "version.py"
        path.write_text(f'"""The one line that a new version changes."""\n\nVERSION = "v{number}"\n')
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", f"v{number}")
