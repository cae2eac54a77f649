"""The rig itself: what the other tests stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from freehold.console import Console
from freehold.errors import ProcessError
from freehold.process import LocalRunner
from tests.rig import BootFailed, Host, HostSpec, Rig, cgroup, netns, sweep
from tests.rig.slot import slots

Pair = tuple[Host, Host]


def test_ssh_docker_and_proxy_answer_from_the_operators_namespace(rig: Rig, hosts: Pair) -> None:
    for host in hosts:
        said = rig.control_run(
            ("ssh", host.name, "hostname; id -un; docker info --format {{.Driver}}")
        ).stdout
        assert said.split() == [host.name, "deploy", "overlay2"]
        assert rig.http(host).status == 404


def test_names_resolve_and_hosts_reach_each_other(rig: Rig, hosts: Pair) -> None:
    first, second = hosts
    assert rig.control_run(("getent", "hosts", second.name)).stdout.split()[0] == second.address
    said = first.exec(f"curl -s -o /dev/null -w '%{{http_code}} %{{remote_ip}}' http://{second.name}/").stdout
    assert said == f"404 {second.address}"


def test_nothing_leads_out_of_the_rig(rig: Rig, hosts: Pair) -> None:
    routes = rig.control_run(("ip", "-4", "route")).stdout.split("\n")
    assert [line.split()[0] for line in routes if line] == [str(rig.subnet)]
    assert "default" not in hosts[0].exec("ip -4 route").stdout
    machine = subprocess.run(("ip", "-4", "-o", "addr"), capture_output=True, text=True, check=True).stdout
    assert "198.18." not in machine


def test_an_unknown_host_key_is_refused(rig: Rig, hosts: Pair, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(ProcessError, match="exit code 255") as caught:
        rig.control_run(("ssh", "-o", f"UserKnownHostsFile={empty}", hosts[0].name, "true"))
    assert "Host key verification failed" in caught.value.stderr


def test_reset_removes_containers_and_state_but_not_the_network(rig: Rig, hosts: Pair) -> None:
    host = hosts[0]
    host.exec("tar -C /usr -c bin/true | docker import - left:over")
    host.exec("docker network create extra; docker volume create extra; docker create left:over /bin/true")
    host.write(
        "/var/lib/freehold/proxy/sites/left.caddy",
        "http://left { \n import freehold_http \n respond left \n}\n",
    )
    host.exec("systemctl reload freehold-proxy")
    assert rig.http(host, host="left").text == "left"
    host.reset(images=True)
    assert rig.http(host, host="left").status == 404
    found = host.exec(
        "docker ps -aq; docker volume ls -q; docker images -q; docker network ls --format {{.Name}}"
    )
    assert sorted(found.stdout.split()) == ["bridge", "freehold", "host", "none"]
    assert host.exec("find /var/lib/freehold -name '*.caddy'").stdout == ""


def test_a_cut_host_is_silent_and_a_healed_one_answers(rig: Rig, hosts: Pair) -> None:
    host = hosts[1]
    host.cut()
    with pytest.raises(OSError, match=r"timed out|No route"):
        rig.http(host, timeout=1)
    assert host.running
    assert rig.http(hosts[0]).status == 404
    host.heal()
    assert rig.http(host).status == 404


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_a_host_comes_back_with_its_disk_and_a_new_kernel_state(rig: Rig, hosts: Pair, how: str) -> None:
    host = hosts[1]
    host.write("/root/kept", "kept\n")
    host.exec("sync; touch /run/lost; ip link add lost type bridge", timeout=600)
    if how == "reboot":
        host.reboot()
    else:
        host.kill()
        assert not host.running
        host.start()
    assert host.read("/root/kept") == "kept\n"
    assert host.exec("ls /run/lost", check=False).returncode != 0
    assert host.exec("ip link show lost", check=False).returncode != 0
    assert rig.http(host).status == 404


def test_latency_is_added_to_each_round_trip_and_taken_away(rig: Rig, hosts: Pair) -> None:
    def round_trip() -> float:
        # The kernel's own measurement of the handshake, in microseconds: tcpi_rtt of struct tcp_info.
        with rig.control_connect(hosts[0].address, 22) as stream:
            info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            return int.from_bytes(info[68:72], sys.byteorder) / 1e6

    with rig.latency(200):
        assert round_trip() > 0.2
        assert rig.http(hosts[1]).status == 404
    # By one of a few: this machine may be busy, the wire is not slow any more.
    assert min(round_trip() for _ in range(5)) < 0.2


def test_bulk_data_crosses_a_slow_wire_unharmed(rig: Rig, hosts: Pair) -> None:
    hosts[0].exec("head -c 3000000 /dev/urandom >/tmp/bulk")
    expected = hosts[0].exec("sha256sum </tmp/bulk").stdout
    with rig.latency(20):
        script = f"ssh {hosts[0].name} cat /tmp/bulk | sha256sum"
        assert rig.control_run(("bash", "-c", script)).stdout == expected


def test_a_call_runs_inside_and_leaves_this_thread_outside(rig: Rig) -> None:
    def here() -> Path:
        return Path("/proc/thread-self/ns/net").readlink()

    outside = here()
    inside = rig.control_call(here)
    assert inside != outside
    assert here() == outside
    seen: list[Path] = []
    with netns.inside(rig.control):
        thread = threading.Thread(target=lambda: seen.append(here()))
        assert here() == inside
    thread.start()
    thread.join()
    assert seen == [outside]


def test_a_failing_unit_fails_the_boot_and_shows_its_words(rig: Rig) -> None:
    files = {
        "/etc/systemd/system/burn.service": (
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo my disk is on fire; exit 3'\n"
        ),
        "/etc/systemd/system/multi-user.target.d/burn.conf": "[Unit]\nWants=burn.service\n",
    }
    with pytest.raises(BootFailed) as caught:
        rig.boot(HostSpec("broken"), files=files)
    assert "burn.service" in str(caught.value)
    assert "my disk is on fire" in str(caught.value)
    assert any("Reached target" in line for line in caught.value.details)
    rig.remove("broken")
    assert "broken" not in [host.name for host in rig.hosts]


def test_what_a_killed_run_leaves_is_swept_away(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "tests.rig", "keep", "--hosts", "lone", "--ready", str(tmp_path / "ready"))
    runner = LocalRunner()
    with runner.start(argv, stdout=tmp_path / "log") as keeper:
        while not (tmp_path / "ready").exists():
            assert keeper.poll() is None, (tmp_path / "log").read_text()
            threading.Event().wait(0.05)
        os.kill(keeper.pid, signal.SIGKILL)
        keeper.wait(10)
    number = int((tmp_path / "ready").read_text())
    (slot,) = (slot for slot in slots() if slot.number == number)
    assert slot.owner() is None
    assert cgroup.groups(f"freehold-rig.{slot.prefix}")
    assert f"rig {number}: left over by a run that was killed; removed" in sweep.gc(runner)
    assert not slot.directory.exists()
    assert netns.names(slot.prefix) == ()
    assert cgroup.groups(f"freehold-rig.{slot.prefix}") == ()
    assert not [text for text in sweep.gc(runner) if text.startswith(f"rig {number}:")]


def test_two_rigs_do_not_meet(rig: Rig) -> None:
    with Rig(runner=LocalRunner(), console=Console(quiet=True)) as other:
        assert other.number != rig.number
        assert not other.subnet.overlaps(rig.subnet)
        assert {space.name for space in netns.names(f"fh-{other.number}-")} == {
            other.hub.name,
            other.control.name,
        }
        number = other.number
    assert netns.names(f"fh-{number}-") == ()
    assert rig.http(rig.hosts[0]).status == 404
