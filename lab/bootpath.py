"""What the boot of a lab's machine leaves out. The image stays as it is: all of this is said from outside.

A boot is bound by the processor, and an emulated one feels everything that starts. What is left out
here is equipment that a machine of a lab does not have, and protection against programs that it does
not run. `docs/lab.md` says what it saves.
"""

from __future__ import annotations

# The data source is known, so none is looked for; names of cards come from the seed; mitigations
# protect nothing in a lab and cost at each system call; memory need not be zeroed twice.
KERNEL = ("ds=nocloud", "net.ifnames=0", "mitigations=off", "init_on_alloc=0", "audit=0")

# On a busy computer an emulated timer comes late. The kernel would then panic when it tests its timer, or
# take the time-stamp counter for a bad clock and ask a slower one at each look at the time. systemd would end
# services that are not up after 90 seconds and start them anew, over and over, so that none ever came up. The
# initramfs gives up on the disk after 30, and has no word for more: it sleeps for the whole of `rootdelay`.
EMULATED = ("no_timer_check", "tsc=reliable", "systemd.default_timeout_start_sec=600")

# A fresh overlay on a checked image; four serial ports where there is one.
FEWER = ("fsck.mode=skip", "8250.nr_uarts=1")

# Equipment comes late where it is emulated: the serial line once took more than the 90 seconds that systemd
# waits for a device, and the console had no login. Debian 12's systemd does not know the word.
LATE = ("systemd.default_device_timeout_sec=600",)

# Security modules without a policy here (TOMOYO, IPE, IMA, EVM) are asked at each file all the same.
MODULES_OF_SECURITY = "lsm=lockdown,capability,landlock,yama,apparmor,bpf"

# udev loads these because the emulated hardware names them. Nested virtualisation is not offered, and
# the kernel tests each cipher that it loads at length.
DRIVERS = (
    "kvm_amd",
    "kvm_intel",
    "aesni_intel",
    "ghash_clmulni_intel",
    "sha512_ssse3",
    "sha256_ssse3",
    "sha1_ssse3",
    "crct10dif_pclmul",
    "crc32_pclmul",
    "qemu_fw_cfg",
    "pcspkr",
    "ahci",
)

# Each unit is a process and a round of bookkeeping. Docker loads the drivers that it needs by itself.
UNITS = (
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "drm", "efi_pstore", "fuse", "loop")),
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-network-generator.service",
    "systemd-pstore.service",
    "systemd-udev-load-credentials.service",
    "getty@tty1.service",
    # Waits for the shutdown, to hold it back.
    "unattended-upgrades.service",
)
# A login's own service manager: a second at each first command, and nothing of Freehold asks it.
USER_MANAGER = "user@1000.service"

# Bits of the emulated processor that cost more than they give: page tables of five levels, instructions
# around each access to a program's memory, nested virtualisation, copying byte by byte.
CPU_WITHOUT = ("la57", "smap", "smep", "svm", "erms", "fsrm")

# Hardware that no machine of a lab has a use for, and whose drivers wait for an answer.
MACHINE_WITHOUT = "sata=off,smbus=off,i8042=off,vmport=off"


def kernel_arguments(*, emulated: bool) -> str:
    """What is appended to the image's own command line for a direct kernel boot."""
    masked = (*UNITS, USER_MANAGER) if emulated else UNITS
    return " ".join(
        (
            *KERNEL,
            *((*EMULATED, *LATE) if emulated else ()),
            *FEWER,
            MODULES_OF_SECURITY,
            f"modprobe.blacklist={','.join(DRIVERS)}",
            *(f"systemd.mask={unit}" for unit in masked),
        )
    )
