"""A host on two disks, each of which starts it alone: what its image has besides, and the disks' tables.

Only the root is an array (RAID1). Its metadata is of the kind 1.0, which stands at the end of each partition:
to firmware and GRUB, which know nothing of arrays, either half is a plain ext4. BIOS boot partition and ESP
are on both disks, as copies; `freehold-boot-disks` on the host keeps them equal.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

from builder.disk import SECTOR, Layout, identity, sfdisk_script
from builder.payload import TreeFile

PACKAGES = ("mdadm",)
# Of the Discoverable Partitions Specification: nobody takes a half for a root of its own.
TYPE_RAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"
# What an array's metadata and bitmap take behind the file system, and more.
ROOM = 16 * 1024 * 1024
# The installer replaces it by the size that both disks have room for, in sectors.
ROOT_SIZE = "@ROOT@"
BOOT_DISKS = "/usr/local/sbin/freehold-boot-disks"
CONFIG = "/etc/mdadm/mdadm.conf"

# Said here, as Debian's package would otherwise look for the arrays of the machine that builds, and write the
# date into the initramfs. `any`: the array belongs to whichever host finds it.
MDADM_CONF = """\
HOMEHOST <system>
MAILADDR root
PROGRAM /usr/bin/logger
ARRAY /dev/md/root name=any:root
"""

# After each run of dpkg; the script does nothing while its packages stay as they are.
APT_HOOK = f"""\
DPkg::Post-Invoke {{ "if [ -x {BOOT_DISKS} ]; then {BOOT_DISKS} || true; fi"; }};
"""


def host_files() -> dict[str, TreeFile]:
    """The files of the image, by their path."""
    script = resources.files("builder").joinpath("data/boot-disks.sh").read_bytes()
    files = (
        TreeFile(BOOT_DISKS, script, 0o755),
        TreeFile("/etc/apt/apt.conf.d/90freehold-boot-disks", APT_HOOK.encode()),
        TreeFile(CONFIG, MDADM_CONF.encode()),
    )
    return {file.path: file for file in files}


def tables(disk: Layout) -> tuple[str, str]:
    """What sfdisk reads for the first and the second disk: the same places, and no identifier twice."""
    second = identity(f"{disk.identity.disk}:second")
    named = {"bios": second.bios, "esp": second.esp, "root": second.root}

    def other(layout: Layout) -> Layout:
        parts = [
            None if part is None else replace(part, identity=named[part.name])
            for part in (layout.bios, layout.esp, layout.root)
        ]
        bios, esp, root = parts
        assert esp is not None and root is not None
        return replace(layout, identity=second, bios=bios, esp=esp, root=root)

    return _table(disk), _table(other(disk))


def _table(disk: Layout) -> str:
    before = f"size={disk.root.size // SECTOR}, type={disk.root.kind}"
    text = sfdisk_script(disk)
    assert text.count(before) == 1
    return text.replace(before, f"size={ROOT_SIZE}, type={TYPE_RAID}")
