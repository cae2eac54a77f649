"""The same machines by other tools, each beside a libvirt of its own in namespaces: until all are ready.

Each tool has the image in its own storage, and libvirt knows its QEMU, before the clock starts.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import venv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from benchmarks.project import REPO
from builder.formats import make_format
from builder.image import Image
from freehold.console import Console
from freehold.environment import which
from freehold.paths import cache_dir
from freehold.process import LocalRunner
from tests.e2e.ownlibvirt import run_inside

VIRT_LIGHTNING = "virt-lightning==2.5.0"
# kcli talks to libvirt by the binding of the index, which is compiled against the libvirt that is here.
KCLI = ("kcli==99.0.202610251748", "libvirt-python")
# By name the program without which they cannot be measured.
NEEDED = {"vagrant-libvirt": "vagrant", "virt-lightning": "genisoimage", "kcli": "xorrisofs"}
DEADLINE = 3600
# The first machine brings the box into libvirt's storage.
VAGRANT = """\
vagrant box add --name freehold "$1" > /dev/null
vagrant up --provider libvirt web-1 > up.log
vagrant destroy --force > destroy.log
begin=$(date +%s.%N)
vagrant up --provider libvirt > again.log
end=$(date +%s.%N)
vagrant destroy --force > destroy.log
echo "took $begin $end"
"""
# It would take KVM for usable because the device is there. A seed on its usual CD drive is out of reach of
# Debian's cloud kernel.
LIGHTNING = """\
mount --bind /dev/null /dev/kvm 2> /dev/null || true
mkdir -p /var/lib/virt-lightning
mount -t tmpfs tmpfs /var/lib/virt-lightning
mkdir -p /var/lib/virt-lightning/pool/upstream "$HOME/.ssh" "$HOME/.config/virt-lightning"
cp "$2" /var/lib/virt-lightning/pool/upstream/freehold.qcow2
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"
printf '[main]\\nnetwork_cidr = 198.18.5.0/24\\n' > "$HOME/.config/virt-lightning/config.ini"
for number in $(seq "$3"); do
    echo "- {name: web-$number, distro: freehold, memory: $4, vcpus: 1, username: deploy, disks: [{size: 8}],"
    echo "   meta_data_media_type: disk, metadata_format: {provider: nocloud}}"
done > machines.yml
virsh -q -c qemu:///system domcapabilities --virttype qemu > /dev/null
begin=$(date +%s.%N)
"$1" up --virt-lightning-yaml machines.yml
end=$(date +%s.%N)
echo "took $begin $end"
"""
# Its `--wait` looks every five seconds, so the login is waited for here, that of the image's own user. The
# card's name is what it is without a screen. Its seed is on a CD behind AHCI, as Debian 13's kernel has.
KCLI_PLAN = """\
mount --bind /dev/null /dev/kvm 2> /dev/null || true
mkdir -p "$HOME/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh/id_ed25519"
cp "$2" /var/lib/libvirt/images/debian-freehold.qcow2
"$1" create pool -p /var/lib/libvirt/images default
"$1" create network -c 198.18.5.0/24 default
for number in $(seq "$3"); do
    echo "web-$number: {image: debian-freehold.qcow2, memory: $4, numcpus: 1, disks: [8],"
    echo "   nets: [{name: default, nic: ens2}], vnc: false, guestagent: false}"
done > machines.yml
login() { ssh -i "$HOME/.ssh/id_ed25519" -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "debian@$1" true; }
address() { virsh -q -c qemu:///system domifaddr "$1" | awk '{ sub("/.*", "", $4); print $4; exit }'; }
virsh -q -c qemu:///system domcapabilities --virttype qemu > /dev/null
begin=$(date +%s.%N)
"$1" create plan -f machines.yml bench
for number in $(seq "$3"); do
    until where=$(address "web-$number") && [ -n "$where" ] && login "$where" < /dev/null; do
        [ $SECONDS -lt 1800 ]
        sleep 0.3
    done
done
end=$(date +%s.%N)
echo "took $begin $end"
"""


def available(wanted: Collection[str] | None = None) -> tuple[str, ...]:
    """The tools that can be measured here, or those of them that are wanted."""
    return tuple(
        name
        for name, program in NEEDED.items()
        if which(program) is not None and (wanted is None or name in wanted)
    )


def measure(tool: str, count: int, image: Image, memory: int) -> float:
    """Seconds until `count` machines of `memory` MiB are ready."""
    if tool == "vagrant-libvirt":
        return vagrant(count, image, memory)
    if tool == "kcli":
        return _installed(KCLI, "kcli", KCLI_PLAN, count, image, memory)
    return _installed((VIRT_LIGHTNING,), "vl", LIGHTNING, count, image, memory)


def vagrant(count: int, image: Image, memory: int) -> float:
    """vagrant-libvirt with the project's own Vagrantfile."""
    box = make_format(image, "vagrant", runner=LocalRunner(), console=Console(quiet=True))
    with tempfile.TemporaryDirectory(prefix="fb") as place:
        project = Path(place) / "bench"
        (project / "config").mkdir(parents=True)
        named = "".join(f"  web-{number}: {{}}\n" for number in range(1, count + 1))
        (project / "config" / "lab.yml").write_text(
            f"name: bench\nmemory: {memory}M\ndeadline: 1800\nmachines:\n{named}"
        )
        shutil.copy(REPO / "vagrant" / "Vagrantfile", project)
        env = {"VAGRANT_HOME": f"{place}/home", "FREEHOLD": str(Path(sys.executable).parent / "freehold")}
        return _timed(VAGRANT, str(box), cwd=project, env=env)


def _installed(
    packages: Sequence[str], command: str, script: str, count: int, image: Image, memory: int
) -> float:
    """A tool of the Python package index, which is installed into the cache, by its script."""
    program = cache_dir() / "benchmarks" / packages[0] / "bin" / command
    if not program.is_file():
        venv.create(program.parents[1], with_pip=True, clear=True)
        LocalRunner().run([program.with_name("pip"), "install", "-q", *packages], timeout=600)
    with tempfile.TemporaryDirectory(prefix="fb") as place:
        words = (str(program), str(image.qcow2), str(count), str(memory))
        return _timed(script, *words, cwd=Path(place), env={"HOME": place})


def _timed(script: str, *words: str, cwd: Path, env: Mapping[str, str]) -> float:
    done = run_inside(script, *words, cwd=cwd, env=env, timeout=DEADLINE)
    if done.returncode != 0:
        raise RuntimeError(done.stdout[-4000:])
    _, begin, end = done.stdout.splitlines()[-1].split()
    return float(end) - float(begin)
