"""Who a host is: the files that a seed would bring, laid into the overlay before the host boots."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key as OpenSSH writes it; `public` without a comment. Made for one rig, worth nothing."""

    private: bytes
    public: str


def make_key() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    )


@dataclass(frozen=True)
class File:
    """A file of the overlay. `owner`: a user of the tree."""

    data: bytes
    mode: int = 0o644
    owner: str = "root"


NETWORK = """\
[Match]
Name=eth0

[Network]
Address={interface}
IPv6AcceptRA=no
"""


def files(
    name: str,
    interface: str,
    host_key: KeyPair,
    authorized: str,
    users: tuple[str, ...],
    addresses: Mapping[str, str],
) -> dict[str, File]:
    """Path to file. `interface`: ADDRESS/LENGTH; `addresses`: host name to address, of all hosts."""
    hosts = ["127.0.0.1 localhost", f"127.0.1.1 {name}", "::1 localhost ip6-localhost ip6-loopback"]
    hosts += [f"{address} {host}" for host, address in addresses.items() if host != name]
    result = {
        # Without an id the first boot would apply presets, which takes seconds.
        "/etc/machine-id": File(f"{uuid.uuid4().hex}\n".encode(), 0o444),
        "/etc/hostname": File(f"{name}\n".encode()),
        "/etc/hosts": File(("\n".join(hosts) + "\n").encode()),
        "/etc/ssh/ssh_host_ed25519_key": File(host_key.private, 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": File(f"{host_key.public} root@{name}\n".encode()),
        "/etc/systemd/network/10-rig.network": File(NETWORK.format(interface=interface).encode()),
        # The root is an overlay here, not the image's disk.
        "/etc/fstab": File(b""),
        # The seed's work is done already.
        "/etc/cloud/cloud-init.disabled": File(b""),
    }
    for user in users:
        home = "/root" if user == "root" else f"/home/{user}"
        result[f"{home}/.ssh/authorized_keys"] = File(f"{authorized} rig\n".encode(), 0o600, user)
    return result


def accounts(tree: Path) -> dict[str, tuple[int, int]]:
    """User name to (user id, group id) of a tree."""
    rows = (line.split(":") for line in (tree / "etc/passwd").read_text().splitlines())
    return {row[0]: (int(row[2]), int(row[3])) for row in rows}


def place(tree: Path, upper: Path, path: str, file: File) -> None:
    """Write a file into the upper directory of an overlay; directories keep the owner and mode of `tree`."""
    owner = accounts(tree)[file.owner]
    parts = PurePosixPath(path).relative_to("/").parts
    for depth in range(1, len(parts)):
        below, above = tree.joinpath(*parts[:depth]), upper.joinpath(*parts[:depth])
        if above.is_dir():
            continue
        above.mkdir()
        if below.is_dir():
            like = below.stat()
            os.chown(above, like.st_uid, like.st_gid)
            above.chmod(like.st_mode & 0o7777)
        else:
            os.chown(above, *owner)
            above.chmod(0o700 if parts[depth - 1] == ".ssh" else 0o755)
    target = upper.joinpath(*parts)
    target.write_bytes(file.data)
    os.chown(target, *owner)
    target.chmod(file.mode)
