"""A vendor's installation medium made unattended: an answer file and changed menus, everything else kept.

xorriso loads the old medium, adds to it, and replays its boot equipment (El Torito, boot sectors, GPT, EFI
partition); what other tools drop silently is compared afterwards.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.assemble import check_programs, check_space, run_tool
from builder.vendor import VENDORS, Kind, Vendor, menus, unattended_menu, vendor_of
from freehold.errors import BuildError, UsageError
from freehold.files import replace_atomically
from freehold.process import Runner

SECTOR = 2048
# The system area, where a disk's boot code is; the last bytes of its first sector are the table, which grows.
BOOT_CODE = 440
DIGEST_LIST = "/md5sum.txt"


@dataclass(frozen=True)
class Equipment:
    """What makes a medium boot: El Torito entries (platform, kind), and what a disk's start holds."""

    el_torito: tuple[tuple[str, str], ...]
    boot_code: str
    gpt: bool
    mbr: bool

    def describe(self) -> str:
        """For a person."""
        ways = [f"CD {platform}" for platform, _ in self.el_torito]
        return (
            ", ".join([*ways, *(["disk"] if self.mbr else []), *(["GPT"] if self.gpt else [])]) or "nothing"
        )


def check_iso(path: Path) -> None:
    """UsageError unless `path` is an ISO 9660 file system."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="give the vendor's ISO")
    with path.open("rb") as stream:
        stream.seek(16 * SECTOR + 1)
        if stream.read(5) != b"CD001":
            raise UsageError(f"{path} is no ISO image", hint="give the vendor's ISO, unpacked")


def files_of(iso: Path, runner: Runner) -> list[str]:
    """Every path on the medium."""
    found = run_tool(runner, ("xorriso", "-no_rc", "-indev", iso, "-find", "/")).stdout
    return [_unquoted(line) for line in found.splitlines() if line.startswith("'/")]


def _unquoted(line: str) -> str:
    # xorriso quotes as a shell does: 'it'"'"'s'.
    return line[1:-1].replace("'\"'\"'", "'")


EL_TORITO = re.compile(r"^El Torito boot img :\s+\d+\s+(\S+)\s+\S+\s+(\S+)", re.MULTILINE)


def equipment(iso: Path, runner: Runner) -> Equipment:
    """What of the medium boots."""
    argv = ("xorriso", "-no_rc", "-indev", iso, "-report_el_torito", "plain")
    report = run_tool(runner, argv).stdout
    with iso.open("rb") as stream:
        head = stream.read(1024)
    return Equipment(
        el_torito=tuple(EL_TORITO.findall(report)),
        boot_code=hashlib.sha256(head[:BOOT_CODE]).hexdigest() if any(head[:BOOT_CODE]) else "",
        gpt=head[512:520] == b"EFI PART",
        mbr=head[510:512] == b"\x55\xaa",
    )


def kept(before: Equipment, after: Equipment) -> bool:
    """Whether nothing that boots was lost. xorriso patches addresses into the boot code: it may differ."""
    return (
        before.el_torito == after.el_torito
        and before.gpt == after.gpt
        and before.mbr == after.mbr
        and bool(before.boot_code) == bool(after.boot_code)
    )


def identify(iso: Path, wanted: Kind, runner: Runner) -> tuple[Vendor, list[str]]:
    """Whose medium it is, and its files; UsageError where `wanted` does not fit it."""
    check_programs(("xorriso",))
    check_iso(iso)
    files = files_of(iso, runner)
    found = vendor_of(files)
    expected = next(vendor for vendor in VENDORS if vendor.kind == wanted)
    if found is None or found.kind != wanted:
        what = f"a medium of {found.kind.title()}" if found else "of neither Debian nor Ubuntu"
        raise UsageError(
            f"{iso} is {what}, and the answers are for {wanted.title()}",
            hint=f"a medium of {wanted.title()} has {' or '.join(expected.marks)}",
        )
    if "/live" in files:
        raise UsageError(
            f"{iso} is a live medium, whose menu starts the live system",
            hint="give an installation medium, such as netinst",
        )
    if not menus(files):
        raise UsageError(f"{iso} has no boot menu that could be changed")
    return expected, files


def remaster(iso: Path, target: Path, wanted: Kind, answers: str, *, runner: Runner) -> Equipment:
    """Write the unattended medium to `target`, whole or not at all; returns what of it boots."""
    if target.resolve() == iso.resolve():
        raise UsageError("the output is the vendor's ISO itself", hint="give another file with --output")
    vendor, files = identify(iso, wanted, runner)
    check_space(target.parent.resolve(), iso.stat().st_size)
    before = equipment(iso, runner)
    with (
        replace_atomically(target, mode=0o600) as temporary,
        tempfile.TemporaryDirectory(prefix="freehold-remaster-") as place,
    ):
        stage = Path(place)
        changed = {**_answers(vendor, answers), **_menus(iso, files, vendor, stage, runner)}
        if DIGEST_LIST in files:
            changed[DIGEST_LIST] = digests(_read(iso, DIGEST_LIST, stage, runner), changed)
        temporary.unlink()
        run_tool(runner, command(iso, temporary, _staged(changed, stage)))
        after = equipment(temporary, runner)
        if not kept(before, after):
            raise BuildError(
                f"the new medium would not boot as the old one: {after.describe()} instead of "
                f"{before.describe()}"
            )
    return after


def command(iso: Path, target: Path, files: Mapping[str, Path]) -> tuple[str | Path, ...]:
    """The xorriso command that copies a medium with `files` (path on it → file here) in their places."""
    words: list[str | Path] = ["xorriso", "-no_rc", "-indev", iso, "-outdev", target]
    words += ["-boot_image", "any", "replay", "-overwrite", "on", "-uid", "0", "-gid", "0"]
    for path, source in sorted(files.items()):
        words += ["-map", source, path, "-chmod", "0444", path, "--"]
    return (*words, "-commit")


def digests(listed: str, changed: Mapping[str, str]) -> str:
    """The medium's md5sum.txt with the new sums of changed files, which installers check."""
    lines = []
    for line in listed.splitlines():
        name = line[34:].removeprefix("./").strip()
        content = changed.get(f"/{name}")
        lines.append(
            line
            if content is None
            else f"{hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()}  ./{name}"
        )
    return "\n".join(lines) + "\n"


def _answers(vendor: Vendor, answers: str) -> dict[str, str]:
    return {path: answers if number == 0 else "" for number, path in enumerate(vendor.answers)}


def _menus(iso: Path, files: list[str], vendor: Vendor, stage: Path, runner: Runner) -> dict[str, str]:
    found = {}
    for path in menus(files):
        text = _read(iso, path, stage, runner)
        made = unattended_menu(path, text, vendor.arguments)
        if made != text:
            found[path] = made
    if not any(vendor.arguments.split()[0] in text for text in found.values()):
        raise BuildError(
            "no menu entry of this medium starts its installer",
            details=[f"menu: {name}" for name in menus(files)],
        )
    return found


def _read(iso: Path, path: str, stage: Path, runner: Runner) -> str:
    copy = stage / "read"
    copy.unlink(missing_ok=True)
    run_tool(runner, ("xorriso", "-no_rc", "-osirrox", "on", "-indev", iso, "-extract", path, copy))
    return copy.read_text(errors="surrogateescape")


def _staged(changed: Mapping[str, str], stage: Path) -> dict[str, Path]:
    found = {}
    for number, (path, text) in enumerate(sorted(changed.items())):
        file = stage / f"file-{number}"
        file.write_text(text, errors="surrogateescape")
        found[path] = file
    return found
