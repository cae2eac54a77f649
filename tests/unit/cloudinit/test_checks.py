from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloudinit.checks import CHECKS, gather, run_checks
from cloudinit.facts import Facts, commands, gathering, parse
from cloudinit.listeners import listeners, reach
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.recipe import make_recipe
from freehold.errors import FreeholdError

# What a host of the golden image printed; the digests of its files are this recipe's own.
GOOD = Path(__file__).with_name("facts-good.txt")
PROFILE = HostProfile()
POINT = '\nUnattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename},label=Debian";'


def recorded() -> str:
    text = GOOD.read_text()
    files = [item for step in make_recipe(PROFILE).steps for item in step.files]
    owners = "".join(f"{item.mode:o} {item.owner} {item.group} {item.path}\n" for item in files)
    return f"{text[: text.index('@@fact files')]}@@fact files\n{digests()}\n@@fact owners\n{owners}"


def digests() -> str:
    files = [item for step in make_recipe(PROFILE).steps for item in step.files]
    return "".join(f"{hashlib.sha256(item.content.encode()).hexdigest()}  {item.path}\n" for item in files)


@dataclass
class Answer:
    stdout: str
    stderr: str = ""
    rc: int = 0


@dataclass
class Recorded:
    """A host that answers with what a real one printed."""

    output: str
    count: int = 0

    def run(self, command: str, /) -> Answer:
        self.count += 1
        return Answer(self.output, "sudo: a password is required\n")


def facts(**changed: str) -> Facts:
    found = parse(recorded())
    return Facts({**found.outputs, **changed})


def problem(name: str, found: Facts, profile: HostProfile = PROFILE) -> str:
    (check,) = [check for check in CHECKS if check.id == name]
    return check.problem(found, profile)


def test_the_command_is_bash() -> None:
    profile = parse_profile("users: [deploy, ops]\nsysctl: {vm.swappiness: 1}\n")
    checked = subprocess.run(["bash", "-n"], input=gathering(profile), capture_output=True, text=True)
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_a_prepared_host_passes_every_check_in_one_round_trip() -> None:
    host = Recorded(recorded())
    results = run_checks(host, PROFILE)
    assert [(result.id, result.detail) for result in results if not result.ok] == []
    assert {result.id for result in results} == {check.id for check in CHECKS}
    assert len(results) > 15
    assert host.count == 1


def test_every_fact_that_is_asked_for_is_in_the_answer() -> None:
    assert set(parse(recorded()).outputs) == set(commands(PROFILE))


def test_a_host_that_cannot_be_examined_is_no_result() -> None:
    with pytest.raises(FreeholdError, match="could not be examined") as caught:
        gather(Recorded(""), PROFILE)
    assert caught.value.details == ("sudo: a password is required",)


def without(unit: str, key: str, value: str) -> str:
    blocks = facts().text("units").split("\n\n")
    changed = []
    for block in blocks:
        lines = block.splitlines()
        if f"Id={unit}" in lines:
            lines = [f"{key}={value}" if line.startswith(f"{key}=") else line for line in lines]
        changed.append("\n".join(lines))
    return "\n\n".join(changed)


