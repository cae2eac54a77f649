from __future__ import annotations

import subprocess

import pytest

from deployer.transfer import FACTS, parse_facts
from deployer.transfer.facts import Part

ANSWER = """\
/var/lib/docker
engine 20.10.24+dfsg1 x86_64
store [["Backing Filesystem","extfs"],["Supports d_type","true"]]
image sha256:aa ["app:v1","app:latest"] ["sha256:1","sha256:2"]
image sha256:bb [] ["sha256:1"]
image sha256:cc null null
free 2048
codec zst
part 100 abc.1.part
part 300 abc.2.part
part 900 def.1.part
"""


def test_what_the_host_told() -> None:
    facts = parse_facts(ANSWER)
    assert facts.version == "20.10.24+dfsg1"
    assert facts.arch == "amd64"
    assert facts.store == "graph"
    assert facts.images == {
        "sha256:aa": ("sha256:1", "sha256:2"),
        "sha256:bb": ("sha256:1",),
        "sha256:cc": (),
    }
    assert facts.tags == {"app:v1": "sha256:aa", "app:latest": "sha256:aa"}
    assert facts.free == 2048 * 1024
    assert facts.zstd


def test_the_longest_beginning_of_a_payload_is_continued() -> None:
    facts = parse_facts(ANSWER)
    assert facts.best_part("abc") == Part("abc.2.part", 300)
    assert facts.best_part("xyz") is None


def test_an_empty_beginning_is_none() -> None:
    assert parse_facts("engine 26 aarch64\npart 0 abc.1.part\n").best_part("abc") is None


def test_containerd_is_told_by_its_driver() -> None:
    text = 'engine 26.1.5 aarch64\nstore [["driver-type","io.containerd.snapshotter.v1"]]\n'
    facts = parse_facts(text)
    assert (facts.store, facts.arch, facts.free, facts.zstd) == ("containerd", "arm64", None, False)


def test_no_engine_is_no_answer() -> None:
    with pytest.raises(ValueError, match="Docker Engine"):
        parse_facts("free 3\n")


def test_the_fragment_is_a_shell_program() -> None:
    assert subprocess.run(["sh", "-n"], input=FACTS, text=True).returncode == 0
