from __future__ import annotations

import datetime
from pathlib import Path

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloudinit.cloudconfig import users_of
from cloudinit.parts.caddyfile import ACME_ROOT, caddyfile
from cloudinit.profile import HostProfile, load_profile, parse_profile
from cloudinit.recipe import make_recipe
from freehold.errors import ConfigError
from freehold.reference import json_schema, reference

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"
AUTHORITY = "https://ca.example.com/acme/local/directory"
HASH = "$6$saltsalt$" + "a" * 86


def test_an_empty_file_is_the_default_profile() -> None:
    assert parse_profile("") == HostProfile()
    (user,) = HostProfile().users
    assert user.name == "deploy"
    assert user.all_groups == ("docker", "freehold", "sudo")


def test_a_profile_that_shuts_nobody_out_admits_everybody_already() -> None:
    assert HostProfile().admitting("198.18.1.0/24") == HostProfile()
    profile = parse_profile("ssh: {allow: [203.0.113.0/24]}").admitting("198.18.1.0/24", "203.0.113.0/24")
    assert [str(network) for network in profile.ssh.allow] == ["203.0.113.0/24", "198.18.1.0/24"]


def test_users_as_list_and_as_map_mean_the_same() -> None:
    listed = parse_profile(f"users:\n  - name: ops\n    sudo: false\n    keys: {ED}\n")
    mapped = parse_profile(f"users:\n  ops:\n    sudo: false\n    keys: [{ED}]\n")
    assert listed.users == mapped.users
    assert listed.users[0].all_groups == ("docker", "freehold")


def test_a_whole_file_is_read() -> None:
    profile = parse_profile(f"""
x-note: anything
users:
  - name: deploy
    password: {HASH}
timezone: Europe/Berlin
swap: 2GiB
sysctl: {{vm.swappiness: 10}}
firewall:
  open: [5432 from 198.51.100.0/24, 8000-8010, 51820/udp, 9090]
docker:
  mirrors: ["https://mirror.example.com"]
  options: {{data-root: /srv/docker}}
updates: {{reboot: "04:30"}}
files:
  - {{path: /etc/motd, content: hello, mode: 0640}}
machines:
  web-1:
    network:
      interfaces:
        - {{name: eth0, addresses: [192.0.2.10/24], gateway4: 192.0.2.1}}
""")
    assert profile.swap == 2 * 1024**3
    assert profile.users[0].password is not None
    assert HASH not in repr(profile)
    assert [rule.ports for rule in profile.firewall.open] == ["5432", "8000-8010", "51820", "9090"]
    assert str(profile.firewall.open[0].source) == "198.51.100.0/24"
    assert profile.firewall.open[2].protocol == "udp"
    assert profile.files[0].mode == 0o640
    assert profile.machine("web-1").network is not None
    assert profile.machine("other").network is None


@pytest.mark.parametrize("name", ["operator", "staff", "users", "src"])
def test_a_user_may_be_called_like_a_group_that_gives_no_power(name: str) -> None:
    (user,) = parse_profile(f"users: [{name}]").users
    assert user.name == name
    # cloud-init's useradd makes no second group.
    (entry,) = users_of([user], groups=False)
    assert entry["primary_group"] == "freehold"
    (entry,) = users_of(HostProfile().users, groups=False)
    assert "primary_group" not in entry


ADMITTED = [
    "{AllowUsers: deploy}",
    "{allowusers: 'admin de?loy d*'}",
    "{AllowUsers: deploy@192.0.2.0/24}",
    "{AllowUsers: 'x \"deploy\"'}",
    "{AllowUsers: '*@!198.51.100.7,*'}",
    "{AllowGroups: sudo}",
    "{AllowGroups: deploy}",
    "{DenyUsers: deploy@198.51.100.0/24 ops}",
    "{DenyGroups: guests}",
    "{AuthenticationMethods: any}",
    "{AuthenticationMethods: 'publickey,keyboard-interactive publickey'}",
    "{ForceCommand: none}",
    "{ListenAddress: 192.0.2.7}",
    "{ListenAddress: '2001:db8::7'}",
    "{ListenAddress: '0.0.0.0:22'}",
]


