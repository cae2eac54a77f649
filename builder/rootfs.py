"""The packages layer: a root tree as mmdebstrap makes it, before any configuration."""

from __future__ import annotations

import email.utils
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from builder.mirror import MDADM_CONF
from builder.packages import pruned
from builder.sandbox import Sandbox
from builder.store import Store, digest, written_by
from freehold.console import Console
from freehold.errors import BuildError

KIND = "packages"

# What mmdebstrap's own programs see as the time, until the mirror's own date is known.
EPOCH = 1_700_000_000

# What hooks of initramfs-tools belong to, or take files from. An image need not have all of them.
BOOTING = ("dmsetup", "e2fsprogs", "initramfs-tools", "kmod", "systemd", "systemd-sysv", "udev", "zstd")

# What both layers need, and how each is made.
PRELUDE, SCRIPT, MORE_SCRIPT = (
    (files("builder") / "data" / f"{name}.sh").read_text() for name in ("archives", "packages", "more")
)

# Decompresses archives ahead of dpkg; the bytes of a tree do not depend on it.
EXPAND = Path(str(files("builder") / "expand.py"))

# Files from packages keep their dates (compiled Python checks them); what the build made gets the epoch.
CLAMP = """
find "$1" -newer "$2" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
"""


@dataclass(frozen=True)
class Packages:
    """A finished packages layer. `epoch`: the mirror's date, in seconds; `status`: dpkg's database.

    `tree` is one directory, or several as overlayfs takes them: the uppermost first, with colons between.
    """

    key: str
    tree: str
    epoch: int
    status: Path


def mmdebstrap(
    arch: str, packages: Sequence[str], *, variant: str, keyring: str = "", proxy: str = ""
) -> tuple[str, ...]:
    """mmdebstrap's command line, without the suite, the target and the mirror."""
    return (
        "mmdebstrap",
        # Root of the sandbox is root enough: the tree's owners are mapped already.
        "--mode=root",
        f"--variant={variant}",
        f"--architectures={arch}",
        *([f"--include={','.join(packages)}"] if packages else []),
        '--aptopt=Apt::Install-Recommends "false"',
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=Acquire::Retries "5"',
        *([f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []),
        *([f"--keyring={keyring}"] if keyring else []),
    )


def make_packages(
    suite: str,
    arch: str,
    packages: Sequence[str],
    *,
    sandbox: Sandbox,
    store: Store,
    console: Console,
    more: Sequence[str] = (),
    variant: str = "minbase",
    mirror: str = "",
    refresh: bool = False,
) -> Packages:
    """The layer with these packages, from the cache or made now; `more` come as a layer on top of it.

    `mirror` is empty for mmdebstrap's own choice. Raises BuildError for a package that does not exist, a
    mirror that does not answer, a full disk; then the cache is as it was.
    """
    common = {
        "BOOTING": "|".join(BOOTING),
        "SUITE": suite,
        "MIRROR": mirror,
        "INCLUDE": " ".join(packages),
        "DPKG_OPTIONS": "\n".join(pruned()),
    }

    def made(
        names: Sequence[str],
        command: tuple[str, ...],
        script: str,
        below: Packages | None = None,
        env: Mapping[str, str] = common,
        above: Sequence[str] = (),
    ) -> Packages:
        key = digest(
            env,
            command,
            script,
            CLAMP,
            written_by("sandbox"),
            *([below.key, below.epoch] if below else []),
        )
        lower = (below.tree,) if below else ()

        def waiting() -> None:
            console.info("another build is installing the same packages; waiting for it")

        if refresh or store.find(KIND, key) is None:
            with (
                store.make(KIND, key, refresh=refresh, waiting=waiting) as work,
                console.step(f"installing {len(names)} packages and what they need ({suite}, {arch})"),
            ):
                if not work.done:
                    install = _Install(script, lower, command, env, sandbox, store.root / "archives")
                    install.run(work.path, console, above)
        path = store.find(KIND, key)
        assert path is not None
        epoch = int(json.loads((path / "meta.json").read_text())["epoch"])
        return Packages(key, ":".join((str(path / "tree"), *lower)), epoch, path / "status")

    base = made(packages, mmdebstrap(arch, packages, variant=variant), PRELUDE + SCRIPT, above=more)
    if not more:
        return base
    beside = {**common, "MORE": ",".join(more), "MDADM_CONF": MDADM_CONF}
    return made(more, mmdebstrap(arch, more, variant="custom"), PRELUDE + MORE_SCRIPT, base, beside)


@dataclass(frozen=True)
class _Install:
    """How one layer is made: a script with its arguments and environment."""

    script: str
    lower: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    sandbox: Sandbox
    archives: Path

    def run(self, work: Path, console: Console, above: Sequence[str] = ()) -> None:
        """Make it in `work`; BuildError where it fails, or where the suite lacks one of `above`."""
        self.archives.mkdir(parents=True, exist_ok=True)
        self.sandbox.run(
            self.script,
            work,
            self.archives,
            *self.lower,
            *self.command,
            epoch=EPOCH,
            env={
                **self.environment,
                "PYTHON": sys.executable,
                "EXPAND": str(EXPAND),
                "ABOVE": " ".join(above),
            },
            what=f"installing Debian packages for {self.environment['SUITE']}",
            on_line=lambda line: console.detail(f"  {line}"),
        )
        epoch = release_epoch((work / "releases").read_text(errors="replace"))
        self.sandbox.run(
            CLAMP, work / "tree", work / ".started", epoch=epoch, what="setting the files' dates"
        )
        (work / "meta.json").write_text(json.dumps({"epoch": epoch}) + "\n")


def release_epoch(text: str) -> int:
    """The newest `Date:` of apt's Release files, in seconds since 1970; BuildError where there is none."""
    dates = [line.removeprefix("Date:").strip() for line in text.splitlines() if line.startswith("Date:")]
    if not dates:
        raise BuildError("the mirror's Release files carry no date")
    return max(int(email.utils.parsedate_to_datetime(date).timestamp()) for date in dates)
