"""Unattended updates and the guard against password guessing."""

from __future__ import annotations

from cloudinit.profile import HostProfile
from cloudinit.steps import File, Step

_PERIODIC = "/etc/apt/apt.conf.d/20auto-upgrades"
_CHOICE = "/etc/apt/apt.conf.d/52freehold"
_JAIL = "/etc/fail2ban/jail.d/freehold.conf"
_SECURITY = "origin=Debian,codename=${distro_codename}-security,label=Debian-Security"
# Point releases, and what Debian gives out between them.
_OTHERS = (
    "origin=Debian,codename=${distro_codename},label=Debian",
    "origin=Debian,codename=${distro_codename}-updates,label=Debian",
)
_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")


def packages(profile: HostProfile) -> tuple[str, ...]:
    """unattended-upgrades, where it is wanted."""
    return ("unattended-upgrades",) if profile.updates.enabled else ()


def origins(profile: HostProfile) -> tuple[str, ...]:
    """Where unattended updates may come from, as unattended-upgrades matches archives' Release files.

    https://wiki.debian.org/UnattendedUpgrades; `codename` keeps a host from being carried to a later release.
    """
    return (_SECURITY, *_OTHERS) if profile.updates.everything else (_SECURITY,)


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Updates, fail2ban."""
    return (_updates(profile), _fail2ban(profile))


def _updates(profile: HostProfile) -> Step:
    updates = profile.updates
    daily = "1" if updates.enabled else "0"
    periodic = (
        f'APT::Periodic::Update-Package-Lists "{daily}";\nAPT::Periodic::Unattended-Upgrade "{daily}";\n'
        'APT::Periodic::AutocleanInterval "7";\n'
    )
    reboot = "true" if updates.reboot else "false"
    lines = [f'Unattended-Upgrade::Automatic-Reboot "{reboot}";']
    if updates.reboot:
        lines.append(f'Unattended-Upgrade::Automatic-Reboot-Time "{updates.reboot}";')
    lines.append('Unattended-Upgrade::Remove-Unused-Kernel-Packages "true";')
    # apt appends to a list that Debian's own file has begun, with its point releases in it.
    lines.append("#clear Unattended-Upgrade::Origins-Pattern;")
    lines += [f'Unattended-Upgrade::Origins-Pattern:: "{pattern}";' for pattern in origins(profile)]
    # Persistent timers would catch up on an image's age while the first boot is still busy.
    drop_in = "[Timer]\nPersistent=false\n"
    files = (
        File(_PERIODIC, periodic),
        File(_CHOICE, "\n".join(lines) + "\n"),
        *(File(f"/etc/systemd/system/{timer}.d/freehold.conf", drop_in) for timer in _TIMERS),
    )
    names = " ".join(_TIMERS)
    script, live = (f"enable {names}", f"start {names}") if updates.enabled else ("", "")
    return Step("updates", "Unattended updates", files=files, script=script, live=live)


def _fail2ban(profile: HostProfile) -> Step:
    if not profile.fail2ban:
        script = f"if [ -e {_JAIL} ]; then disable fail2ban.service; fi\nabsent {_JAIL}"
        return Step("fail2ban", "fail2ban (off)", script=script)
    jail = (
        "[DEFAULT]\nbackend = systemd\nbanaction = nftables-multiport\n"
        f"banaction_allports = nftables-allports\n\n[sshd]\nenabled = true\nport = {profile.ssh.port}\n"
    )
    return Step(
        "fail2ban",
        "fail2ban",
        files=(File(_JAIL, jail, notify=(("restart", "fail2ban.service"),)),),
        script="enable fail2ban.service",
        live="start fail2ban.service",
    )
