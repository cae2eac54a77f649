"""What a lab breaks on purpose: wires, links, machines and what is on them; and how it heals."""

from __future__ import annotations

import time
from xml.etree import ElementTree as ET

from lab.faults import Faults
from lab.lab import Lab
from tests.e2e.production import Production
from tests.e2e.reach import fetch, reaches

# Seconds that each of sixteen connections takes.
CONNECT = """\
import socket, time
for _ in range(16):
    began = time.monotonic()
    socket.create_connection(("web-2", 80), 60).close()
    print(time.monotonic() - began)
"""
BODY = 1_000_000
# A megabyte for whoever asks, on the port that the profile opens.
SERVE = f"truncate -s {BODY} /run/body && systemd-run -q --unit body python3 -m http.server -d /run 5432"


def test_a_cut_wire_keeps_machines_apart_until_it_is_healed(lab: Lab, lab_faults: Faults) -> None:
    lab_faults.cut("web-2", management=False)
    assert not reaches(lab, "web-1", "web-2", limit=6)
    assert lab.exec("web-2", ["true"]).returncode == 0
    lab_faults.mend("web-2", management=False)
    assert fetch(lab, "web-1", "http://web-2/").endswith(" 198.18.0.12")


def test_groups_that_are_apart_reach_only_their_own(lab: Lab, lab_faults: Faults) -> None:
    lab_faults.partition(["web-1"], ["203.0.113.7", "job-1"])
    assert not reaches(lab, "web-1", "web-2", limit=6)
    assert fetch(lab, "job-1", "http://web-2/").endswith(" 198.18.0.12")
    lab_faults.heal()
    assert fetch(lab, "web-1", "http://web-2/").endswith(" 198.18.0.12")


def test_a_further_network_is_cut_slowed_and_parted_like_every_other(
    lab: Lab, lab_faults: Faults, production: Production
) -> None:
    production.freehold("lab", "fault", "cut", "job-1", "--network", "back")
    assert not reaches(lab, "web-1", "192.0.2.20", limit=6)
    assert reaches(lab, "web-1", "198.18.0.13")
    picture = list(ET.fromstring(production.freehold("lab", "graph")).itertext())
    assert [text for text in picture if text in ("cut", "192.0.2.11", "192.0.2.20")] == ["192.0.2.11", "cut"]
    lab_faults.mend("job-1", management=False)
    lab_faults.slow("job-1", delay=0.3, network="back")
    connect = ["curl", "-s", "-m", "30", "-o", "/dev/null", "-w", "%{time_connect}", "http://192.0.2.20/"]
    assert float(lab.exec("web-1", connect).stdout) >= 0.6
    lab_faults.partition(["web-1"], ["job-1"])
    assert not reaches(lab, "web-1", "192.0.2.20", limit=6)
    assert not reaches(lab, "web-1", "198.18.0.13", limit=6)
    lab_faults.heal()
    assert reaches(lab, "web-1", "192.0.2.20")


def test_a_slow_link_is_slow_and_loses(lab: Lab, lab_faults: Faults) -> None:
    connect = ["curl", "-s", "-m", "30", "-o", "/dev/null", "-w", "%{time_connect}", "http://web-2/"]
    lab_faults.slow("web-2", delay=0.5)
    # There and back again: no computer is so fast that it takes less.
    assert float(lab.exec("web-1", connect).stdout) >= 1.0
    lab_faults.slow("web-2", loss=1.0)
    assert not reaches(lab, "web-1", "web-2", limit=6)


def test_a_link_with_jitter_answers_late_and_unevenly(
    lab: Lab, lab_faults: Faults, production: Production
) -> None:
    def connect() -> list[float]:
        return [float(took) for took in lab.exec("web-1", ["python3", "-c", CONNECT]).stdout.split()]

    # So much that this computer's own unevenness cannot be taken for it. A handshake has two frames, each up
    # to `jitter` late: all thirty-two take 16 times that on average, and half of it but once in millions.
    jitter = max(0.2, sum(connect()) / 4)
    production.freehold("lab", "fault", "slow", "web-2", "--jitter", f"{jitter * 1000:.0f}ms")
    slowly = connect()
    assert sum(slowly) > 8 * jitter
    assert max(slowly) - min(slowly) > jitter / 4


def test_a_link_with_a_rate_lets_no_more_through(
    lab: Lab, lab_faults: Faults, production: Production
) -> None:
    def load() -> float:
        ask = ["curl", "-sf", "-m", "600", "--retry", "30", "--retry-delay", "1", "--retry-connrefused"]
        ask += ["-o", "/dev/null", "-w", "%{size_download} %{time_total}", "http://web-2:5432/body"]
        size, took = lab.exec("web-1", ask).stdout.split()
        assert int(size) == BODY
        return float(took)

    lab.exec("web-2", ["sudo", "sh", "-c", SERVE])
    load()
    quickly = load()
    # A tenth of what just went through; more than that cannot pass, however fast this computer is.
    rate = BODY * 8 / max(quickly, 0.2) / 10
    production.freehold("lab", "fault", "slow", "web-2", "--rate", f"{rate / 1000:.0f}k")
    assert load() >= 9.5 * max(quickly, 0.2)
    lab_faults.heal()
    lab.exec("web-2", ["sudo", "systemctl", "stop", "body"])


def test_a_machine_that_is_cut_off_or_frozen_does_not_answer_this_computer(
    lab: Lab, lab_faults: Faults
) -> None:
    machine = lab.state.machine("web-2")
    lab_faults.cut("web-2", lan=False)
    assert not lab.answers(machine, timeout=5)
    lab_faults.heal()
    assert lab.exec("web-2", ["true"], timeout=60).returncode == 0
    lab_faults.pause("web-2")
    assert not lab.answers(machine, timeout=5)
    lab_faults.heal()
    assert lab.exec("web-2", ["true"], timeout=60).returncode == 0


def test_the_picture_shows_what_is_broken(lab: Lab, lab_faults: Faults, production: Production) -> None:
    lab_faults.cut("web-2", management=False)
    lab_faults.slow("job-1", delay=0.05)
    texts = list(ET.fromstring(production.freehold("lab", "graph")).itertext())
    # job-1 is on two networks.
    assert [text for text in texts if text in ("cut", "50 ms")] == ["cut", "50 ms", "50 ms"]


def test_a_full_disk_a_stopped_docker_and_a_wrong_clock_are_healed(lab: Lab, lab_faults: Faults) -> None:
    write = ["dd", "if=/dev/zero", "of=big", "bs=1M", "count=8"]
    lab_faults.fill_disk("web-1")
    assert lab.exec("web-1", write, check=False).returncode != 0
    lab_faults.stop_docker("web-1")
    assert lab.exec("web-1", ["docker", "ps"], check=False).returncode != 0
    lab_faults.skew_clock("web-1", -86400)
    assert abs(time.time() - 86400 - clock(lab, "web-1")) < 60
    lab_faults.heal()
    lab.exec("web-1", write)
    lab.exec("web-1", ["docker", "ps"])
    assert abs(time.time() - clock(lab, "web-1")) < 60


def clock(lab: Lab, machine: str) -> float:
    return float(lab.exec(machine, ["date", "+%s"]).stdout)
