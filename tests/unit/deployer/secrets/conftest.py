"""Programs of password managers, each stood in for by an executable that notes how it is called."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.secrets.vault import LocalVault, Wanted, fetch
from freehold.process import LocalRunner

FAKE = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
name = Path(__file__).name
words = sys.argv[1:]
seen = {{key: os.environ[key] for key in ("BW_SESSION", "OP_SESSION_me") if key in os.environ}}
with (here / "calls").open("a") as stream:
    stream.write(json.dumps([[name, *words], seen]) + "\\n")
for prefix, answer in json.loads((here / f"{{name}}.json").read_text()):
    if words[: len(prefix)] == prefix:
        if isinstance(answer, list):
            after = here / f"{{name}}-{{'-'.join(prefix).replace('/', '_')}}"
            answer, rest = answer[min(int(after.read_text()) if after.exists() else 0, len(answer) - 1)], None
            after.write_text(str((int(after.read_text()) if after.exists() else 0) + 1))
        if isinstance(answer, int):
            sys.exit(answer)
        sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer["json"]))
        sys.exit(0)
sys.exit("unexpected: " + repr(words))
"""


@dataclass
class Desk:
    """Programs in a directory of their own, in front of PATH."""

    root: Path
    environ: dict[str, str]

    def answers(self, program: str, *answers: tuple[str, Any]) -> None:
        """What it answers to words that begin so: text, an exit code, {"json": …}, or these in turn."""
        path = self.root / program
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(0o755)
        rows = [[words.split(), answer] for words, answer in answers]
        (self.root / f"{program}.json").write_text(json.dumps(rows))

    def fetch(
        self, adapter: str, *names: str, account: str | None = None, source: str | None = None
    ) -> dict[str, str]:
        vault = LocalVault(LocalRunner(), self.root, self.environ)
        return fetch(adapter, Wanted(names, account, source), vault)

    @property
    def calls(self) -> list[str]:
        """The commands in order."""
        lines = (self.root / "calls").read_text().splitlines()
        return [" ".join(json.loads(line)[0]) for line in lines]

    @property
    def sessions(self) -> list[dict[str, str]]:
        """The session variables that each command saw."""
        return [json.loads(line)[1] for line in (self.root / "calls").read_text().splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
