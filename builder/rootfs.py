"""The packages layer: a root tree as mmdebstrap makes it, before any configuration."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

# Both layers: apt's archives from the kept ones, and the tree without what the build left behind.
PRELUDE = """\
# apt locks its archives, and another build may be using the kept ones: linked into a directory of our own.
archives() {
    export ARCHIVES=$work/archives WORK=$work
    mkdir -p "$ARCHIVES/partial"
    find "$kept" -name '*.deb' -exec cp --link -t "$ARCHIVES" {} +
    # A moment ago: what is made within the clock's grain of the mark counts as made after it.
    touch --date='2 seconds ago' "$work/.started"
}

keep() {
    find "$ARCHIVES" -maxdepth 1 -name '*.deb' -exec cp --link --no-clobber -t "$kept" {} +
    rm -rf "$ARCHIVES"
}

tidy() {
    cp "$1/var/lib/dpkg/status" "$work/status"
    # Nodes that only root can make, and that every kernel makes anew; keys that every host makes anew.
    find "$1/dev" -mindepth 1 -delete
    rm -f "$1"/etc/ssh/ssh_host_*
    # What the build wrote down about itself, and caches that the host makes again when it needs them.
    rm -rf "$1"/var/log/{apt,dpkg.log,alternatives.log,bootstrap.log,fontconfig.log} \\
        "$1"/var/cache/{ldconfig/aux-cache,apt/*.bin,debconf/*-old} "$1"/var/lib/{dpkg,apt}/*-old \\
        "$1"/var/lib/apt/{lists,extended_states.tmp}
    install -d -m 755 "$1/var/lib/apt/lists/partial" "$1/var/cache/apt/archives/partial"
    chown -R "$(stat -c %u:%g "$1")" "$1/var/lib/apt/lists" "$1/var/cache/apt/archives"
}
"""

SCRIPT = """\
work=$1 kept=$2
shift 2
archives
# As options of mmdebstrap, these exclusions would send each essential package through a filter in Python.
cat > "$work/before" <<'END'
mkdir -p "$1/var/cache/apt/archives" "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/ssh"
mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"
printf '%s\n' "$DPKG_OPTIONS" > "$1/etc/dpkg/dpkg.cfg.d/freehold"
# Every host makes keys of its own: none is made here only to be thrown away.
for kind in rsa ecdsa ed25519; do
    : > "$1/etc/ssh/ssh_host_${kind}_key"
done
END
# While the essential packages are unpacked and configured, the others are fetched: one waits for processors,
# the other for the network. What this misses, apt fetches when it installs, and says why where it cannot.
cat > "$work/fetch" <<'END'
exec 9> "$WORK/fetching"
flock 9
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes --download-only -o Debug::NoLocking=1 \\
    -o APT::Sandbox::User=root -o Dir::State::status=/dev/null -o Dir::Cache::archives="$ARCHIVES" \\
    -o Dir::Cache::pkgcache= install $INCLUDE < /dev/null > /dev/null 2>&1 &
END
# Python's modules are compiled beside what else is installed, and the initramfs is made at the end, once.
cat > "$work/unpacked" <<'END'
rm -rf "$1"/usr/share/man "$1"/usr/share/doc "$1"/usr/share/info "$1"/usr/share/lintian "$1"/usr/share/locale
chroot "$1" dpkg-divert --quiet --local --rename --divert /usr/bin/py3compile.real --add /usr/bin/py3compile
install -m 755 "$WORK/compile" "$1/usr/bin/py3compile"
END
# One at a time, in the background; whoever has `all` to itself knows that none is left.
cat > "$work/compile" <<'END'
#!/bin/sh
exec < /dev/null > /dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8> /run/py3compile.all 9> /run/py3compile.one
flock --shared 8
{
    flock 9
    /usr/bin/py3compile.real "$@" || echo "$*" >> /run/py3compile.failed
} &
END
cat > "$work/after" <<'END'
umount "$1/var/cache/apt/archives"
# The disk has nothing to do while the processors have.
sync --file-system "$WORK" &
for kernel in "$1"/boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    chroot "$1" update-initramfs -c -k "${kernel##*/vmlinuz-}" &
done
[ ! -e "$1/run/py3compile.all" ] || flock "$1/run/py3compile.all" true
if [ -e "$1/run/py3compile.failed" ]; then
    echo "E: Python's modules could not be compiled: $(cat "$1/run/py3compile.failed")" >&2
    exit 1
fi
wait
rm -f "$1"/run/py3compile.* "$1/usr/bin/py3compile"
chroot "$1" dpkg-divert --quiet --local --rename --remove /usr/bin/py3compile
for kernel in "$1"/boot/vmlinuz-*; do
    [ ! -e "$kernel" ] || [ -s "$1/boot/initrd.img-${kernel##*/vmlinuz-}" ]
done
END
# Above nothing: dpkg would wait for the disk at each file.
mkdir "$work/nothing"
root=$work/root
overlay "$work/nothing" "$work/tree" "$work/overlay" "$root"
INITRD=No "$@" --format=directory \\
    --setup-hook='sh -eu "$WORK/before" "$1"' \\
    --extract-hook='sh -eu "$WORK/fetch"; sh -eu "$WORK/unpacked" "$1"' \\
    --essential-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"; flock "$WORK/fetching" true' \\
    --customize-hook='sh -eu "$WORK/after" "$1"' \\
    --skip=essential/unlink,download/empty,cleanup/apt/cache \\
    "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
keep
rm "$work"/{before,fetch,fetching,unpacked,compile,after}
tidy "$root"
umount "$root"
rm -rf "$root" "$work/overlay" "$work/nothing"
"""

# Packages on top of a finished layer: apt sees what is installed, and only the difference is written.
MORE_SCRIPT = """\
work=$1 kept=$2 lower=$3
shift 3
archives
root=$work/root
overlay "$lower" "$work/tree" "$work/overlay" "$root"
case ",$MORE," in
    *,mdadm,*) mkdir -p "$root/etc/mdadm" && printf '%s' "$MDADM_CONF" > "$root/etc/mdadm/mdadm.conf" ;;
esac
# The host's resolver, as mmdebstrap leaves it in place of a link to nowhere.
rm -f "$root/etc/resolv.conf"
"$@" --format=directory \\
    --setup-hook='mount --bind "$ARCHIVES" "$1/var/cache/apt/archives"' \\
    --customize-hook='cat "$1"/var/lib/apt/lists/*Release > "$WORK/releases"' \\
    --customize-hook='umount "$1/var/cache/apt/archives"' \\
    --skip=check/empty,essential/unlink,download/empty,cleanup/apt/cache \\
    "$SUITE" "$root" ${MIRROR:+"$MIRROR"}
keep
tidy "$root"
umount "$root"
rm -rf "$root" "$work/overlay"
"""

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
                    install.run(work.path, console)
        path = store.find(KIND, key)
        assert path is not None
        epoch = int(json.loads((path / "meta.json").read_text())["epoch"])
        return Packages(key, ":".join((str(path / "tree"), *lower)), epoch, path / "status")

    base = made(packages, mmdebstrap(arch, packages, variant=variant), PRELUDE + SCRIPT)
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

    def run(self, work: Path, console: Console) -> None:
        """Make it in `work`; BuildError where it fails."""
        self.archives.mkdir(parents=True, exist_ok=True)
        self.sandbox.run(
            self.script,
            work,
            self.archives,
            *self.lower,
            *self.command,
            epoch=EPOCH,
            env=self.environment,
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
