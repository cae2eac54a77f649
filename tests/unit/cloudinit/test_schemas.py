from __future__ import annotations

import pytest

from cloudinit.cloudconfig import as_cloud_config
from cloudinit.network import Interface, Network
from cloudinit.profile import parse_profile
from cloudinit.recipe import make_recipe
from cloudinit.schemas import RELEASES, validate, validate_network
from freehold.errors import ConfigError
from freehold.yamlfile import dump, parse

NAME = "own.yml"
WRONG = [
    ("runcmd: echo hello\n", 1, "expected a list, found the text 'echo hello'", ""),
    ("packages:\n  - htop\npackage_updat: true\n", 3, "unknown key 'package_updat'", "'package_update'"),
    ("write_files:\n  - content: x\n", 2, "'path' is missing", ""),
    ("write_files:\n  - path: /a\n    encodin: b64\n", 3, "unknown key 'encodin'", "'encoding'"),
    ("write_files:\n  - path: /a\n    encoding: rot13\n", 3, "expected one of", ""),
    ("users:\n  - name: a\n    shel: /bin/sh\n", 3, "unknown key 'shel'", "'shell'"),
    ("ntp:\n  enabled: often\n", 2, "expected true or false, found the text 'often'", ""),
    ("growpart: {mode: maybe}\n", 1, "", ""),
    ("- a\n", 1, "expected a map, found a list", ""),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG, ids=[case[0][:30] for case in WRONG])
def test_what_cloud_init_would_not_take_is_named_with_its_line(
    text: str, line: int, message: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=r"cloud-init \d+\.\d+") as caught:
        validate(parse(text, NAME), "cloud-config")
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert error.where is not None
    assert (error.where.file, error.where.line) == (NAME, line)


def test_what_only_the_newest_release_knows_is_refused_by_the_oldest() -> None:
    # `doas` came with 23.1.
    text = "users:\n  - name: a\n    doas: [permit nopass a]\n"
    with pytest.raises(ConfigError, match=f"cloud-init {RELEASES[0]} does not take this: unknown key 'doas'"):
        validate(parse(text, NAME), "cloud-config")


@pytest.mark.parametrize(
    "text", ["", "users: []\n", "users: [{name: ops, groups: [audit]}]\ngroups: [audit]\n"]
)
def test_what_freehold_makes_passes(text: str) -> None:
    profile = parse_profile(text)
    validate(parse(as_cloud_config(make_recipe(profile), profile.users), NAME), "cloud-config")


def test_the_networks_that_freehold_makes_pass_in_both_versions() -> None:
    eth1 = Interface(
        "eth1",
        addresses=("192.0.2.10/24", "2001:db8::1/64"),
        gateway4="192.0.2.1",
        gateway6="2001:db8::2",
        nameservers=("192.0.2.53",),
        search=("a.example",),
    )
    network = Network((Interface("eth0", dhcp4=True, dhcp6=True, mtu=1400, optional=True), eth1))
    for document in (network.v1(), network.v2(), {"network": network.v2()}):
        validate_network(parse(dump(document), NAME))


NETWORKS = [
    ("ethernets: {}\n", 1, "'version' is missing"),
    ("version: 3\n", 1, "no network-config version int 3"),
    ("version: 2\nethernets:\n  eth0: {dhcp4: maybe}\n", 3, "expected one of yes, no"),
    ("version: 2\nethernets:\n  eth0:\n    mtu: big\n", 4, "expected a whole number"),
    ("network:\n  version: 1\n  config:\n  - {type: physikal, name: eth0}\n", 4, ""),
    ("[]\n", 1, "'version' is missing"),
]


@pytest.mark.parametrize(("text", "line", "message"), NETWORKS, ids=[case[0][:30] for case in NETWORKS])
def test_a_network_that_cloud_init_would_not_take_is_named(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_network(parse(text, NAME))
    assert message in caught.value.message
    assert caught.value.where is not None
    assert caught.value.where.line == line
