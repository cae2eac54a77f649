"""The group, the state directories, the users."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from cloudinit.leaks import in_text
from cloudinit.names import HARMLESS
from cloudinit.profile import HostProfile
from cloudinit.steps import Directory, File, Step
from cloudinit.users import User
from freehold.source import Location

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
# Deploys once left what they made to their own user. What others may not read, as secrets, stays closed.
REOPEN = f"""
opened() {{
    find "$@" -print -exec chgrp freehold {{}} + -exec chmod "$mode" {{}} + | wc -l
}}
shared="{STATE}/apps {STATE}/proxy {LOCKS}"
mode=g+rwxs
number=$(opened $shared -type d -perm -o=x ! -perm -g=rwxs)
if [ -d {STATE}/backups ]; then number=$((number + $(opened {STATE}/backups -type d ! -perm -g=rwxs))); fi
mode=g+rw
number=$((number + $(opened $shared -type f -perm -o=r ! -perm -g=rw)))
[ $number = 0 ] || changed "$number files and directories of deploys are the group's"
"""
# Here cloud-init writes the sudo of each user of a seed.
_CLOUD_SUDOERS = "/etc/sudoers.d/90-cloud-init-users"
_TMPFILES = "".join(f"d {path} 2775 root freehold -\n" for path in (*SHARED, LOCKS))


def steps(profile: HostProfile) -> tuple[Step, ...]:
    """Groups and state first, then one step a user."""
    return (_state(profile.groups), *(_user(user) for user in profile.users))


def secrets(profile: HostProfile) -> tuple[str, ...]:
    """What these steps hold that others must not read."""
    return secrets_of(profile.users)


def secrets_of(users: Iterable[User]) -> tuple[str, ...]:
    """The same of users alone: hashes of passwords, and what the options of a key give away."""
    found = []
    for user in users:
        if user.password is not None:
            found.append(f"the password hash of {user.name}")
        where = Location("config/host.yml", key=f"users, a key of {user.name}")
        found += [str(leak) for key in user.public_keys for leak in in_text(key.options, where)]
    return tuple(found)


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
        live=f"directory {LOCKS} 2775 root freehold\n{REOPEN}",
    )


def _user(user: User) -> Step:
    name = user.name
    groups = " ".join(user.all_groups)
    own = "freehold" if name in HARMLESS else "$name"
    lines = [
        f"name={name} shell={shlex.quote(user.shell)}",
        '[ -x "$shell" ] || give_up "there is no shell $shell for $name"',
        'if ! id -u "$name" >/dev/null 2>&1; then',
        "    own=--user-group",
        f'    if getent group "$name" >/dev/null; then own=--gid={own}; fi',
        '    useradd --create-home "$own" --shell "$shell" "$name"',
        '    changed "user $name"',
        "fi",
        'if [ "$(getent passwd "$name" | cut -d: -f7)" != "$shell" ]; then',
        '    usermod --shell "$shell" "$name"',
        '    changed "shell of $name"',
        "fi",
        # The groups that an earlier profile gave, and the one that `sudo` means.
        f"wanted=' {groups} '",
        f'for group in $(recall "groups-$name"){"" if user.sudo else " sudo"}; do',
        '    case $wanted in *" $group "*) continue ;; esac',
        '    id -nG "$name" | tr " " "\\n" | grep -qxF "$group" || continue',
        '    gpasswd --delete "$name" "$group" >/dev/null',
        '    changed "$name leaves $group"',
        "done",
        'say $wanted | tr " " "\\n" | remember "groups-$name"',
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
            'say given | remember "password-$name"',
        ]
    else:
        # A password that somebody set on the host is none of the profile's.
        lines += [
            'if [ -e "$FREEHOLD_STATE/password-$name" ]; then',
            '    usermod --lock "$name"',
            '    rm -f "$FREEHOLD_STATE/password-$name"',
            '    changed "$name has no password any more"',
            "fi",
        ]
    sudoers = f"/etc/sudoers.d/freehold-{name}"
    files = []
    if user.sudo:
        files.append(File(sudoers, f"{name} ALL=(ALL:ALL) NOPASSWD:ALL\n", 0o440))
    else:
        lines += [
            f"absent {sudoers}",
            f'if grep -qs "^$name[[:space:]]" {_CLOUD_SUDOERS}; then',
            f'    sed -i "/^$name[[:space:]]/d" {_CLOUD_SUDOERS}',
            '    changed "what cloud-init gave $name"',
            "fi",
        ]
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
    head = """
home=$(getent passwd "$name" | cut -d: -f6)
directory "$home/.ssh" 700 "$name" "$(id -gn "$name")"
"""
    if user.keys_added:
        return f"{head}{_added(user)}"
    if user.keys_kept:
        return f"""{head}
kept=$(grep -sF {" ".join(f"-e {data}" for data in user.keys_kept)} "$home/.ssh/authorized_keys" || true)
{{
cat <<'KEYS_END'
{text}KEYS_END
if [ -n "$kept" ]; then say "$kept"; fi
}} | file "$home/.ssh/authorized_keys" 600 "$name" "$(id -gn "$name")"
"""
    return f"""{head}
file "$home/.ssh/authorized_keys" 600 "$name" "$(id -gn "$name")" <<'KEYS_END'
{text}KEYS_END
"""


def _added(user: User) -> str:
    # The profile says nothing of this user's keys: those of others, and of tools, are not ours to remove.
    lines = [
        f"grep -q '^[^#]*{key.data}' <<<\"$there\" || there+=${{there:+$'\\n'}}{shlex.quote(key.line)}"
        for key in user.public_keys
    ]
    return "\n".join(
        [
            'there=$(cat "$home/.ssh/authorized_keys" 2>/dev/null || true)',
            *lines,
            'file "$home/.ssh/authorized_keys" 600 "$name" "$(id -gn "$name")" <<<"$there"',
        ]
    )
