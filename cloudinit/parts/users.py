"""The group, the state directories, the users."""

from __future__ import annotations

import shlex

from cloudinit.profile import HostProfile
from cloudinit.steps import Directory, File, Step
from cloudinit.users import User

STATE = "/var/lib/freehold"
LOCKS = "/run/lock/freehold"
# Members of the group freehold write here; a parent stands before what is in it.
SHARED = (
    STATE,
    f"{STATE}/apps",
    f"{STATE}/proxy",
    f"{STATE}/proxy/sites",
    f"{STATE}/proxy/targets",
    f"{STATE}/proxy/routes",
    f"{STATE}/proxy/routes/_default",
)
_TMPFILES = "".join(f"d {path} 2775 root freehold -\n" for path in (*SHARED, LOCKS))


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Groups and state first, then one step a user."""
    return (_state(profile.groups), *(_user(user) for user in profile.users))


def secrets(profile: HostProfile) -> tuple[str, ...]:
    """What these steps hold that others must not read."""
    return tuple(f"the password hash of {user.name}" for user in profile.users if user.password is not None)


def _state(groups: tuple[str, ...]) -> Step:
    return Step(
        "state",
        "Groups and state of the deploys",
        before=f"""
for group in {" ".join(("freehold", *groups))}; do
    getent group "$group" >/dev/null && continue
    groupadd --system "$group"
    changed "group $group"
done
""",
        directories=tuple(Directory(path, 0o2775, "root", "freehold") for path in SHARED),
        files=(File("/etc/tmpfiles.d/freehold.conf", _TMPFILES, notify=(("tmpfiles", "-"),)),),
        live=f"directory {LOCKS} 2775 root freehold",
    )


def _user(user: User) -> Step:
    name = user.name
    groups = " ".join(user.all_groups)
    lines = [
        f"name={name} shell={shlex.quote(user.shell)}",
        '[ -x "$shell" ] || give_up "there is no shell $shell for $name"',
        'if ! id -u "$name" >/dev/null 2>&1; then',
        '    useradd --create-home --user-group --shell "$shell" "$name"',
        '    changed "user $name"',
        "fi",
        'if [ "$(getent passwd "$name" | cut -d: -f7)" != "$shell" ]; then',
        '    usermod --shell "$shell" "$name"',
        '    changed "shell of $name"',
        "fi",
        f"for group in {groups}; do",
        '    getent group "$group" >/dev/null || give_up "there is no group $group for $name"',
        '    id -nG "$name" | tr " " "\\n" | grep -qxF "$group" && continue',
        '    usermod --append --groups "$group" "$name"',
        '    changed "$name joins $group"',
        "done",
    ]
    if user.password:
        lines += [
            f"hash={shlex.quote(user.password.reveal())}",
            'if [ "$(getent shadow "$name" | cut -d: -f2)" != "$hash" ]; then',
            '    printf "%s:%s\\n" "$name" "$hash" | chpasswd --encrypted',
            '    changed "password of $name"',
            "fi",
        ]
    sudoers = f"/etc/sudoers.d/freehold-{name}"
    files = []
    if user.sudo:
        files.append(File(sudoers, f"{name} ALL=(ALL:ALL) NOPASSWD:ALL\n", 0o440))
    else:
        lines.append(f"absent {sudoers}")
    return Step(
        f"user-{name}",
        f"User {name}",
        files=tuple(files),
        before="\n".join(lines),
        script=_authorized_keys(user),
    )


def _authorized_keys(user: User) -> str:
    # Without keys here they come with the seed; what is there stays.
    if not user.public_keys:
        return ""
    text = "".join(f"{key.line}\n" for key in user.public_keys)
    return f"""
home=$(getent passwd "$name" | cut -d: -f6)
directory "$home/.ssh" 700 "$name" "$(id -gn "$name")"
file "$home/.ssh/authorized_keys" 600 "$name" "$(id -gn "$name")" <<'KEYS_END'
{text}KEYS_END
"""
