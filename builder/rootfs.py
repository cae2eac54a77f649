"""The packages layer: a root tree as mmdebstrap makes it, before any configuration."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.packages import pruned
from builder.sandbox import Sandbox
from builder.store import Store, digest
from freehold.console import Console
from freehold.errors import BuildError

KIND = "packages"

# What mmdebstrap's own programs see as the time, until the mirror's own date is known.
EPOCH = 1_700_000_000

SCRIPT = """\
work=$1 kept=$2
shift 2
# apt locks its archives, and another build may be using the kept ones: linked into a directory of our own.
export ARCHIVES=$work/archives WORK=$work
mkdir -p "$ARCHIVES/partial"
find "$kept" -name '*.deb' -exec cp --link -t "$ARCHIVES" {} +
# A moment ago: what is made within the clock's grain of the mark counts as made after it.
touch --date='2 seconds ago' "$work/.started"
"$@" --format=directory \\
    --setup-hook='mkdir -p "$1/var/cache/apt/archives"' \\
    --setup-hook='mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"' \\
    --essential-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"' \\
    --customize-hook='umount "$1/var/cache/apt/archives"' \\
    --skip=essential/unlink,download/empty,cleanup/apt/cache \\
    "$SUITE" "$work/tree" ${MIRROR:+"$MIRROR"}
find "$ARCHIVES" -maxdepth 1 -name '*.deb' -exec cp --link --no-clobber -t "$kept" {} +
rm -rf "$ARCHIVES"
tree=$work/tree
cp "$tree/var/lib/dpkg/status" "$work/status"
# Nodes that only root can make, and that every kernel makes anew; keys that every host makes anew.
find "$tree/dev" -mindepth 1 -delete
rm -f "$tree"/etc/ssh/ssh_host_*
# What the build wrote down about itself, and caches that the host makes again when it needs them.
rm -rf "$tree"/var/log/{apt,dpkg.log,alternatives.log,bootstrap.log,fontconfig.log} \\
    "$tree"/var/cache/{ldconfig/aux-cache,apt/*.bin,debconf/*-old} "$tree"/var/lib/{dpkg,apt}/*-old \\
    "$tree"/var/lib/apt/{lists,extended_states.tmp}
install -d -m 755 "$tree/var/lib/apt/lists/partial" "$tree/var/cache/apt/archives/partial"
chown -R "$(stat -c %u:%g "$work/tree")" "$tree/var/lib/apt/lists" "$tree/var/cache/apt/archives"
"""

# Files from packages keep their dates (compiled Python checks them); what the build made gets the epoch.
CLAMP = """
find "$1" -newer "$2" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
"""


@dataclass(frozen=True)
class Packages:
    """A finished packages layer. `epoch`: the mirror's date, in seconds; `status`: dpkg's database."""

    key: str
    tree: Path
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
        *([f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []),
        *(f"--dpkgopt={option}" for option in pruned()),
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
    variant: str = "minbase",
    mirror: str = "",
    refresh: bool = False,
) -> Packages:
    """The layer with these packages, from the cache or made now.

    `mirror` is empty for mmdebstrap's own choice. Raises BuildError for a package that does not exist, a
    mirror that does not answer, a full disk; then the cache is as it was.
    """
    command = mmdebstrap(arch, packages, variant=variant)
    key = digest(suite, mirror, command, SCRIPT, CLAMP)
    if not refresh:
        found = store.find(KIND, key)
        if found is not None:
            return _load(found)

    def waiting() -> None:
        console.info("another build is installing the same packages; waiting for it")

    with store.make(KIND, key, refresh=refresh, waiting=waiting) as work:
        if not work.done:
            with console.step(f"installing {len(packages)} packages and what they need ({suite}, {arch})"):
                _bootstrap(work.path, command, suite, mirror, sandbox, store.root / "archives", console)
    made = store.find(KIND, key)
    assert made is not None
    return _load(made)


def _bootstrap(
    work: Path,
    command: Sequence[str],
    suite: str,
    mirror: str,
    sandbox: Sandbox,
    archives: Path,
    console: Console,
) -> None:
    archives.mkdir(parents=True, exist_ok=True)
    sandbox.run(
        SCRIPT,
        work,
        archives,
        *command,
        epoch=EPOCH,
        env={"SUITE": suite, "MIRROR": mirror},
        what=f"installing Debian packages for {suite}",
        on_line=lambda line: console.detail(f"  {line}"),
    )
    epoch = release_epoch((work / "releases").read_text(errors="replace"))
    sandbox.run(CLAMP, work / "tree", work / ".started", epoch=epoch, what="setting the files' dates")
    (work / "meta.json").write_text(json.dumps({"epoch": epoch}) + "\n")


def _load(path: Path) -> Packages:
    meta = json.loads((path / "meta.json").read_text())
    return Packages(path.name, path / "tree", int(meta["epoch"]), path / "status")


def release_epoch(text: str) -> int:
    """The newest `Date:` of apt's Release files, in seconds since 1970; BuildError where there is none."""
    dates = [line.removeprefix("Date:").strip() for line in text.splitlines() if line.startswith("Date:")]
    if not dates:
        raise BuildError("the mirror's Release files carry no date")
    return max(int(email.utils.parsedate_to_datetime(date).timestamp()) for date in dates)


@dataclass(frozen=True)
class Installed:
    """A package of an image, as dpkg knows it. `size` in bytes, as the package itself claims."""

    name: str
    version: str
    arch: str
    source: str
    size: int
    homepage: str = ""


def installed(status: str) -> tuple[Installed, ...]:
    """The installed packages of a dpkg status file, by name."""
    found = []
    for paragraph in status.split("\n\n"):
        fields = _fields(paragraph.splitlines())
        if fields.get("Status", "").endswith(" installed"):
            found.append(
                Installed(
                    name=fields["Package"],
                    version=fields["Version"],
                    arch=fields["Architecture"],
                    source=fields.get("Source", fields["Package"]),
                    size=int(fields.get("Installed-Size", "0")) * 1024,
                    homepage=fields.get("Homepage", ""),
                )
            )
    return tuple(sorted(found, key=lambda package: (package.name, package.arch)))


def _fields(lines: Iterable[str]) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in lines if line[:1].isalpha() and ":" in line)
    return {name: value.strip() for name, value in pairs}