FILE = "/etc/freehold/proxy/Caddyfile"
BROKEN = [
    ("system", {"system": "degraded\nfoo.service\n"}, "degraded: foo.service"),
    ("docker", {"units": without("docker.service", "ActiveState", "failed")}, "docker.service is failed"),
    ("docker", {"docker": "Cannot connect"}, "does not answer"),
    ("network", {"network": "[]"}, "missing"),
    ("network", {"network": facts().text("network").replace("172.30.0.0/16", "172.31.0.0/16")}, "172.31"),
    ("proxy", {"caddy": "v2.6.2 h1:abc"}, "the least is 2.11"),
    ("proxy", {"http": "000"}, "nothing answers on port 80"),
    ("proxy", {"refused": "sites/a.caddy:1: no such directive"}, "a.caddy:1: no such directive"),
    (
        "proxy",
        {
            "units": without("freehold-proxy.service", "ActiveState", "activating"),
            "failing": '{"level":"error","msg":"bind: address already in use"}',
        },
        "freehold-proxy.service is activating: bind: address already in use",
    ),
    (
        "proxy",
        {"units": without("freehold-proxy.socket", "UnitFileState", "disabled")},
        "freehold-proxy.socket is not started at boot",
    ),
    ("admin", {"modes": facts().text("modes").replace("admin.sock 660", "admin.sock 666")}, "666"),
    ("admin", {"admin": "000"}, "answers 000"),
    ("state", {"modes": facts().text("modes").replace("/apps 2775", "/apps 755")}, "/var/lib/freehold/apps"),
    ("users", {"users": ""}, "deploy is missing"),
    ("users", {"users": "deploy /bin/bash deploy sudo freehold"}, "deploy is not in docker"),
    ("keys", {"keys": ""}, "deploy has no key"),
    ("sudo", {"sudo": ""}, "deploy"),
    (
        "ssh",
        {"sshd": facts().text("sshd").replace("passwordauthentication no", "passwordauthentication yes")},
        "PasswordAuthentication is yes",
    ),
    ("firewall", {"firewall": ""}, "not loaded"),
    (
        "firewall",
        {"firewall": facts().text("firewall").replace('"policy": "drop"', '"policy": "accept"')},
        "lets through",
    ),
    (
        "firewall",
        {"firewall": facts().text("firewall").replace('"right": 80}', '"right": 5432}')},
        "open more: 5432/tcp",
    ),
    (
        "firewall",
        {"firewall": facts().text("firewall").replace('"right": "lo"', '"right": "eth0"')},
        "open more: everything/any",
    ),
    (
        "firewall",
        {
            "firewall": re.sub(
                '"tcp", "field": "dport"}}, "right": 443',
                '"tcp", "field": "dport"}}, "right": 80',
                facts().text("firewall"),
            )
        },
        "do not open 443/tcp",
    ),
    ("updates", {"updates": ""}, "off"),
    (
        "updates",
        {"updates": facts().text("updates").replace('Reboot "false', 'Reboot "true')},
        "not as the profile says",
    ),
    (
        "updates",
        {"updates": facts().text("updates").replace("-security", "")},
        "no updates from origin=Debian",
    ),
    ("updates", {"updates": facts().text("updates") + POINT}, "label=Debian too"),
    ("files", {"owners": facts().text("owners").replace("644 root", "666 root", 1)}, "is 666 root root"),
    ("time", {"zone": "/usr/share/zoneinfo/Europe/Rome"}, "Europe/Rome"),
    ("locale", {"locale": "LANG=de_DE.UTF-8"}, "de_DE"),
    ("files", {"files": f"{'0' * 64}  {FILE}"}, FILE),
]


MACHINE = parse_profile("swap: 96MiB\nntp: [a.example.com, 192.0.2.123]\nsysctl: {vm.swappiness: 13}\n")
AS_MEANT = {
    "container": "none\n",
    "servers": "192.0.2.123 a.example.com\n",
    "sysctl": "vm.swappiness = 13\n",
    # As a host shows it that also has swap of its own: less than the file by its first page.
    "swap": "/dev/vdb 1073737728\n/freehold.swap 100659200\n",
}
OFF = [
    ("time", {"servers": "192.0.2.123 0.debian.pool.ntp.org\n"}, "not kept by a.example.com"),
    ("kernel", {"sysctl": "vm.swappiness = 60\n"}, "vm.swappiness"),
    ("kernel", {"swap": "/dev/vdb 1073737728\n"}, "/freehold.swap is not in use"),
    ("kernel", {"swap": "/freehold.swap 67104768\n"}, "63 MiB, not 96"),
]