@pytest.mark.parametrize("options", ADMITTED)
def test_settings_of_sshd_that_let_everybody_in_are_taken(options: str) -> None:
    profile = parse_profile(f"ssh:\n  options: {options}")
    assert len(profile.ssh.options) == 1


WRONG = [
    ("usres: []", 1, "unknown key 'usres'", "did you mean 'users'"),
    ("users: deploy", 1, "expected a list of users", ""),
    ("users:\n  - name: Deploy", 2, "forbids the user name 'Deploy'", "'deploy'"),
    ("users:\n  - root", 2, "no user can be called 'root'", "root's own keys"),
    ("users:\n  - www-data", 2, "'www-data' is an account of Debian's own", "such as deploy"),
    ("users: [games]", 1, "'games' is an account of Debian's own", "such as deploy"),
    ("users: [systemd-oom]", 1, "'systemd-oom' is an account of Debian's own", "such as deploy"),
    ("users: [freehold]", 1, "'freehold' is Freehold's own", "such as deploy"),
    ("users: [docker]", 1, "'docker' gives power over a host", "with groups: [docker]"),
    ("users: [shadow]", 1, "'shadow' gives power over a host", "with groups: [shadow]"),
    ("users:\n  - deploy\n  - deploy", 3, "stands twice", ""),
    ("users:\n  ops:\n    name: x", 3, "the name stands twice", ""),
    ("users:\n  - name: ops\n    password: hunter2", 3, "plain password", "openssl passwd -6"),
    ("users:\n  - name: ops\n    password: $1$abc$defghijklmnopqrstuvwxyz", 3, "weak kind", "openssl"),
    ("users:\n  - name: ops\n    keys: [nonsense]", 3, "not an SSH public key", "gh:NAME"),
    ("users:\n  - name: ops\n    keys: [~/.ssh/id_ed25519]", 3, "not a public key file", "id_ed25519.pub"),
    ("users:\n  - name: ops\n    keys: [gh:-]", 3, "no GitHub user name", ""),
    ("swap: much", 1, "no size", "2GiB"),
    ("swap: 1k", 1, "of no use", ""),
    ("sysctl: {swappiness: 1}", 1, "no kernel setting", "vm.swappiness"),
    ("firewall: {open: [http]}", 1, "'http' is no port", "PORT"),
    ("firewall: {open: [{port: 5432}]}", 1, "expected a port, found a map", "PORT from NETWORK"),
    ("firewall: {open: [70000]}", 1, "between 1 and 65535", ""),
    ("firewall: {open: [22 from here]}", 1, "here", "198.51.100.0/24"),
    ("firewall: {open: ['5432 from fe80::1%eth0']}", 1, "no network by its interface", "2001:db8::/32"),
    ("ssh: {allow: ['fe80::1%eth0']}", 1, "no network by its interface", "2001:db8::/32"),
    ("docker: {options: {log-driver: syslog}}", 1, "Freehold's own", "log_max_size"),
    ("docker: {address_pools: [{base: 172.30.0.0/16}]}", 1, "overlaps", ""),
    ("docker: {address_pools: [{base: 10.0.0.0/26}]}", 1, "do not fit", ""),
    ("updates: {reboot: '25:00'}", 1, "right form", ""),
    ("files: [{path: etc/motd, content: x}]", 1, "no absolute path", ""),
    ("files:\n- {path: /a, content: x}\n- {path: /a, content: y}", 3, "stands twice", ""),
    ("files: [{path: /a}]", 1, "'content' is missing", "'source'"),
    ("files: [{path: /a, content: x, source: y}]", 1, "side by side", "keep one"),
    ("files:\n  - {path: /a, source: y}", 2, "there is none", ""),
    ("files: [{path: /a, content: x, mode: rwx}]", 1, "no file mode", "0644"),
    ("machines: {Web_1: {}}", 1, "no host name", ""),
    ("groups: [docker]", 1, "belongs to the system", "leave it out"),
    ("groups:\n  - audit\n  - audit", 3, "stands twice", ""),
    ("groups: [Audit]", 1, "forbids the group name", ""),
    ("ssh: {allow: [198.51.100.1/24]}", 1, "host bits", "198.51.100.0/24"),
    ("ssh:\n  options: {permitrootlogin: yes}", 2, "Freehold's own", "say it with root"),
    ("ssh:\n  options: {Banner: none, banner: x}", 2, "stands twice", "capitals"),
    ("ssh:\n  options:\n    Banner: |\n      a\n      b\n", 3, "one line", ""),
    ("ssh:\n  options: {ForceCommand: /bin/date}", 2, "no deploy could", "Match User NAME"),
    ("ssh:\n  options: {ChrootDirectory: /srv}", 2, "no deploy could leave it", "Match User NAME"),
    ("ssh:\n  options: {AuthenticationMethods: password}", 2, "asks for more than a key", "leave it out"),
    ("ssh:\n  options: {authenticationmethods: 'publickey,password'}", 2, "expected publickey", "leave it"),
    ("ssh:\n  options: {PubkeyAuthentication: no}", 2, "Freehold's own", "keys are the only way in"),
    ("ssh:\n  options: {AuthorizedKeysFile: /etc/keys/%u}", 2, "Freehold's own", "authorized_keys"),
    ("ssh:\n  options: {Port: 2222}", 2, "Freehold's own", "say it with port"),
    ("ssh:\n  options: {UsePAM: no}", 2, "Freehold's own", "needs PAM"),
    ("ssh:\n  options: {MaxSessions: 1}", 2, "Freehold's own", "max_sessions"),
    ("ssh: {max_sessions: 1}", 1, "1 is too small; the least is 2", ""),
    ("ssh:\n  options: {Match: User x}", 2, "Freehold's own", "sshd_config.d with files:"),
    ("ssh:\n  options: {RefuseConnection: yes}", 2, "Freehold's own", "nobody could log in"),
    ("ssh:\n  options: {ListenAddress: '192.0.2.7:2222'}", 2, "names port 2222", "ssh: {port: 2222}"),
    ("ssh:\n  options: {ListenAddress: '[2001:db8::7]:2222'}", 2, "names port 2222", "leave the port out"),
    ("users: []\nssh: {root: no}", 2, "nobody could log in", "under users:"),
    ("users: []\nssh:\n  options: {AllowUsers: ops}", 3, "shuts out root", "AllowUsers: ops root"),
    ("users: [a, b]\nssh:\n  options:\n    AllowUsers: a c", 4, "shuts out b", "AllowUsers: a c b"),
    ("ssh:\n  options: {AllowGroups: admins}", 2, "AllowGroups shuts out deploy", "admins freehold"),
    ("ssh:\n  options: {DenyUsers: '* !deploy'}", 2, "DenyUsers shuts out deploy", "of an address only"),
    ("ssh:\n  options: {DenyGroups: doc*}", 2, "or a group of that user", "leave what matches deploy out"),
    ("machines: {web-1: {hostname: Web}}", 1, "right form", ""),
    (f"machines:\n  web-1: {{hostname: {'a.' * 32}b}}", 2, "longer than the 64", ""),
    ("proxy: {bind_ips: [203.0.113]}", 1, "'203.0.113' does not appear to be", "without ports"),
    ("proxy:\n  bind_ips:\n    - 1.2.3.4\n    - 1.2.3.4:80", 4, "'1.2.3.4:80' does not", "without ports"),
    ("proxy: {bind_ips: ['[1.2.3.4]']}", 1, "'[1.2.3.4]' does not", "without ports"),
    ("timezone: 'a b'", 1, "no time zone", "for example 'Europe/Berlin'"),
    ("timezone: Europe/Berln", 1, "there is no time zone 'Europe/Berln'", "did you mean 'Europe/Berlin'"),
    (f"users:\n  - name: ops\n    password: $6$rounds=1000$salt${'a' * 86}", 3, "too fast", "openssl"),
    (f"users:\n  - name: ops\n    password: $2b$05${'a' * 53}", 3, "too fast", "openssl"),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), WRONG, ids=[case[0][:40] for case in WRONG])
