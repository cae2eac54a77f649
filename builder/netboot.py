"""The installer without a medium: kernel, initramfs, packed image and iPXE script, for HTTP boot.

The packed image travels as one more initramfs archive: what installs needs no network of its own, and what
was loaded is verified piece by piece when it is read back from the disk.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.cpio import Entry, copy, file, with_folders, write
from builder.installer import PACKED, Installation, Live, carried
from builder.medium import cmdline
from freehold.errors import UsageError
from freehold.files import replace_atomically

SCRIPT = "boot.ipxe"
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
# Kernel, its archives twice (as loaded, and unpacked), and room to work: in MiB.
MEMORY = 1536


@dataclass(frozen=True)
class NetHost:
    """A host that is installed over the network; `mac` may be empty where it is the only one."""

    installation: Installation
    mac: str = ""

    @property
    def name(self) -> str:
        """The host's name."""
        return self.installation.host


def parse_host(text: str) -> tuple[str, str]:
    """`web-1` or `web-1=52:54:00:12:34:56` as name and MAC address; UsageError for something else."""
    name, equals, mac = text.partition("=")
    mac = mac.lower().replace("-", ":")
    if equals and not MAC.match(mac):
        raise UsageError(f"{mac!r} is no MAC address", hint="write it as web-1=52:54:00:12:34:56")
    return name, mac


def check_hosts(hosts: Sequence[tuple[str, str]]) -> None:
    """UsageError where a machine could not tell which host it is to become."""
    names, macs = [name for name, _ in hosts], [mac for _, mac in hosts]
    if len(hosts) > 1 and not all(macs):
        bare = next(name for name, mac in hosts if not mac)
        raise UsageError(
            f"with several hosts each needs its MAC address; {bare} has none",
            hint=f"write {bare}=52:54:00:12:34:56",
        )
    for found in (names, macs):
        twice = next((value for value in found if value and found.count(value) > 1), None)
        if twice is not None:
            raise UsageError(f"{twice} is given twice")


def ipxe(live: Live, hosts: Sequence[NetHost]) -> str:
    """boot.ipxe: each host by its MAC address; a machine that is none of them goes on to its own disk."""
    lines = ["#!ipxe", ""]
    if len(hosts) == 1 and not hosts[0].mac:
        lines.append(f"goto {hosts[0].name}")
    else:
        # Any of its cards may be the one whose address was given, whichever it starts from.
        lines += ["set card:int32 0", ":next_card"]
        lines += [f"iseq ${{net${{card}}/mac}} {host.mac} && goto {host.name} ||" for host in hosts]
        lines += ["inc card", "isset ${net${card}/mac} && goto next_card ||"]
        lines += ["echo This machine is none of those that are to be installed.", "exit"]
    for host in hosts:
        lines += [
            "",
            f":{host.name}",
            f"chain --replace --autofree hosts/{host.name}.ipxe || goto failed",
        ]
    lines += ["", ":failed", "echo The boot server does not answer; trying again in 10 seconds.", "sleep 10"]
    lines += [f"chain --replace --autofree {SCRIPT} || goto failed"]
    return "\n".join(lines) + "\n"


def host_ipxe(live: Live, host: str) -> str:
    """What installs one host. `initrd=` tells an EFI kernel which archives it was given, in this order."""
    archives = ("initrd.img", "image.cpio", f"{host}.cpio")
    names = " ".join(f"initrd={name}" for name in archives)
    return "\n".join(
        (
            "#!ipxe",
            f"kernel ../vmlinuz {names} {cmdline(live.key)}",
            "initrd --name initrd.img ../initrd.img",
            "initrd --name image.cpio ../image.cpio",
            f"initrd --name {host}.cpio {host}.cpio",
            "boot",
            "",
        )
    )


def write_netboot(live: Live, hosts: Sequence[NetHost], target: Path) -> dict[str, Path]:
    """Write the whole set below `target`; the path in a URL → file. Files are replaced one by one, whole."""
    check_hosts([(host.name, host.mac) for host in hosts])
    target.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        with replace_atomically(target / name) as temporary:
            shutil.copyfile(live.directory / name, temporary)
    _archive(target / "image.cpio", {name: live.directory / name for name in PACKED})
    made = [SCRIPT, "vmlinuz", "initrd.img", "image.cpio"]
    for host in hosts:
        own = {n: c for n, c in carried(live, host.installation).items() if n not in PACKED}
        # A seed may hold keys: readable by its owner; the boot server gives it to whoever asks.
        _archive(target / f"hosts/{host.name}.cpio", own, mode=0o600)
        _text(target / f"hosts/{host.name}.ipxe", host_ipxe(live, host.name))
        made += [f"hosts/{host.name}.cpio", f"hosts/{host.name}.ipxe"]
    _text(target / SCRIPT, ipxe(live, hosts))
    return {name: target / name for name in made}


def _text(path: Path, content: str) -> None:
    with replace_atomically(path) as temporary:
        temporary.write_text(content)


def _archive(path: Path, files: Mapping[str, bytes | Path], mode: int = 0o644) -> None:
    entries: list[Entry] = []
    for name, content in files.items():
        place = f"freehold/medium/{name}"
        entries.append(copy(place, content) if isinstance(content, Path) else file(place, content))
    with replace_atomically(path, mode=mode) as temporary, temporary.open("wb") as stream:
        write(stream, with_folders(entries))
