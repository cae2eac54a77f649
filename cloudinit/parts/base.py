"""Packages, time, locale, kernel settings, swap."""

from __future__ import annotations

import shlex

from cloudinit.parts import hostname
from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step

PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "tzdata",
    "zstd",
)

# A path of its own: hosts often have a /swapfile, which fstab names.
SWAP_FILE = "/freehold.swap"
# What it leaves free on the disk, bytes.
_SWAP_RESERVE = 512 * 1024**2
SWAP_PROGRAM = f"""#!/bin/sh
# Make the swap file on the first boot, and again when its size was changed. What has its name is whole.
set -eu
export LC_ALL=C
path=$1 size=$2
active() {{ grep -q "^$path " /proc/swaps; }}
length() {{ stat -c %s "$path" 2>/dev/null || echo 0; }}
if [ "$(length)" -ne "$size" ]; then
    trap 'rm -f "$path.new"' EXIT
    trap 'exit 1' HUP INT TERM
    rm -f "$path.new"
    free=$(($(df --output=avail -B1 "${{path%/*}}/" | tail -n 1) + $(length) - {_SWAP_RESERVE}))
    if [ "$size" -gt "$free" ]; then
        echo "no room for a swap file of $((size >> 20)) MiB: $((free >> 20)) MiB can be spared" >&2
        # A former one serves on.
        if [ -e "$path" ] && ! active; then swapon "$path"; fi
        exit 1
    fi
    if active; then swapoff "$path"; fi
    rm -f "$path"
    umask 077
    said=$(fallocate -l "$size" "$path.new" 2>&1) || case $said in
    *"not supported"*) dd if=/dev/zero of="$path.new" bs=1M count="$size" iflag=count_bytes ;;
    *) echo "$said" >&2; exit 1 ;;
    esac
    mkswap "$path.new"
    sync "$path.new"
    mv "$path.new" "$path"
fi
active || swapon "$path"
"""


def packages_of(profile: HostProfile) -> tuple[str, ...]:
    """Packages that depend on the profile's time, locale and guards."""
    wanted: list[str] = []
    if profile.locale != "C.UTF-8":
        wanted.append("locales")
    if profile.fail2ban:
        # Its jail shuts out with nft, whether or not Freehold's firewall does.
        wanted += ["fail2ban", "nftables", "python3-systemd"]
    return tuple(wanted)


def packages() -> Step:
    """The step that installs what is missing."""
    return Step(
        "packages",
        "Packages",
        script="""
# The engine may be Docker's own package, which Debian's would replace.
if engine=$(command -v dockerd) && [[ $(dpkg -S "$engine" 2>/dev/null) != docker.io:* ]]; then
    wanted=()
    for package in "${PACKAGES[@]}"; do
        case $package in docker.io | docker-cli) ;; *) wanted+=("$package") ;; esac
    done
    PACKAGES=("${wanted[@]}")
fi
# Another time service is as good; Debian's packages for it exclude each other.
if installed chrony || installed ntpsec; then
    wanted=()
    for package in "${PACKAGES[@]}"; do
        [ "$package" = systemd-timesyncd ] || wanted+=("$package")
    done
    PACKAGES=("${wanted[@]}")
fi
install_packages "${PACKAGES[@]}"
""",
    )


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Name, time, locale, kernel, swap."""
    return (*hostname.steps(profile), _time(profile), _locale(profile), _kernel(profile), _swap(profile))


def _time(profile: HostProfile) -> Step:
    zone = shlex.quote(profile.timezone)
    servers = " ".join(profile.ntp)
    conf = "/etc/systemd/timesyncd.conf.d/freehold.conf"
    files: tuple[File, ...] = ()
    if servers:
        text = f"[Time]\nNTP={servers}\n"
        files = (File(conf, text, notify=(("restart", "systemd-timesyncd.service"),)),)
    return Step(
        "time",
        "Time zone and clock",
        files=files,
        script=f"""
zone={zone}
[ -e "/usr/share/zoneinfo/$zone" ] || give_up "the system knows no time zone $zone"
symlink /etc/localtime "/usr/share/zoneinfo/$zone"
if [ -e /etc/timezone ] && [ "$(cat /etc/timezone)" != "$zone" ]; then
    printf '%s\\n' "$zone" >/etc/timezone
    changed "time zone"
fi
{"" if servers else f"absent {conf} restart systemd-timesyncd.service"}
if installed systemd-timesyncd; then enable systemd-timesyncd.service; fi
""",
        live="""
# In a container the clock belongs to the machine outside, and the unit does not start.
if installed systemd-timesyncd && ! systemd-detect-virt --quiet --container; then
    start systemd-timesyncd.service
