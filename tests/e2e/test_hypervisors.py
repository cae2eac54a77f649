"""A lab that system libvirts carry: one here, one on another computer (a namespace with its own sshd).

One lab, brought up once: booting is what costs, and most of what it proves is that the same commands work.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.e2e.farlibvirt import START
from tests.e2e.ownlibvirt import check_needs, run_inside

pytestmark = [
    pytest.mark.every_boot,
    pytest.mark.skipif(not os.environ.get("FREEHOLD_EVERY_BOOT"), reason="`make test-every-boot` runs these"),
]

# Lines that begin with `= name ` go to the test; all others are for whoever reads a failure.
STORY = r"""
tell() { echo "= $1 $(shift; "$@" | tr '\r\n' '  ')"; }
tellAll() { echo "= $1 $(shift; "$@" 2>&1 | tr '\r\n' '  ')"; }
freehold() { command freehold -q "$@"; }
fetch='curl -s -m 15 -o /dev/null -w %{http_code}:%{remote_ip} http://web-2/'
between() { freehold lab exec --json -m web-1 -- sh -c "$fetch"; }
left() {
    for kind in list net-list pool-list; do virsh -q -c "$1" $kind --all --name || echo unreachable; done
}
# The first network that this lab would try is taken by another program.
ip link add taken type bridge
ip address add "$TAKEN" dev taken
mkdir config
cat > config/lab.yml <<END
name: shop
memory: 800M
deadline: 800
accelerator: tcg
hypervisors: {here: "qemu:///system", far: "$FAR"}
networks: {back: {subnet: 192.0.2.0/24}}
machines:
  web-1: {networks: [lan, back]}
  web-2: {networks: {lan: , back: 192.0.2.7}}
  db-1: {hypervisor: far, disks: [1G]}
END
command freehold lab up
tell status freehold lab status --json
tell names freehold lab exec --json -- sh -c 'hostname; ls /dev/disk/by-id'
tell lookup freehold lab exec --json -m web-1 -- sh -c 'getent hosts web-2'
tell whole between
back() { freehold lab exec --json -m web-1 -- sh -c "$(echo "$fetch" | sed s,//web-2/,//192.0.2.7/,)"; }
tell backWhole back
freehold lab fault cut web-2 --network back
tell backCut back
tell whileBackIsCut between
freehold lab fault cut web-2 --cable lan
tell cut between
freehold lab fault heal
freehold lab fault partition web-1 web-2
tell apart between
tell backApart back
tell partNets left qemu:///system
freehold lab fault heal
tell healed between
tell backHealed back
tell healedNets left qemu:///system
freehold lab fault slow web-2 --delay 500ms
fetch='curl -s -m 30 -o /dev/null -w %{time_connect} http://web-2/'
tell slow between
tell backSlow back
freehold lab fault heal
tell fast between
freehold lab exec -m db-1 -- touch before
freehold lab snapshot clean
freehold lab exec -m db-1 -- rm before
freehold lab restore
tell restored freehold lab exec --json -m db-1 -- ls before
echo here > note
freehold lab cp note db-1:note
tell copied freehold lab exec --json -m db-1 -- cat note
tell console freehold lab logs db-1
keys() { for _ in 1 2 3 4; do sleep 10; printf '\r'; done; sleep 10; printf '\035'; }
tell typed sh -c "$(declare -f keys); keys | timeout 120 script -qec 'freehold lab console db-1' /dev/null"
# The other computer is unplugged; `down` is said again, and then for good.
ip link set far down
tellAll unplugged sh -c 'command freehold lab down; echo "exit $?"'
tell leftHere left qemu:///system
tellAll abandoned command freehold lab down --abandon
tell labs command freehold lab list
tellAll stays command freehold lab gc
ip link set far up
tell known left "$FAR"
tell back command freehold lab gc
tell leftFar left "$FAR"
# A machine that is not ready in time stays to be looked at; a plain `down` reaches both.
sed -i '/web-2/d; s/^deadline:.*/deadline: 10/' config/lab.yml
tellAll late sh -c 'command freehold lab up; echo "exit $?"'
tell lateKnown left "$FAR"
freehold lab down
tell lateHere left qemu:///system
tell lateFar left "$FAR"
cat > orphan.xml <<END
<network><name>freehold-gone-0a0a0a</name><metadata>
<own:lab xmlns:own="urn:freehold:lab" name="gone" directory="$FREEHOLD_STATE/labs/gone" token="0a0a0a"/>
</metadata><bridge name="fh0a0a0am"/></network>
END
virsh -q -c qemu:///system net-define orphan.xml
tell collected command freehold lab gc
tell leftAfter left qemu:///system
tell leftFiles find /var/lib/libvirt/images "$FREEHOLD_STATE" "$FREEHOLD_RUNTIME" -type f
"""


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What the story says, by name."""
    from lab.natnet import candidates

    check_needs("sshd", "ssh", kind="e2e")
    first = next(candidates("shop", "here", ()))
    with TemporaryDirectory(prefix="fh") as place:
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FREEHOLD_STATE": f"{place}/state",
            "FREEHOLD_RUNTIME": f"{place}/run",
            "TAKEN": first.replace(".0/24", ".77/28"),
        }
        done = run_inside(START + STORY, cwd=Path(place), env=env, timeout=1500)
    assert done.returncode == 0, done.stdout[-8000:]
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("= "):
            name, _, value = line[2:].partition(" ")
            found[name] = value.strip()
    return found


