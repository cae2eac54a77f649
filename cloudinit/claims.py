"""Files of the user's own that the recipe writes itself: one of the two would undo the other at every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cloudinit.profile import HostProfile
from cloudinit.steps import Step
from freehold.errors import ConfigError
from freehold.source import Location

# Where the profile says what such a file holds; the first that the path begins with.
_HINTS = (
    ("/etc/docker/daemon.json", "say it with docker.options"),
    ("/etc/ssh/sshd_config.d/10-freehold.conf", "say it with ssh.options, or in another file beside it"),
    ("/etc/ssh/sshd_config", "say it with ssh.options, or in a file below /etc/ssh/sshd_config.d"),
    ("/etc/sysctl.d/", "say it with sysctl, or in another file beside it"),
    ("/etc/systemd/timesyncd.conf.d/", "say it with ntp, or in another file beside it"),
    ("/etc/sudoers.d/", "say it with users[].sudo, or in another file beside it"),
    ("/etc/freehold/firewall.nft", "say it with firewall.open"),
    ("/etc/hostname", "say it with machines.NAME.hostname"),
    (
        "/etc/hosts",
        "cloud-init makes it at each boot of /etc/cloud/templates/hosts.debian.tmpl, which may stand here; "
        "on a host without cloud-init, append to it with commands",
    ),
    ("/etc/default/locale", "say it with locale"),
    ("/etc/locale.conf", "say it with locale"),
    ("/home/", "say it with users[].keys"),
)


def refuse_claimed(profile: HostProfile, steps: Sequence[Step]) -> None:
    """ConfigError at the first of `files:` that another step of the recipe writes, too."""
    # What a user's own file is written by counts once; these are written in pieces, or by a shell.
    written = Counter(item.path for step in steps for item in step.files)
    written.update(("/etc/ssh/sshd_config", "/etc/default/locale", "/etc/locale.conf", "/etc/hosts"))
    written.update(f"/home/{user.name}/.ssh/authorized_keys" for user in profile.users if user.keys)
    written.update(("/etc/hostname",) if profile.hostname else ())
    for index, item in enumerate(profile.files):
        if written[item.path] < 2:
            continue
        where = profile.places.get(f"files[{index}].path", Location("config/host.yml", key=f"files[{index}]"))
        hint = next((hint for path, hint in _HINTS if item.path.startswith(path)), "leave it out")
        raise ConfigError(f"the recipe itself writes {item.path}", where=where, hint=hint)