fi
""",
    )


def _locale(profile: HostProfile) -> Step:
    name = shlex.quote(profile.locale)
    script = ""
    if profile.locale != "C.UTF-8":
        script = f"""
name={name}
if ! locale -a 2>/dev/null | grep -qixF "${{name/UTF-8/utf8}}"; then
    # Without the mark where an earlier run ended before it was generated.
    grep -qE "^(# *)?$name " /etc/locale.gen || give_up "the system knows no locale $name"
    sed -i -E "s/^# *($name .*)/\\\\1/" /etc/locale.gen
    locale-gen
    changed "generated $name"
fi
"""
    # From Debian 13 on the one is a link to the other, made anew at every boot.
    script += f"""
path=/etc/default/locale
if grep -qs " $path " /usr/lib/tmpfiles.d/debian.conf; then path=/etc/locale.conf; fi
printf 'LANG=%s\\n' {name} | file "$path" 644 root root
"""
    return Step("locale", "Locale", script=script)


def _kernel(profile: HostProfile) -> Step:
    values = {
        "fs.inotify.max_user_instances": "1024",
        "fs.inotify.max_user_watches": "524288",
        "kernel.dmesg_restrict": "1",
        "net.ipv4.conf.all.accept_redirects": "0",
        "net.ipv4.conf.all.send_redirects": "0",
        "net.ipv4.tcp_syncookies": "1",
        "net.ipv6.conf.all.accept_redirects": "0",
        **profile.sysctl,
    }
    # The dash lets the rest be set where a container's kernel refuses one.
    lines = "".join(f"-{name} = {value}\n" for name, value in sorted(values.items()))
    path = "/etc/sysctl.d/60-freehold.conf"
    names = " ".join(sorted(values))
    # The kernel does not know what a setting was before: that is asked for before it is made.
    before = f"""
names=' {names} '
if live; then
    former=$(recall sysctl)
    for name in $names; do
        if grep -qsF -- "-$name = " {path} || grep -qF -- "$name=" <<<"$former"; then continue; fi
        if value=$(sysctl -n -- "$name" 2>/dev/null); then former+=$'\\n'"$name=$value"; fi
    done
    say "$former" | sed '/^$/d' | remember sysctl
fi
"""
    live = """
while IFS='=' read -r name value; do
    case $names in *" $name "*) continue ;; esac
    [ -z "$name" ] || ! sysctl -q -w "$name=$value" 2>/dev/null || changed "$name is $value again"
done < <(recall sysctl)
recall sysctl | while IFS='=' read -r name value; do
    case $names in *" $name "*) say "$name=$value" ;; esac
done | remember sysctl
"""
    file = File(path, lines, notify=(("sysctl", "-"),))
    return Step("kernel", "Kernel settings", before=before, files=(file,), live=live)


def _swap(profile: HostProfile) -> Step:
    unit = "freehold-swap.service"
    path = f"/etc/systemd/system/{unit}"
    if profile.swap is None:
        off = f"""
if [ -e {path} ]; then disable {unit}; fi
absent {path}
{_take_swap(SWAP_FILE)}
"""
        return Step("swap", "Swap (off)", before=_former_swap(path), script=off)
    text = f"""[Unit]
Description=Swap file of {profile.swap // 1024**2} MiB
ConditionVirtualization=!container
DefaultDependencies=no
After=local-fs.target
Before=swap.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/freehold/swap {SWAP_FILE} {profile.swap}
ExecStop=-/sbin/swapoff {SWAP_FILE}

[Install]
WantedBy=multi-user.target
"""
    return Step(
        "swap",
        "Swap",
        before=_former_swap(path),
        files=(
            File("/usr/local/lib/freehold/swap", SWAP_PROGRAM, 0o755, notify=(("restart", unit),)),
            File(path, text, notify=(("restart", unit),)),
        ),
        script=f"enable {unit}",
        live=f"systemd-detect-virt --quiet --container || start {unit}",
    )


def _former_swap(unit: str) -> str:
    # /swapfile is where hosts have their own, too. It is Freehold's where its unit names it, not fstab.
    return f"""
if grep -qs '^ExecStart=.* /swapfile ' {unit} && ! grep -qs '^/swapfile[[:space:]]' /etc/fstab; then
    {_take_swap("/swapfile")}
fi
"""


def _take_swap(file: str) -> str:
    return f"""if live && grep -q '^{file} ' /proc/swaps; then
    swapoff {file} || give_up "too little memory is free to do without {file}: try again when more is"
fi
absent {file}"""
