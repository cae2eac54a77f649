from __future__ import annotations

import base64
import email
import gzip
import json
import re
from pathlib import Path

import pytest
import yaml

from cloudinit.cli import seed
from freehold.command import Context, run
from freehold.console import Console

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/host.yml").write_text(f"users:\n  - name: deploy\n    keys: [{ED}]\n")
    return tmp_path


def call(root: Path, *argv: str) -> int:
    return run(seed, argv, Context(console=Console(), root=root))


def test_a_seed_is_written_for_a_provider(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1", "--for", "hetzner", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    directory = root / "seeds/web-1"
    assert shown["files"] == ["meta-data", "seed.iso", "user-data", "vendor-data"]
    assert shown["user_data_bytes"] == (directory / "user-data").stat().st_size < 16 * 1024
    assert yaml.safe_load((directory / "user-data").read_text())["users"][0]["ssh_authorized_keys"] == [ED]
    assert (directory / "seed.iso").stat().st_mode & 0o777 == 0o600


def test_a_seed_is_told_by_its_directory(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1") == 0
    assert capsys.readouterr().out == f"{root}/seeds/web-1\n"


def test_a_host_key_needs_consent_and_leaves_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1", "--host-key") == 2
    assert "--allow-secrets" in capsys.readouterr().err
    assert not (root / "seeds").exists()
    assert call(root, "web-1", "--host-key", "--allow-secrets", "--golden") == 0
    known = (root / "seeds/web-1/known_hosts").read_text()
    data = yaml.safe_load((root / "seeds/web-1/user-data").read_text())
    assert known.split()[1:3] == data["ssh_keys"]["ed25519_public"].split()[:2]
    assert "runcmd" not in data


@pytest.mark.parametrize(
    ("names", "words", "hosts", "step"),
    [
        # The line of its own in a vendor's /etc/hosts: cloud-init's task, or with a `hostname` the recipe's.
        ("{fqdn: a.example.com}", (), "localhost", False),
        ("{hostname: a, fqdn: a.example.com}", (), None, True),
        ("{hostname: a}", (), None, True),
        ("{}", (), None, False),
        # A golden image has cloud-init write the file.
        ("{fqdn: a.example.com}", ("--golden",), None, False),
    ],
)
def test_the_full_name_of_a_host_gets_into_its_own_hosts_file(
    root: Path, names: str, words: tuple[str, ...], hosts: str | None, step: bool
) -> None:
    profile = root / "config/host.yml"
    profile.write_text(f"{profile.read_text()}machines: {{web-1: {names}}}\n")
    assert call(root, "web-1", "--form", "plain", *words) == 0
    data = yaml.safe_load((root / "seeds/web-1/user-data").read_text())
    assert data.get("manage_etc_hosts") == hosts
    assert ("bootcmd" in data) is (hosts is not None)
    scripts = [gzip.decompress(base64.b64decode(file["content"])) for file in data.get("write_files", ())]
    assert len(scripts) == int(not words)
    assert any(b"step_name()" in script for script in scripts) is step


def test_what_a_users_own_file_says_of_the_hosts_file_counts(root: Path) -> None:
    profile = root / "config/host.yml"
    profile.write_text(profile.read_text() + "machines: {web-1: {fqdn: a.example.com}}\n")
    (root / "own.yml").write_text("#cloud-config\nmanage_etc_hosts: false\n")
    assert call(root, "web-1", "--form", "plain", "--user-data", str(root / "own.yml")) == 0
    data = yaml.safe_load((root / "seeds/web-1/user-data").read_text())
    assert (data["manage_etc_hosts"], "bootcmd" in data) == (False, False)


def test_a_seed_made_again_keeps_nothing_of_the_former(root: Path) -> None:
    profile = root / "config/host.yml"
    users = profile.read_text()
    network = "machines: {web-1: {network: {interfaces: [{name: eth0, addresses: [192.0.2.10/24]}]}}}\n"
    profile.write_text(f"{users}{network}ssh: {{port: 2222}}\n")
    assert call(root, "web-1", "--host-key", "--allow-secrets") == 0
    directory = root / "seeds/web-1"
    assert (directory / "known_hosts").read_text().startswith("[web-1]:2222 ssh-ed25519 ")
    assert "192.0.2.10" in (directory / "network-config").read_text()
    (directory / "notes").write_text("the operator's own")
    profile.write_text(users)
    assert call(root, "web-1") == 0
    left = {path.name for path in directory.iterdir()}
    assert left == {"user-data", "meta-data", "vendor-data", "seed.iso", "notes"}


def test_a_directory_that_is_no_seed_loses_nothing(root: Path) -> None:
    (root / "known_hosts").write_text("somebody's own\n")
    assert call(root, "web-1", "--output", str(root)) == 0
    assert (root / "known_hosts").exists()


def test_a_mistake_in_the_profile_stops_before_anything_is_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "config/host.yml").write_text("users:\n  - name: Root\n")
    assert call(root, "web-1") == 2
    assert "config/host.yml:2:" in capsys.readouterr().err
    assert not (root / "seeds").exists()


def test_a_name_that_is_no_host_name_is_refused(root: Path) -> None:
    assert call(root, "web_1") == 2
    assert not (root / "seeds").exists()


SCRIPT = "#!/bin/sh\necho hello\n"


def write(root: Path, name: str, text: str) -> str:
    (root / name).write_text(text)
    return str(root / name)


def parts(data: bytes) -> list[tuple[str, str]]:
    """(MIME type, text) of each part, as cloud-init would see them."""
    found = []
    for part in email.message_from_bytes(data).walk():
        body = part.get_payload(decode=True)
        if isinstance(body, bytes):
            packed = part.get_content_type() == "application/gzip"
            found.append((part.get_content_type(), (gzip.decompress(body) if packed else body).decode()))
    return found


def test_own_files_join_the_seed(root: Path) -> None:
    # So small that nothing has to be packed.
    with (root / "config/host.yml").open("a") as profile:
        profile.write("proxy: {enabled: false}\n")
    own = write(root, "own.yml", "#cloud-config\nruncmd: [[touch, /own]]\npackage_upgrade: true\n")
    script = write(root, "hello.sh", SCRIPT)
    vendor = write(root, "vendor.yml", "#cloud-config\npackages: [htop]\n")
    net = write(
        root, "net.yml", "version: 1\nconfig: [{type: physical, name: eth0, subnets: [{type: dhcp}]}]\n"
    )
    words = [
        "web-1",
        "--user-data",
        own,
        "--user-data",
        script,
        "--vendor-data",
        vendor,
        "--network-config",
        net,
    ]
    assert call(root, *words) == 0
    seeds = root / "seeds/web-1"
    first, second = parts((seeds / "user-data").read_bytes())
    config = yaml.safe_load(first[1])
    assert (first[0], second) == ("text/cloud-config", ("text/x-shellscript", SCRIPT))
    assert config["package_upgrade"] is True
    # The recipe goes first, so that the user's own commands find a prepared host.
    assert [command[0] for command in config["runcmd"]] == ["bash", "touch"]
    assert (seeds / "vendor-data").read_text().endswith("packages: [htop]\n")
    assert (seeds / "network-config").read_text() == Path(net).read_text()
    assert call(root, *words, "--form", "mime") == 0
    assert parts((seeds / "user-data").read_bytes())[1] == ("application/gzip", SCRIPT)
    assert call(root, *words, "--form", "gzip") == 0
    assert gzip.decompress((seeds / "user-data").read_bytes()).startswith(b"Content-Type: multipart/mixed")


WRONG = [
    ("own.yml", "#cloud-config\nruncmd: true\n", "own.yml:2:9 runcmd: cloud-init"),
    ("own.yml", "#cloud-config\na: [\n", "own.yml:3:1: not valid YAML"),
    (
        "own.yml",
        "#cloud-config\nhostname: web-2\n",
        "the key 'hostname' is the seed's own",
    ),
    ("own.yml", "runcmd: []\n", "own.yml:1: cloud-init would not know what this is"),
    ("own.sh", f"{SCRIPT}\nTOKEN=ghp_{'a' * 36}\n", "a GitHub token"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG, ids=[case[2] for case in WRONG])
def test_a_mistake_in_an_own_file_stops_before_anything_is_written(
    root: Path, name: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(root, "web-1", "--user-data", write(root, name, text)) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "ghp_" not in shown
    assert not (root / "seeds").exists()


def test_a_secret_in_the_profile_needs_consent(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"users: [{{name: deploy, keys: [{ED}]}}]\nfiles:\n  - path: /etc/app.env\n    content: |\n"
    (root / "config/host.yml").write_text(text + "      A=1\n      DB_PASSWORD=hunter2hunter2\n")
    assert call(root, "web-1") == 2
    shown = capsys.readouterr().err
    assert "a password or token (config/host.yml:6 files[0].content)" in shown
    assert "hunter2" not in shown
    # A golden image's seed does not carry files.
    assert call(root, "web-1", "--golden") == 0
    assert call(root, "web-1", "--allow-secrets") == 0


def test_two_networks_are_one_too_many(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = "machines: {web-1: {hostname: app, network: {interfaces: [{dhcp4: true}]}}}\n"
    (root / "config/host.yml").write_text(machine)
    net = write(root, "net.yml", "version: 2\nethernets: {}\n")
    assert call(root, "web-1", "--network-config", net) == 2
    assert "two network-configs" in capsys.readouterr().err
    assert call(root, "web-1", "--network-version", "1") == 0
    assert yaml.safe_load((root / "seeds/web-1/network-config").read_text())["version"] == 1
    assert yaml.safe_load((root / "seeds/web-1/meta-data").read_text())["local-hostname"] == "app"


BONDED = {
    "version: 2\nethernets: {eth0: {}}\nbonds: {bond0: {interfaces: [eth0], dhcp4: true}}\n": 3,
    "network:\n  version: 2\n  vlans: {v5: {id: 5, link: eth0, dhcp4: true}}\n": 3,
    "version: 1\nconfig:\n  - {type: vlan, name: v5, vlan_link: eth0, vlan_id: 5}\n": 3,
}


@pytest.mark.parametrize(("text", "line"), BONDED.items(), ids=["bonds", "vlans", "version 1"])
def test_a_golden_image_is_not_sent_a_network_that_it_cannot_make(
    root: Path, text: str, line: int, capsys: pytest.CaptureFixture[str]
) -> None:
    net = write(root, "net.yml", text)
    assert call(root, "web-1", "--golden", "--network-config", net) == 2
    shown = capsys.readouterr().err
    assert f"net.yml:{line}:" in shown and "makes no bonds, bridges and VLANs" in shown
    # A vendor's image may have a renderer that does.
    assert call(root, "web-1", "--network-config", net) == 0


OWN_NETWORKS = [
    # Version 2: text, line, key, what is said.
    ("  eth0:\n    addresses: [192.0.2.9/24]\n    gateway4: 203.0.113.1\n", 5, "gateway4", "in none of the"),
    (
        "  eth0:\n    addresses: [192.0.2.9/24]\n    routes:\n"
        "      - {to: default, via: 192.0.2.1}\n      - {to: 0.0.0.0/0, via: 192.0.2.2}\n",
        7,
        "routes[1].via",
        "second default route",
    ),
    ("  eth0:\n    addresses:\n      - 127.0.0.2/8\n", 5, "addresses[0]", "loopback"),
    ("  eth0:\n    addresses: [nowhere/24]\n", 4, "addresses[0]", "nowhere"),
    (
        "  eth0: {addresses: [192.0.2.9/24]}\n  eth1:\n    addresses: [192.0.2.8/24]\n",
        5,
        "addresses[0]",
        "both in",
    ),
    ("  eth0:\n    mtu: 1000\n    addresses: ['2001:db8::9/64']\n", 4, "mtu", "MTU of 1280"),
    ("  eth0:\n    addresses: [172.30.0.9/24]\n", 4, "addresses[0]", "containers' network"),
    ("  eth0: {dhcp4: true, gateway4: 192.0.2.1}\n", 3, "gateway4", "dhcp4 brings its own"),
    (
        "  eth0: {addresses: [192.0.2.9/24], routes: [{to: 172.30.9.0/24}]}\n",
        3,
        "routes[0].to",
        "leads into 172.30.0.0/16",
    ),
    # Version 1.
    (
        "- type: physical\n  name: eth0\n  subnets:\n  - {type: static, address: 192.0.2.9,\n"
        "     netmask: 255.255.255.0, gateway: 203.0.113.1}\n",
        7,
        "subnets[0].gateway",
        "in none of the",
    ),
    (
        "- {type: physical, name: eth0, subnets: [{type: static, address: 192.0.2.9}]}\n",
        3,
        "address",
        "no prefix",
    ),
    (
        "- {type: physical, name: a, subnets: [{type: static, address: 192.0.2.9/24}]}\n"
        "- {type: vlan, name: b, vlan_link: a, vlan_id: 5, subnets: [{type: static, "
        "address: 192.0.2.8/24}]}\n",
        4,
        "address",
        "a and b are both in",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "key", "words"), OWN_NETWORKS, ids=[case[3] for case in OWN_NETWORKS]
)
def test_a_network_config_that_contradicts_itself_is_refused(
    root: Path, text: str, line: int, key: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "version: 1\nconfig:\n" if text.startswith("-") else "version: 2\nethernets:\n"
    assert call(root, "web-1", "--network-config", write(root, "net.yml", head + text)) == 2
    shown = capsys.readouterr().err
    assert words in shown
    (said,) = re.findall(r"net\.yml:(\d+):\d+ (\S+):", shown)
    assert (int(said[0]), said[1].endswith(key)) == (line, True), said


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\nethernets: {eth0: {dhcp4: true, routes: [{to: 198.51.100.0/24, via: 192.0.2.1}]}}\n",
        # A router beyond the host's own network, which a route without one reaches.
        "version: 2\nethernets:\n  eth0:\n    addresses: [203.0.113.9/32]\n"
        "    routes: [{to: 192.0.2.1/32}, {to: 0.0.0.0/0, via: 192.0.2.1}]\n",
        "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n    dhcp4-overrides: {use-routes: false}\n"
        "    gateway4: 192.0.2.1\n",
        "version: 2\nethernets:\n  a:\n    addresses: [192.0.2.9/24]\n"
        "    routes: [{to: default, via: 192.0.2.1}]\n"
        "  b:\n    addresses: [198.51.100.9/24]\n    routes: [{to: default, via: 198.51.100.1, metric: 9}]\n",
        "version: 1\nconfig:\n- type: physical\n  name: eth0\n  subnets:\n"
        "  - {type: static, address: 192.0.2.9/24, gateway: 192.0.2.1}\n  - {type: dhcp6}\n",
    ],
)
def test_a_network_config_that_does_not_is_taken(root: Path, text: str) -> None:
    assert call(root, "web-1", "--network-config", write(root, "net.yml", text)) == 0


def test_what_is_larger_than_16_kib_is_packed_for_any_form(root: Path) -> None:
    own = write(root, "own.yml", "#cloud-config\nfinal_message: |\n" + "  the same words\n" * 1200)
    assert call(root, "web-1", "--user-data", own) == 0
    data = (root / "seeds/web-1/user-data").read_bytes()
    assert len(data) < len(Path(own).read_bytes()) < 32 * 1024
    assert [kind for kind, _ in parts(data)] == ["application/gzip"]
    assert call(root, "web-1", "--user-data", own, "--form", "plain", "--for", "ec2") == 2
    assert call(root, "web-1", "--user-data", own, "--form", "gzip", "--for", "hetzner") == 2
    assert call(root, "web-1", "--user-data", own, "--form", "gzip", "--for", "ec2") == 0


def test_once_is_about_serving(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "web-1", "--once") == 2
    assert "add --serve" in capsys.readouterr().err
    assert call(root, "web-1", "--serve", "nowhere") == 2
    assert not (root / "seeds").exists()
