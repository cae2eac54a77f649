from __future__ import annotations

import io
import json
from dataclasses import replace

from cloudinit.checks import CheckResult, Examined
from cloudinit.listeners import Listener
from cloudinit.profile import HostProfile, parse_profile
from deployer.checkup import show
from freehold.console import Console

GOOD = Examined(
    (CheckResult("ssh", "SSH server", True), CheckResult("keys", "SSH keys", True)),
    (Listener("tcp", "0.0.0.0", 22, "sshd"), Listener("tcp", "::", 6379, "cache", container=True)),
)
BAD = replace(GOOD, results=(GOOD.results[0], CheckResult("keys", "SSH keys", False, "deploy has no key")))
PROFILES = {"web-1": HostProfile(), "web-2": parse_profile("ssh: {allow: 198.51.100.0/24}")}


def shown(*, as_json: bool) -> str:
    out = io.StringIO()
    show(Console(json=as_json, out=out, err=io.StringIO()), {"web-1": GOOD, "web-2": BAD}, PROFILES)
    return out.getvalue()


def test_drift_stands_in_a_table_with_its_reason_and_what_listens_below() -> None:
    assert shown(as_json=False).splitlines() == [
        "CHECK       WEB-1  WEB-2",
        "SSH server  ok     ok",
        "SSH keys    ok     DRIFT",
        "web-2: SSH keys: deploy has no key",
        "",
        "HOST   PORT      ADDRESS  PROGRAM  OPEN TO",
        "web-1  22/tcp    0.0.0.0  sshd     everybody",
        "web-1  6379/tcp  ::       cache    nobody",
        "web-2  22/tcp    0.0.0.0  sshd     198.51.100.0/24",
        "web-2  6379/tcp  ::       cache    nobody",
    ]


def test_the_same_as_data() -> None:
    found = json.loads(shown(as_json=True))
    assert [check["ok"] for check in found["web-2"]["checks"]] == [True, False]
    assert found["web-1"]["listeners"][1] == {
        "port": 6379,
        "protocol": "tcp",
        "address": "::",
        "program": "cache",
        "container": True,
        "open_to": "nobody",
    }
