"""What snapshots are called: by people, and by libvirt.

One that replaces another of its name is made before that is deleted, as there may be no room for it. So
libvirt knows the second `clean` as `clean..1`.
"""

from __future__ import annotations

from collections.abc import Sequence

# QEMU takes letters, digits and these three signs: . _ -
MARK = ".."


def called(snapshot: str) -> str:
    """What people call a snapshot of libvirt's."""
    return snapshot.partition(MARK)[0]


def names(snapshots: Sequence[str]) -> tuple[str, ...]:
    """What people call them, each once; the order is that of the last of each name."""
    return tuple(reversed(dict.fromkeys(called(item) for item in reversed(snapshots))))


def further(name: str, lists: Sequence[Sequence[str]]) -> str:
    """What libvirt may call the next snapshot of that name: none of what machines have already."""
    taken = [item.partition(MARK)[2] for known in lists for item in known if called(item) == name]
    return f"{name}{MARK}{1 + max(int(number or 0) for number in taken)}" if taken else name


def common(lists: Sequence[Sequence[str]]) -> dict[str, str]:
    """The snapshots that every machine has, by what they are called: libvirt's last one, the oldest first."""
    first, *others = lists
    shared = [item for item in first if all(item in other for other in others)]
    return {name: [item for item in shared if called(item) == name][-1] for name in names(shared)}
