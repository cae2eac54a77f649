"""What makes a tree of packages a system that boots: files, units, and the cleaning of its identity."""

from __future__ import annotations

from builder import boot, mirror
from builder.disk import Identity
from builder.payload import TreeFile
from builder.spec import ARCHES, ImageSpec

# The clouds whose metadata cloud-init can find out by itself on this image; NoCloud first: seeds.
DATASOURCES = (
    "NoCloud, ConfigDrive, OpenStack, Hetzner, DigitalOcean, Vultr, Scaleway, Ec2, GCE, Azure, Oracle, "
    "UpCloud, Akamai, None"
)

# What cloud-init does on this image. Left out: what the recipe has done (package sources, locale, GRUB,
# password policy of the console), other distributions' modules, and configuration management systems.
CLOUD_MODULES = {
    "cloud_init_modules": (
        "seed_random",
        "bootcmd",
        "write-files",
        "disk_setup",
        "mounts",
        "set_hostname",
        "update_hostname",
        "update_etc_hosts",
        "ca-certs",
        "users-groups",
        "ssh",
    ),
    "cloud_config_modules": ("ssh-import-id", "set-passwords", "ntp", "timezone", "runcmd"),
    "cloud_final_modules": (
        "package-update-upgrade-install",
        "write-files-deferred",
        "scripts-vendor",
        "scripts-per-once",
        "scripts-per-boot",
        "scripts-per-instance",
        "scripts-user",
        "phone-home",
        "final-message",
        "power-state-change",
    ),
}
MODULES = "".join(f"{stage}: [{', '.join(names)}]\n" for stage, names in CLOUD_MODULES.items())

CLOUD_CFG = f"""\
# What this image leaves to others: growing the root (systemd-repart), package lists, locale generation.
datasource_list: [ {DATASOURCES} ]
growpart:
  mode: "off"
resize_rootfs: false
apt:
  preserve_sources_list: true
locale: false
ssh_genkeytypes: [ed25519, ecdsa]
{MODULES}manage_etc_hosts: true
system_info:
  network:
    renderers: [networkd]
"""

# An address on any one link is enough to be online: hosts have private links without a gateway.
WAIT_ONLINE = """\
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=60
"""

# cloud-init's own files sort before this one and win; without a seed the host still gets an address.
FALLBACK_NETWORK = """\
[Match]
Type=ether
Kind=!*

[Network]
DHCP=yes
"""

# Ordered after cloud-init, which brings or makes keys; only a host without a seed has none by then.
HOST_KEYS = """\
[Unit]
Description=SSH host keys for a host without a seed
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
After=cloud-init.service cloud-init-network.service
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""

REPART = """\
[Partition]
Type=root
"""

# When everything starts at once, the operator's way in comes first.
SSH_FIRST = """\
[Service]
StartupCPUWeight=1000
"""

# A host's disk belongs to its applications.
JOURNAL = """\
[Journal]
SystemMaxUse=500M
"""

# Not needed on a server that is one image: LVM snapshots to scrub, GRUB's memory of failed boots.
DISABLED = (
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "grub-common.service",
    "grub-initrd-fallback.service",
)
ENABLED = (
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "ssh.service",
    "freehold-hostkeys.service",
)


def system_files(spec: ImageSpec, ids: Identity) -> tuple[TreeFile, ...]:
    """The files that the image adds to its packages, apart from the recipe's."""
    files = {
        "/etc/fstab": boot.fstab(ids),
        "/etc/default/grub.d/freehold.cfg": boot.grub_defaults(ARCHES[spec.arch]),
        "/etc/cloud/cloud.cfg.d/90-freehold.cfg": CLOUD_CFG,
        "/etc/systemd/system/systemd-networkd-wait-online.service.d/freehold.conf": WAIT_ONLINE,
        "/etc/systemd/network/99-freehold-fallback.network": FALLBACK_NETWORK,
        "/etc/systemd/system/freehold-hostkeys.service": HOST_KEYS,
        "/etc/systemd/journald.conf.d/freehold.conf": JOURNAL,
        "/etc/systemd/system/ssh.service.d/freehold.conf": SSH_FIRST,
        "/etc/repart.d/50-root.conf": REPART,
        "/etc/hostname": "freehold\n",
        "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    }
    if ARCHES[spec.arch].bios:
        # grub-cloud acts on upgrades of GRUB only where this file says that the disk is the image's own.
        files["/etc/grub.d/enable_cloud"] = ""
    found = {path: TreeFile(path, text.encode()) for path, text in files.items()}
    if spec.raid1:
        # Both act on the one disk below the root.
        del found["/etc/repart.d/50-root.conf"], found["/etc/grub.d/enable_cloud"]
        found.update(mirror.host_files())
    return tuple(found[path] for path in sorted(found))


# What the packages left. Before the recipe, whose profile may put files of its own in these places.
SWEEP = """\
rm -rf /root/.ssh /root/.bash_history /root/.cache
rm -f /var/log/*.log /var/log/apt/*
"""


def enable_script(spec: ImageSpec) -> str:
    """Runs in the tree before the recipe's script."""
    record = f"{mirror.BOOT_DISKS} --record\n" if spec.raid1 else ""
    return f"""\
set -eu
mkdir -p /boot/efi /boot/grub /var/log/journal
systemctl disable --quiet {" ".join(DISABLED)} 2>/dev/null || true
systemctl enable --quiet {" ".join(ENABLED)}
passwd --quiet --lock root
{SWEEP}{record}"""


CLEAN = """\
set -eu
# Identity: every host makes its own.
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/resolv.conf.bak
rm -rf /var/lib/cloud /var/lib/docker /var/lib/containerd
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache
rm -f /var/lib/dpkg/*-old /etc/*- /etc/.pwd.lock
mkdir -p /var/lib/apt/lists/partial
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
"""

# /etc and /var are as new as /usr: without these marks the first boot would rebuild the hardware database,
# the linker's cache and the journal's catalogue, which the packages made already.
MARK = """\
touch --reference=/usr /etc/.updated /var/.updated
"""