def test_a_mistake_is_named_with_its_line(text: str, line: int, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(text)
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert error.where is not None
    assert error.where.line == line
    assert error.where.file == "config/host.yml"
    assert "hunter2" not in str(error)


NETWORKS = [
    ("{addresses: [192.0.2.10/24], gateway4: 198.51.100.1}", "in none of the networks"),
    ("{addresses: [192.0.2.10/24], gateway4: 192.0.2.10}", "the host's own address"),
    ("{addresses: [192.0.2.10]}", "has no prefix"),
    ("{addresses: [192.0.2.0/24]}", "network's own"),
    ("{addresses: [192.0.2.1/24, 192.0.2.1/25]}", "one address twice"),
    ("{dhcp4: true, addresses: [192.0.2.9/24], gateway4: 192.0.2.1}", "leave gateway4 out"),
    ("{rename: true}", "needs the mac"),
    ("{addresses: [nowhere/24]}", "nowhere"),
    ("{dhcp4: true}, {dhcp4: true}", "two interfaces are named eth0"),
    ("{name: a, addresses: [192.0.2.9/24]}, {name: b, addresses: [192.0.2.9/24]}", "have the address"),
    ("{addresses: [192.0.2.9/24], routes: [{to: 198.51.100.0/24, via: '2001:db8::1'}]}", "mixed"),
    ("{dhcp4: true, search: [example.com]}", "eth0: search needs nameservers"),
    ("", "at least one interface"),
    ("{addresses: [192.0.2.9/24], routes: [{to: 198.51.100.0/24, via: 203.0.113.1}]}", "in none of the"),
    (
        "{addresses: [192.0.2.9/24], gateway4: 192.0.2.1, routes: [{to: 0.0.0.0/0, via: 192.0.2.2}]}",
        "second default route for IPv4",
    ),
    (
        "{name: a, addresses: [192.0.2.9/24], gateway4: 192.0.2.1}, "
        "{name: b, addresses: [198.51.100.9/24], gateway4: 198.51.100.1}",
        "b has a second default route for IPv4; a has one",
    ),
    ("{dhcp6: true, addresses: ['2001:db8::9/64'], gateway6: '2001:db8::1'}", "leave gateway6 out"),
    ("{addresses: [127.0.0.2/8]}", "loopback"),
    ("{addresses: ['::1/128']}", "::1 is a loopback"),
    ("{addresses: [224.0.0.5/24]}", "multicast"),
    ("{addresses: ['ff02::5/64']}", "ff02::5 is a multicast"),
    ("{addresses: [0.0.0.0/0]}", "unspecified"),
    ("{name: a, addresses: [192.0.2.9/24]}, {name: b, addresses: [192.0.2.10/24]}", "both in 192.0.2.0/24"),
    ("{addresses: ['2001:db8::9/64'], mtu: 1279}", "MTU of 1280"),
    ("{dhcp6: true, mtu: 1000}", "need an MTU of 1280"),
    ("{addresses: [172.30.4.4/24]}", "reaches into 172.30.0.0/16"),
    ("{addresses: [172.16.4.4/12]}", "172.16.4.4/12 reaches into 172.30.0.0/16"),
    (
        "{addresses: [192.0.2.9/24], routes: [{to: 172.30.8.0/24, via: 192.0.2.1}]}",
        "leads into 172.30.0.0/16",
    ),
]
ACCEPTED = [
    "{addresses: ['2001:db8::9/64', 'fe80::9/64'], mtu: 1280, gateway6: 'fe80::1'}",
    "{name: a, addresses: ['fe80::9/64']}, {name: b, addresses: ['fe80::a/64']}",
    "{addresses: [192.0.2.9/24], mtu: 1000}",
    "{dhcp4: true, routes: [{to: 198.51.100.0/24, via: 192.0.2.1}]}",
    "{name: a, dhcp4: true}, {name: b, addresses: [192.0.2.9/24], gateway4: 192.0.2.1}",
    "{name: a, addresses: [192.0.2.9/24, 192.0.2.10/24, 198.51.100.4/32]}",
]


@pytest.mark.parametrize(("interfaces", "message"), NETWORKS, ids=[case[1] for case in NETWORKS])
def test_a_network_that_contradicts_itself_is_refused(interfaces: str, message: str) -> None:
    text = f"machines:\n  web-1:\n    network: {{interfaces: [{interfaces}]}}\n"
    with pytest.raises(ConfigError, match=message) as caught:
        parse_profile(text)
    assert caught.value.where is not None
    assert caught.value.where.line == 3


@pytest.mark.parametrize("interfaces", ACCEPTED)
def test_a_network_that_does_not_is_taken(interfaces: str) -> None:
    parse_profile(f"machines: {{web-1: {{network: {{interfaces: [{interfaces}]}}}}}}\n")


def test_a_contradiction_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(
            "machines:\n  web-1:\n    network:\n      interfaces:\n"
            "        - {name: a, addresses: [192.0.2.9/24]}\n"
            "        - name: b\n          addresses:\n"
            "            - 198.51.100.9/24\n            - 192.0.2.10/24\n"
        )
    assert str(caught.value.where) == (
        "config/host.yml:9:15 machines.web-1.network.interfaces[1].addresses[1]"
    )


def test_the_schema_for_editors_takes_what_the_reader_takes() -> None:
    schema = json_schema(HostProfile, extensions=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"users": ["deploy"], "swap": "2GiB", "firewall": {"open": [5432, "53/udp"]}}
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"usres": []}, schema)