def out(told: dict[str, str], name: str, machine: str = "web-1") -> str:
    answer: Any = json.loads(told[name])
    return str(answer[machine]["stdout"])


def test_machines_run_on_their_hypervisors_and_answer_here(told: dict[str, str]) -> None:
    status = json.loads(told["status"])
    machines = {machine["name"]: machine for machine in status["machines"]}
    assert {machine["state"] for machine in machines.values()} == {"running"}
    assert {machine["boot"] for machine in machines.values()} == {"SSH answers"}
    from lab.natnet import candidates

    taken, free = list(candidates("shop", "here", ()))[:2]
    assert machines["web-1"]["address"].startswith(free[: free.rindex(".")])
    assert not machines["web-1"]["address"].startswith(taken[: taken.rindex(".") + 1])
    assert (machines["web-1"]["ssh_port"], machines["db-1"]["ssh_port"]) == (22, 2222)
    assert machines["db-1"]["address"].startswith("127.")
    assert out(told, "names", "db-1").split()[0] == "db-1"
    assert "virtio-data-1" in out(told, "names", "db-1")
    assert "virtio-data-1" not in out(told, "names", "web-1")


def test_machines_find_each_other_by_name(told: dict[str, str]) -> None:
    assert "198.18.0.12" in out(told, "lookup")
    assert out(told, "whole").endswith(":198.18.0.12")


def test_faults_are_made_and_healed_on_libvirts_networks(told: dict[str, str]) -> None:
    assert out(told, "cut") == out(told, "apart") == "000:"
    assert out(told, "healed") == out(told, "whole")
    # There and back again.
    assert float(out(told, "slow")) >= 1.0
    assert float(out(told, "fast")) < float(out(told, "slow"))


def test_a_further_network_is_libvirts_too(told: dict[str, str]) -> None:
    assert out(told, "backWhole") == out(told, "backHealed")
    assert out(told, "backWhole").endswith(":192.0.2.7")
    assert out(told, "backCut") == out(told, "backApart") == "000:"
    assert out(told, "whileBackIsCut") == out(told, "whole")
    assert float(out(told, "backSlow")) >= 1.0
    # Groups that are apart have networks of their own, which are gone afterwards.
    assert "-net-back.2" in told["partNets"]
    assert "-net-back " in told["healedNets"]
    assert "-net-back." not in told["healedNets"]
    addresses = json.loads(told["status"])["machines"][1]["networks"]
    assert addresses == {"lan": "198.18.0.12", "back": "192.0.2.7"}


def test_a_machine_far_away_is_kept_copied_to_and_read(told: dict[str, str]) -> None:
    assert out(told, "restored", "db-1") == "before\n"
    assert out(told, "copied", "db-1") == "here\n"
    assert "Linux version" in told["console"]


def test_a_terminal_reaches_a_console_far_away(told: dict[str, str]) -> None:
    assert "login:" in told["typed"]


def test_what_a_killed_run_left_is_collected(told: dict[str, str]) -> None:
    assert told["collected"] == "removed network freehold-gone-0a0a0a and its disks"
    assert told["leftAfter"] == ""


def test_down_does_what_it_can_and_says_what_it_cannot(told: dict[str, str]) -> None:
    assert "the lab shop is not gone" in told["unplugged"]
    assert "cannot be reached" in told["unplugged"]
    assert "--abandon" in told["unplugged"]
    assert told["unplugged"].endswith("exit 1")
    assert told["leftHere"] == ""


def test_a_lab_on_a_dead_hypervisor_is_let_go_and_collected_when_it_is_back(told: dict[str, str]) -> None:
    assert "left to `freehold lab gc`: qemu+ssh://" in told["abandoned"]
    assert told["labs"] == ""
    assert "stays: " in told["stays"]
    assert "removed" not in told["stays"]
    assert "db-1" in told["known"]
    assert told["back"].startswith("removed the lab shop at qemu+ssh://")
    assert told["leftFar"] == ""


def test_a_machine_that_is_late_is_told_with_its_console(told: dict[str, str]) -> None:
    assert "not ready after" in told["late"]
    assert told["late"].endswith("exit 1")
    assert "db-1" in told["lateKnown"]


def test_down_leaves_nothing_on_either(told: dict[str, str]) -> None:
    assert told["lateHere"] == told["lateFar"] == told["leftFiles"] == ""
