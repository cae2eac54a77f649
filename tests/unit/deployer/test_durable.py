"""What is on a host's disk before a version is remembered, by the host's own words."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deployer.commands import layout

FAKE = """\
#!/bin/sh
[ "$1" = -f ] && exec sleep 60
printf '%s\\n' "$@" >>"$ASKED"
"""


def run(text: str, tmp_path: Path) -> str:
    program = tmp_path / "bin" / "sync"
    program.parent.mkdir(exist_ok=True)
    program.write_text(FAKE)
    program.chmod(0o755)
    start = (
        f"PATH={program.parent}:$PATH ASKED={tmp_path}/asked\nexport PATH ASKED\n{layout.library()}\n{text}"
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", start], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_files_and_their_names_are_there(tmp_path: Path) -> None:
    root = tmp_path / "versions/v 1"
    (root / "proxy").mkdir(parents=True)
    (root / "proxy/a.caddy").touch()
    (root / "current").symlink_to("proxy")
    run(f"durable '{root}' {tmp_path}/nothing", tmp_path)
    assert set((tmp_path / "asked").read_text().splitlines()) == {
        str(root),
        f"{root}/proxy",
        f"{root}/proxy/a.caddy",
    }


def test_nobody_waits_for_the_rest_nor_for_a_lock_that_it_would_hold(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    text = f"""
exec 9>{lock}
flock 9
soon_durable {tmp_path}
echo $!
exec 9>&-
flock --wait 20 {lock} echo free"""
    pid, free = run(text, tmp_path).split()
    subprocess.run(["kill", pid], check=True)
    assert free == "free"
