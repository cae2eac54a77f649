"""A broken host.yml ends in a message with a place, whatever was broken; what is read can be made."""

from __future__ import annotations

import subprocess
from typing import Any

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cloudinit.cloudconfig import as_cloud_config
from cloudinit.facts import gathering
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.recipe import make_recipe
from cloudinit.schemas import validate, validate_network
from cloudinit.script import as_script
from freehold.errors import ConfigError
from freehold.yamlfile import dump, parse

RELAXED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
FEWER = settings(RELAXED, max_examples=25)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"
WHOLE = f"""\
users:
  - name: deploy
    keys: [{KEY}, gh:octocat, agent, ~/.ssh/id.pub]
    groups: [audit]
    shell: /bin/sh
  - ops
groups: [audit]
timezone: Europe/Berlin
locale: en_GB.UTF-8
ntp: [ntp.example.com]
swap: 1GiB
packages: [htop]
sysctl: {{vm.swappiness: 10}}
ssh: {{port: 2222, allow: [198.51.100.0/24], options: {{Banner: none}}}}
firewall: {{open: [5432, 8000-8010/udp]}}
fail2ban: true
updates: {{reboot: "04:30", everything: true}}
docker:
  log_max_size: 5m
  mirrors: ["https://mirror.example.com"]
  address_pools: [{{base: 172.20.0.0/14, size: 24}}]
  options: {{data-root: /srv}}
proxy: {{email: ops@example.com}}
files: [{{path: /etc/motd, content: hello, mode: "0644"}}]
commands: [echo hello]
machines:
  web-1:
    hostname: app
    network:
      interfaces:
        - name: eth0
          addresses: [192.0.2.10/24]
          gateway4: 192.0.2.1
          nameservers: [192.0.2.53]
          routes: [{{to: 198.51.100.0/24, via: 192.0.2.254}}]
"""


def check(text: str) -> HostProfile | None:
    """Read a text; only an error of ours with a place may escape."""
    try:
        return parse_profile(text)
    except ConfigError as exc:
        assert exc.message
        assert exc.where is not None, exc
        assert exc.where.file == "config/host.yml"
        assert exc.where.line <= text.count("\n") + 2
        return None


def is_bash(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=60)
    assert (checked.stderr, checked.returncode) == ("", 0)


def make(profile: HostProfile) -> None:
    """Everything that a profile is made into is well-formed."""
    recipe = make_recipe(profile.for_host("web-1"))
    is_bash(as_script(recipe, offline=False))
    is_bash(gathering(profile))
    validate(parse(as_cloud_config(recipe, profile.users), "user-data"), "cloud-config")
    for machine in profile.machines.values():
        if machine.network is not None:
            validate_network(parse(dump(machine.network.v1()), "v1"))
            validate_network(parse(dump(machine.network.v2()), "v2"))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70000),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            "web",
            "a:b:c",
            "*",
            "<<",
            "$(x)",
            "`x`",
            "'",
            '"',
            "a b",
            "a\nb",
            "-n",
            "../x",
            "/",
            "8080:80",
            "::",
            "0",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6) | st.just("name"), inner, max_size=3)
    ),
    max_leaves=6,
)


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def test_the_whole_file_can_be_made() -> None:
    profile = check(WHOLE)
    assert profile is not None
    make(profile)


@RELAXED
@given(st.data(), VALUES)
def test_any_value_may_be_wrong(data: st.DataObject, new: Any) -> None:
    document = yaml.safe_load(WHOLE)
    path = data.draw(st.sampled_from(paths(document)))
    check(yaml.safe_dump(replaced(document, path, new), sort_keys=False))


@FEWER
@given(st.data(), SCALARS)
def test_what_is_read_can_be_made(data: st.DataObject, new: Any) -> None:
    document = yaml.safe_load(WHOLE)
    path = data.draw(st.sampled_from(paths(document)))
    profile = check(yaml.safe_dump(replaced(document, path, new), sort_keys=False))
    if profile is not None:
        make(profile)


@RELAXED
@given(
    st.integers(0, 2000),
    st.integers(0, 12),
    st.text(max_size=6) | st.sampled_from(["\t", "\n", "  ", ":", "- ", "&a", "*a", "'", "{", "}", "|"]),
)
@example(0, 2000, "")
@example(0, 2000, "users: !!python/name:os.system x")
def test_any_part_of_the_text_may_be_torn(at: int, length: int, new: str) -> None:
    at %= len(WHOLE)
    check(WHOLE[:at] + new + WHOLE[at + length :])
