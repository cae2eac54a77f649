"""A machine that may leave, on passt: it reaches what is outside, and not this computer's own services.

Outside is a network namespace of the test's own, and the operator's computer is another one. Minutes without
KVM, so `make test-every-boot` runs it; tests/unit/lab/test_usernet.py shows that libvirt starts passt at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from freehold.environment import which
from freehold.paths import cache_dir
from tests.conftest import cannot_run
from tests.e2e.production import FREEHOLD

pytestmark = [
    pytest.mark.every_boot,
    pytest.mark.skipif(not os.environ.get("FREEHOLD_EVERY_BOOT"), reason="`make test-every-boot` runs these"),
]
NEEDED = ("passt", "libvirtd", "dnsmasq", "ip", "unshare", "ssh", "qemu-system-x86_64")
LAB = """\
name: leaving
memory: 700M
deadline: 1500
internet: true
machines:
  web-1: {}
"""
OUTSIDE = """\
set -eu
ip link set lo up
ip address add 203.0.113.80/32 dev lo
ip address add 192.0.2.1/24 dev out
ip link set out up
cd "$1/project"
dnsmasq --keep-in-foreground --no-resolv --no-hosts --listen-address=203.0.113.80 --bind-interfaces \
    --pid-file= --user=root --address=/outside.test/203.0.113.80 &
exec "$2" -m http.server --bind 203.0.113.80 8000
"""
OPERATOR = r"""
set -eu
mount --make-rprivate /
# No libvirt of this computer, and a name server that is outside.
mkdir -p /run/libvirt
mount -t tmpfs tmpfs /run/libvirt
mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
ip link set lo up
ip address add 192.0.2.2/24 dev in
ip link set in up
ip route add default via 192.0.2.1
"$2" -m http.server --bind 127.0.0.1 --directory "$1/project" 8000 > "$1/own.log" 2>&1 &
cd "$1/project"
lab() { "$freehold" lab "$@"; }
on() { ssh -F "$FREEHOLD_STATE/labs/leaving/ssh_config" web-1 "$@" < /dev/null; }
page() { on curl -s -m "$2" -o /dev/null -w '%{http_code}' "$1" || true; }
passt() { pgrep -f "^/usr/bin/passt.*$FREEHOLD_RUNTIME"; }
lab up
echo "passt: $(passt | wc -l)"
echo "outside: $(page http://203.0.113.80:8000/ 60)"
echo "by name: $(page http://outside.test:8000/ 60)"
echo "own service: $(page http://198.18.1.2:8000/ 10)"
on sudo touch /run/kept
lab snapshot clean
on sudo rm /run/kept
lab restore
echo "restored: $(on ls /run/kept)"
echo "outside again: $(page http://203.0.113.80:8000/ 60)"
kill -9 "$(passt)"
for attempt in $(seq 120); do on true && break; sleep 1; done
echo "after a crash of passt: $(page http://203.0.113.80:8000/ 60)"
lab fault cut web-1 --cable management
on -o ConnectTimeout=5 true || echo "cut: no answer"
lab fault heal
echo "healed: $(page http://203.0.113.80:8000/ 60)"
lab fault power-cycle web-1
echo "after a reset: $(page http://203.0.113.80:8000/ 60)"
lab stop --force
echo "stopped: $(passt | wc -l)"
lab start
echo "started: $(page http://203.0.113.80:8000/ 60)"
lab down
echo "down: $(passt | wc -l)"
"""
SAID = """\
passt: 1
outside: 200
by name: 200
own service: 000
restored: /run/kept
outside again: 200
after a crash of passt: 200
cut: no answer
healed: 200
after a reset: 200
stopped: 0
started: 200
down: 0
"""


@contextmanager
def two_networks() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them: its ends are `in` (the operator's) and `out`."""
    names = (f"fh-in-{os.getpid()}", f"fh-out-{os.getpid()}")
    made = []
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(name)
        cable = ["ip", "link", "add", "in", "netns", names[0], "type", "veth", "peer", "name", "out"]
        subprocess.run([*cable, "netns", names[1]], check=True)
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def within(network: str) -> tuple[str, ...]:
    """Run a bash script in a network namespace; all that it starts ends with it."""
    apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return ("ip", "netns", "exec", network, *apart, "bash", "-c")


def test_a_machine_on_passt_reaches_the_world_and_not_this_computers_own_services(tmp_path: Path) -> None:
    lacking = [name for name in NEEDED if which(name) is None]
    if lacking or os.geteuid() != 0:
        cannot_run(
            "e2e", f"not installed: {', '.join(lacking)}" if lacking else "network namespaces need root"
        )
    (tmp_path / "project" / "config").mkdir(parents=True)
    (tmp_path / "project" / "config" / "lab.yml").write_text(LAB)
    (tmp_path / "resolv.conf").write_text("nameserver 203.0.113.80\n")
    (tmp_path / "state").mkdir()
    with two_networks() as (inner, outer), TemporaryDirectory(prefix="fh") as runtime:
        command: list[str | Path] = [*within(outer), OUTSIDE, "bash", tmp_path, sys.executable]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as outside:
            try:
                done = subprocess.run(
                    [*within(inner), OPERATOR, "bash", tmp_path, sys.executable],
                    env={
                        **os.environ,
                        "freehold": str(FREEHOLD),
                        "FREEHOLD_CACHE": str(cache_dir()),
                        "FREEHOLD_STATE": str(tmp_path / "state"),
                        "FREEHOLD_RUNTIME": runtime,
                    },
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=3600,
                    check=False,
                )
            finally:
                outside.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line for line in done.stdout.splitlines() if line in SAID.splitlines()]
    assert said == SAID.splitlines(), done.stdout + done.stderr
