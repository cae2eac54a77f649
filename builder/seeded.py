"""A seed inside a disk image, where cloud-init looks first: no second disk is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from builder.assemble import run_tool
from freehold.errors import BuildError
from freehold.process import Runner

# https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
FOLDER = "/var/lib/cloud/seed/nocloud"


def commands(files: Mapping[str, Path], epoch: int) -> str:
    """`debugfs` commands that put `files` (name → file here) into the seed's folder, dated `epoch`.

    Readable by root alone: a seed may hold a password's hash or a host's key.
    """
    parts = FOLDER.strip("/").split("/")
    folders = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
    lines = [f"mkdir {folder}" for folder in folders[2:]]
    made = [(folder, "040755") for folder in folders[2:]]
    lines.append(f"cd {FOLDER}")
    for name, path in sorted(files.items()):
        lines.append(f"write {path} {name}")
        made.append((f"{FOLDER}/{name}", "0100600"))
    for place, mode in made:
        lines += [f"sif {place} mode {mode}", f"sif {place} uid 0", f"sif {place} gid 0"]
        lines += [f"sif {place} {field} @{epoch}" for field in ("atime", "ctime", "mtime", "crtime")]
    return "\n".join(lines) + "\n"


def inject(raw: Path, offset: int, files: Mapping[str, bytes], *, epoch: int, runner: Runner) -> None:
    """Write the seed into the ext4 that starts at byte `offset` of the file `raw`; nothing is mounted."""
    with tempfile.TemporaryDirectory(prefix="freehold-seed-", dir=raw.parent) as place:
        stage = Path(place)
        names = {}
        for name, data in files.items():
            (stage / name).write_bytes(data)
            names[name] = stage / name
        script = stage / ".commands"
        script.write_text(commands(names, epoch))
        run_tool(
            runner,
            ("debugfs", "-w", "-f", script, f"{raw}?offset={offset}"),
            env={"E2FSPROGS_FAKE_TIME": str(epoch)},
        )
        # debugfs ends with 0 whatever its commands did.
        for name, path in names.items():
            argv = ("debugfs", "-R", f"cat {FOLDER}/{name}", f"{raw}?offset={offset}")
            if run_tool(runner, argv).stdout.encode() != path.read_bytes():
                raise BuildError(f"the seed's {name} could not be written into {raw.name}")
