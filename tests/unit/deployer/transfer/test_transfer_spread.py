"""Who gets an image from whom, and what is left of the key that opens the way."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from deployer.transfer import HostImages, spread
from deployer.transfer.layers import Layer
from deployer.transfer.payload import Payload

FACTS = HostImages(version="20.10.24", arch="amd64", store="graph")


def payload(name: str, size: int = 5_000_000) -> Payload:
    return Payload(b"head", (Layer(f"sha256:{name}", size, size, name, BytesIO()),), b"tail")


def test_those_who_lack_the_same_form_a_group() -> None:
    wanted = {
        "a": payload("one"),
        "b": payload("two"),
        "c": payload("one"),
        "d": payload("small", 1000),
        "e": payload("small", 1000),
        "f": payload("one"),
    }
    facts = dict.fromkeys(wanted, FACTS) | {"f": replace(FACTS, free=19_000_000)}
    # One alone, what is small, and a host without the room for it twice are sent their own.
    assert spread.groups(wanted, facts) == [("a", "c")]
    facts["f"] = replace(FACTS, free=21_000_000)
    assert spread.groups(wanted, facts) == [("a", "c", "f")]


def run(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    text = script.replace("/var/lib/freehold", str(home / "state"))
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    return subprocess.run(["bash", "-s"], input=text, env=environ, capture_output=True, text=True)


def test_a_key_that_reads_one_file_and_goes_again(tmp_path: Path) -> None:
    once, other = spread.make_once(), spread.make_once()
    assert once.public != other.public and once.private.reveal() not in repr(once)
    # Without the file there is nothing to offer.
    assert run(spread.offer("p1", once), tmp_path).returncode != 0
    spool, keys = tmp_path / "state" / "spool", tmp_path / ".ssh" / "authorized_keys2"
    assert not keys.exists()
    for name, pair in (("p1", once), ("p2", other)):
        (spool / f"{name}.seed").write_text("x")
        assert run(spread.offer(name, pair), tmp_path).returncode == 0
    first, second = keys.read_text().splitlines()
    assert first.startswith('restrict,expiry-time="20')
    assert f'command="cat {spool}/p1.seed" {once.public} {once.mark}' in first
    assert keys.stat().st_mode & 0o777 == 0o600
    run(spread.withdraw("p1", once), tmp_path)
    assert keys.read_text().splitlines() == [second]
    assert [path.name for path in spool.iterdir()] == ["p2.seed"]
    for _ in range(2):
        run(spread.withdraw("p2", other), tmp_path)
    assert not keys.exists() and not list(spool.iterdir())