@pytest.mark.parametrize(("name", "changed", "detail"), OFF)
def test_what_a_machines_kernel_and_clock_do_is_seen(name: str, changed: dict[str, str], detail: str) -> None:
    units = without("systemd-timesyncd.service", "ActiveState", "active")
    found = facts(units=units, **AS_MEANT)
    assert problem(name, found, MACHINE) == ""
    assert detail in problem(name, Facts({**found.outputs, **changed}), MACHINE)
    # In a container they are the machine's own.
    assert problem(name, Facts({**found.outputs, **changed, "container": "lxc\n"}), MACHINE) == ""


def test_swap_that_left_the_profile_is_seen_and_the_hosts_own_is_not() -> None:
    assert "the profile has no swap" in problem("kernel", facts(**AS_MEANT))
    assert problem("kernel", facts(**AS_MEANT | {"swap": "/dev/vdb 1073737728\n"})) == ""


@pytest.mark.parametrize(("check", "changed", "words"), BROKEN, ids=[f"{c[0]}-{c[2]}" for c in BROKEN])
def test_what_is_not_as_it_should_be_is_said(check: str, changed: dict[str, str], words: str) -> None:
    assert problem(check, facts()) == ""
    assert words in problem(check, facts(**changed))


MDSTAT = """\
Personalities : [raid1]
md127 : active raid1 vda3[0] vdb3[1]
      6222784 blocks super 1.0 [2/{count}] [{state}]
      bitmap: 1/1 pages [4KB], 65536KB chunk

unused devices: <none>
"""


@pytest.mark.parametrize(
    ("mdstat", "words"),
    [
        ("Personalities :\nunused devices: <none>\n", ""),
        (MDSTAT.format(count=2, state="UU"), ""),
        (MDSTAT.format(count=1, state="_U"), "md127 has 1 of 2 disks"),
        ("md0 : inactive vda3[0](S)\n      6222784 blocks super 1.0\n", "md0 does not run"),
    ],
)
def test_an_array_without_a_disk_is_said(mdstat: str, words: str) -> None:
    assert problem("arrays", facts(container="none", arrays=mdstat)) == words
    assert problem("arrays", facts(container="systemd-nspawn", arrays=mdstat)) == ""


LISTENERS = (
    'tcp LISTEN 0 4096 0.0.0.0:5432 0.0.0.0:* users:(("postgres",pid=1,fd=3))\n'
    "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n"
    "tcp LISTEN 0 128 127.0.0.1:631 0.0.0.0:*\n"
    "udp UNCONN 0 0 [::1]:323 [::]:*\n"
    "udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*\n"
    "udp UNCONN 0 0 192.0.2.7%eth0:68 0.0.0.0:*\n"
)
# A port that is published without the userland proxy has no socket of its own.
PUBLISHED = "cache 0.0.0.0:6379->6379/tcp, :::6379->6379/tcp\nlocal 127.0.0.1:9000-9001->9000-9001/tcp\n"


def test_what_listens_is_told_from_sockets_and_from_docker() -> None:
    found = listeners(facts(listeners=LISTENERS, published=PUBLISHED))
    assert [(item.name, item.address, item.program) for item in found] == [
        ("22/tcp", "0.0.0.0", "?"),
        ("5432/tcp", "0.0.0.0", "postgres"),
        ("6379/tcp", "0.0.0.0", "cache"),
        ("6379/tcp", "::", "cache"),
    ]


def test_who_reaches_a_port_is_what_the_firewall_says() -> None:
    profile = parse_profile("ssh: {allow: 198.51.100.0/24}\nfirewall: {open: [5432]}")
    ssh, postgres, cache, _ = listeners(facts(listeners=LISTENERS, published=PUBLISHED))
    assert reach(ssh, profile) == "198.51.100.0/24"
    assert reach(postgres, profile) == "everybody"
    assert reach(cache, profile) == "nobody"
    # Port 443 on the host is the proxy's; a container that publishes it is not let through.
    assert reach(replace(cache, port=443), profile) == "nobody"


def test_without_a_firewall_what_nobody_opened_is_a_problem() -> None:
    profile = replace(PROFILE, firewall=replace(PROFILE.firewall, enabled=False))
    changed = {"listeners": LISTENERS, "published": PUBLISHED}
    assert (
        problem("exposure", facts(**changed), profile)
        == "reachable from outside: 5432/tcp (postgres), 6379/tcp (cache)"
    )
    assert problem("exposure", facts(**changed)) == ""