def test_every_key_says_what_it_is_for() -> None:
    rows = reference(HostProfile)
    assert len(rows) > 40
    assert not [row.path for row in rows if not row.help.strip()]


def test_a_file_may_hold_the_text_of_another(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    path = tmp_path / "config/host.yml"
    path.write_text("files:\n  - {path: /etc/motd, source: config/motd}\n")
    with pytest.raises(ConfigError, match=r"host.yml:2:5 files\[0\]: the source config/motd: no such file"):
        load_profile(path, name="config/host.yml")
    (tmp_path / "config/motd").write_text("hello\n")
    profile = load_profile(path)
    assert profile.files[0].content == "hello\n"
    (tmp_path / "config/motd").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_profile(path)
    # A secret is named where it stands: in the source.
    (tmp_path / "config/motd").write_text("\nDB_PASSWORD=hunter2hunter2\n")
    assert make_recipe(load_profile(path)).secrets == ("a password or token (config/motd:2)",)


def test_the_root_of_an_authority_is_read_from_the_project(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    path = tmp_path / "config" / "host.yml"
    path.write_text(f"proxy:\n  acme_ca: {AUTHORITY}\n  acme_root: config/ca.pem\n")
    with pytest.raises(ConfigError, match=r"host.yml:3:14 proxy.acme_root: no such file"):
        load_profile(path)
    root = tmp_path / "config" / "ca.pem"
    for text, message in (
        ("nothing", "holds no certificate"),
        ("-----BEGIN PRIVATE KEY-----", "private key"),
    ):
        root.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_profile(path)
    root.write_text(made_root())
    profile = load_profile(path)
    assert profile.proxy.acme_root_pem == root.read_text()
    step = next(step for step in make_recipe(profile).steps if step.name == "proxy")
    (placed,) = [file for file in step.files if file.path == ACME_ROOT]
    assert placed.content == root.read_text()
    assert f"\tacme_ca {AUTHORITY}\n\tacme_ca_root {ACME_ROOT}\n" in caddyfile(profile)


@pytest.mark.parametrize("authority", ["", "acme_ca: internal, "])
def test_a_root_without_an_authority_is_refused(authority: str) -> None:
    with pytest.raises(ConfigError, match="no meaning without an authority") as caught:
        parse_profile(f"proxy: {{{authority}acme_root: config/ca.pem}}")
    assert "acme_ca: https://" in caught.value.hint


def made_root() -> str:
    """A certificate that may sign others, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("proxy:\n  http_port: 443\n", "host.yml:2:14 proxy.http_port: proxy.http_port and proxy.https_port"),
        ("proxy: {metrics_port: 22}\n", "host.yml:1:23 proxy.metrics_port: ssh.port and proxy.metrics_port"),
        ("ssh: {port: 80}\n", "host.yml:1:13 ssh.port: ssh.port and proxy.http_port are both 80"),
        ("ssh: {port: 8080}\nproxy: {https_port: 8080}\n", "host.yml:2:21 proxy.https_port: ssh.port"),
    ],
)
def test_no_two_services_share_a_port(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(text)
    assert message in str(caught.value)
    assert caught.value.hint == "give each a port of its own"
    assert parse_profile("ssh: {port: 443}\nproxy: {enabled: false}\n").ssh.port == 443
    assert parse_profile("ssh: {port: 80}\nproxy: {http_port: 22}\n").proxy.http_port == 22
