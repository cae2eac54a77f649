"""A vendor's installation medium: what it is, and the boot menus that an unattended one needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["debian", "ubuntu"]


@dataclass(frozen=True)
class Vendor:
    """How a distribution's installer is told to ask nothing.

    `marks` are folders, one of which its media have; `arguments` go onto the kernel's command line; `answers`
    is where the answer file goes on the medium.
    """

    kind: Kind
    marks: tuple[str, ...]
    arguments: str
    answers: tuple[str, ...]


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        "ubuntu",
        ("/casper",),
        "autoinstall ds=nocloud;s=/cdrom/autoinstall/",
        ("/autoinstall/user-data", "/autoinstall/meta-data"),
    ),
    Vendor(
        "debian",
        ("/install.amd", "/install.a64", "/install.386", "/install"),
        "auto=true priority=critical preseed/file=/cdrom/preseed.cfg",
        ("/preseed.cfg",),
    ),
)

# GRUB's and isolinux' menus on both distributions' media.
MENU = re.compile(r"^/(boot/grub|isolinux|EFI/(boot|debian|ubuntu))/.*\.cfg$", re.IGNORECASE)
SECONDS = 5
GRUB_LINE = re.compile(r"^(\s*(?:linux|linuxefi)\s+\S*/(?:hwe-)?(?:vmlinuz|linux)\S*)(.*)$")
# Only a kernel has an initrd: to isolinux' own programs, `append` names menus and labels.
APPEND_LINE = re.compile(r"^(\s*append)(\s.*\binitrd=.*)$", re.IGNORECASE)
TIMEOUT_LINE = re.compile(r"^[ \t]*timeout\b.*\n", re.IGNORECASE | re.MULTILINE)
# Who reads the help is there to say what happens next.
HELP = "/isolinux/prompt.cfg"
# Debian's rescue mode repairs what is there: no answers for an installation, and none of its commands.
RESCUE = "rescue/enable=true"


def vendor_of(files: Iterable[str]) -> Vendor | None:
    """Whose medium has these files, or None."""
    found = set(files)
    return next((vendor for vendor in VENDORS if found & set(vendor.marks)), None)


def menus(files: Iterable[str]) -> list[str]:
    """The boot menus among the files."""
    return sorted(path for path in files if MENU.match(path))


def unattended_menu(path: str, text: str, arguments: str) -> str:
    """The text of the menu at `path`, made unattended."""
    made = unattended(text, arguments, grub="isolinux" not in path)
    if not path.endswith(HELP):
        return made
    # The last timeout counts, also where an included menu says it.
    return f"{TIMEOUT_LINE.sub('', made)}timeout 0\n"


def unattended(text: str, arguments: str, *, grub: bool) -> str:
    """A boot menu whose installer entries ask nothing, and which does not wait for a person.

    Arguments stand before `---`, which ends those that the installed system would inherit.
    """
    # GRUB reads `;` as the end of a command.
    words = arguments.replace(";", r"\;") if grub else arguments
    pattern = GRUB_LINE if grub else APPEND_LINE
    lines = [re.sub(pattern, lambda found: _with(found, words), line) for line in text.splitlines()]
    made = "\n".join(lines) + "\n"
    if not grub:
        # After half a minute Debian's menus start the speech installer, by a line that is no entry and would
        # ask. Without it the menu starts its own default, which is an entry like the others.
        made = re.sub(r"(?mi)^[ \t]*(?:ontimeout|menu[ \t]+autoboot)\b.*\n", "", made)
        return re.sub(r"(?mi)^([ \t]*timeout)[ \t]+\d+[ \t]*$", rf"\g<1> {SECONDS * 10}", made)
    if re.search(r"(?m)^\s*set timeout=", made):
        return re.sub(r"(?m)^(\s*set timeout=).*$", rf"\g<1>{SECONDS}", made)
    return f"set timeout={SECONDS}\n{made}" if "menuentry" in made else made


def _with(found: re.Match[str], words: str) -> str:
    head, rest = found[1], found[2]
    if words in rest or RESCUE in rest:
        return found[0]
    before, dashes, after = rest.partition("---")
    return f"{head}{before.rstrip()} {words}{f' {dashes}{after}' if dashes else ''}"