def test_a_port_for_containers_alone_is_no_door() -> None:
    lone = '{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "NAME"}}'
    port = (
        '{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 2019}}'
    )
    rule = f'{{"rule": {{"chain": "input", "expr": [{lone}, {port}, {{"accept": null}}]}}}}'
    loaded = facts().text("firewall").removesuffix("]}")
    inside = f"{loaded}, {rule.replace('NAME', 'freehold0')}]}}"
    assert problem("firewall", facts(firewall=inside)) == ""
    outside = f"{loaded}, {rule.replace('NAME', 'eth0')}]}}"
    assert problem("firewall", facts(firewall=outside)) == "the rules in force open more: 2019/tcp"


def test_the_name_and_fail2ban_are_checked_where_the_profile_has_them() -> None:
    profile = parse_profile("fail2ban: yes\nmachines: {web-1: {hostname: app-1}}").for_host("web-1")
    assert problem("name", facts(), profile) == "the host calls itself web-1"
    assert (
        problem("name", facts(name="app-1\nweb-1\n"), profile) == "after a reboot the host calls itself web-1"
    )
    assert problem("name", facts(name="app-1\napp-1\n"), profile) == ""
    assert problem("name", facts(), profile.for_host("web-2")) == ""
    full = parse_profile("machines: {web-1: {fqdn: web-1.example.com}}").for_host("web-1")
    assert problem("name", facts(name="app-1\napp-1\nweb-1.example.com app-1\n"), full) == ""
    said = "its full name is {} (127.0.1.1 in /etc/hosts)"
    assert problem("name", facts(name="app-1\napp-1\napp-1\n"), full) == said.format("app-1")
    assert problem("name", facts(name="app-1\napp-1\n"), full) == said.format("nowhere")
    assert problem("fail2ban", facts(), profile) == "fail2ban.service is inactive"
    stopped = "Id=fail2ban.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState="
    started = "Id=fail2ban.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled"
    units = facts().text("units").replace(stopped, started)
    assert problem("fail2ban", facts(units=units), profile) == "it does not watch sshd"
    assert problem("fail2ban", facts(units=units, jails="`- Jail list: sshd"), profile) == ""


def test_json_that_is_none_is_none() -> None:
    assert facts(docker="{").json("docker") is None
    assert json.loads(facts().text("docker"))["LiveRestoreEnabled"] is True


def test_settings_of_sshds_are_compared_as_it_prints_them() -> None:
    profile = parse_profile(
        "ssh: {options: {AllowUsers: deploy admin, LogLevel: verbose, LoginGraceTime: 2m, AcceptEnv: FOO}}"
    )
    meant = (
        facts()
        .text("sshd-meant")
        .replace("loglevel INFO", "loglevel VERBOSE\nallowusers deploy\nallowusers admin\nacceptenv FOO")
        .replace("logingracetime 60", "logingracetime 120")
    )
    # Debian's own file names LANG and LC_*, which the profile does not forbid.
    have = meant.replace("acceptenv FOO", "acceptenv LANG\nacceptenv LC_*\nacceptenv FOO")
    found = {"sshd-meant": meant, "sshd": have}
    assert problem("ssh", facts(**found), profile) == ""
    without = found | {"sshd": have.replace("allowusers admin\n", "")}
    assert problem("ssh", facts(**without), profile) == "AllowUsers is deploy"
    assert problem("ssh", facts(sshd=f"port 2222\n{facts().text('sshd')}")) == "Port is 2222, 22"
    assert problem("ssh", facts(**{"sshd-meant": ""})) == "sshd does not tell its settings"


def test_sshd_is_asked_what_the_profile_means() -> None:
    command = commands(parse_profile("ssh: {options: {LogLevel: verbose}}"))["sshd-meant"]
    assert "LogLevel verbose\nMEANT_END" in command
