"""Vagrant boxes for the libvirt provider: a golden image with the user that Vagrant expects.

The format is a tar archive of `metadata.json`, `Vagrantfile` and `box.img`:
https://github.com/vagrant-libvirt/vagrant-libvirt/blob/main/example_box/README.md
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from builder.spec import GiB
from cloudinit.keys import parse_public_key
from cloudinit.seed import Seed, render_seed
from cloudinit.users import User

USER = "vagrant"
HOSTNAME = "freehold"

# The public half of the key pair that every Vagrant has. Anybody can log in with it until Vagrant has put a
# key of the machine's own in its place, which it does on the first `vagrant up`.
# https://github.com/hashicorp/vagrant/tree/main/keys
INSECURE_KEYS = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHz"
    "D8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8Hfd"
    "OV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbU"
    "vxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vag"
    "rant insecure public key",
)

# The image starts from a virtio disk; nothing is shared into it, as it has no agent for that.
VAGRANTFILE = f"""\
Vagrant.configure("2") do |config|
  config.ssh.username = "{USER}"
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :libvirt do |libvirt|
    libvirt.disk_bus = "virtio"
    libvirt.nic_model_type = "virtio"
  end
end
"""


def seed_files() -> dict[str, bytes]:
    """The seed that stands in the box: Vagrant's user with Vagrant's well-known key."""
    user = User(USER, keys=tuple(parse_public_key(key) for key in INSECURE_KEYS))
    return render_seed(Seed(HOSTNAME, users=(user,), instance_id="vagrant")).files()


def metadata(virtual_size: int) -> bytes:
    """metadata.json. `virtual_size` in bytes; Vagrant counts in whole GiB."""
    found = {"format": "qcow2", "provider": "libvirt", "virtual_size": -(-virtual_size // GiB)}
    return json.dumps(found, sort_keys=True).encode() + b"\n"


def write_box(target: Path, disk: Path, *, virtual_size: int, created: int) -> None:
    """Write the box around the qcow2 `disk`. Not compressed again: the qcow2 is. `created` in seconds."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in (("metadata.json", metadata(virtual_size)), ("Vagrantfile", VAGRANTFILE.encode())):
            archive.addfile(_entry(name, len(data), created), io.BytesIO(data))
        with disk.open("rb") as stream:
            archive.addfile(_entry("box.img", disk.stat().st_size, created), stream)


def _entry(name: str, size: int, created: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, created
    return entry
