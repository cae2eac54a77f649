"""Seeds as the real cloud-init of Debian 12 and 13 sees them: its schemas, its parts, its HTTP source."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cloudinit.network import Interface, Network, Route
from freehold.yamlfile import dump
from tests.conftest import Control, program
from tests.rig import Host, Rig

SCRIPT = "#!/bin/sh\necho hello\n"
OWN = "#cloud-config\nruncmd: [[touch, /own]]\npackage_update: true\n"
NETWORK = "{interfaces: [{addresses: [192.0.2.10/24, '2001:db8::10/64'], gateway4: 192.0.2.1, mtu: 1400}]}"
PROFILE = f"""\
users:
  - name: deploy
    keys: [KEY]
    password: $6$saltsalt${"a" * 86}
machines: {{web-9: {{fqdn: web-9.example.com, network: {NETWORK}}}}}
"""
# The parts that cloud-init makes of user-data, with its own code: type and text.
PARTS = """\
import json, sys
from cloudinit import helpers, user_data, util
paths = helpers.Paths({"cloud_dir": "/tmp/cloud", "run_dir": "/tmp/cloud"})
message = user_data.UserDataProcessor(paths).process(sys.stdin.buffer.read())
found = [
    [part.get_content_type(), util.fully_decoded_payload(part)]
    for part in message.walk() if not part.is_multipart()
]
json.dump([[kind, util.decode_binary(text)] for kind, text in found], sys.stdout)
"""
# What the data source reads below an address, with its own code.
SEEDED = """\
import json, sys
from cloudinit import util
meta, user, vendor, *network = util.read_seeded(sys.argv[1], timeout=5)
user = util.decode_binary(user)
json.dump({"meta": meta, "user": user, "network": network[0] if network else None}, sys.stdout)
"""
# What a kernel's command line or a serial number tells the data source, with its own code.
TOLD = """\
import json, sys
from cloudinit.sources.DataSourceNoCloud import parse_cmdline_data
found = {}
parse_cmdline_data("ds=nocloud-net", found, sys.argv[1])
json.dump(found, sys.stdout)
"""
# What the golden image's renderer makes of a network-config, with its own code: file name to lines.
RENDERED = """\
import json, pathlib, sys, tempfile, yaml
from cloudinit.net import network_state, networkd
state = network_state.parse_net_config_data(yaml.safe_load(sys.stdin))
place = tempfile.mkdtemp()
networkd.Renderer().render_network_state(state, target=place)
found = {path.name: path.read_text().split("\\n") for path in pathlib.Path(place).rglob("*.network")}
json.dump({name: [line for line in lines if line] for name, lines in found.items()}, sys.stdout)
"""


@pytest.fixture
def project(rig: Rig, control: Control) -> Path:
    """A project whose host web-9 has everything that a seed can carry."""
    key = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    (control.directory / "config").mkdir()
    (control.directory / "config/host.yml").write_text(PROFILE.replace("KEY", key))
    (control.directory / "own.yml").write_text(OWN)
    (control.directory / "hello.sh").write_text(SCRIPT)
    return control.directory


def python(host: Host, code: str, *words: str, stdin: bytes = b"") -> Any:
    # Debian's cloud-init, not this project's package of the same name.
    return json.loads(host.exec(("python3", "-c", code, *words), stdin=stdin).stdout)


def schema(host: Host, data: bytes, kind: str) -> tuple[int, str]:
    """What `cloud-init schema` says about a file."""
    host.write("/tmp/checked", data)
    words = ["--config-file", "/tmp/checked", *(["--schema-type", kind] if kind != "cloud-config" else [])]
    done = host.exec(("cloud-init", "schema", *words), check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_real_cloud_init_takes_what_a_seed_holds(
    rig: Rig, control: Control, project: Path, hosts: tuple[Host, Host], trixie: Host
) -> None:
    old = hosts[0]
    assert "22.4" in old.exec("cloud-init --version 2>&1").stdout
    seeds = project / "seeds/web-9"
    kinds = (["--golden"], ["--golden", "--host-key"], ["--user-data", "own.yml"], ["--network-version", "1"])
    for words in kinds:
        # Plain, as the tool does not unpack: with data of one's own it is larger than 16 KiB.
        control.freehold("image", "seed", "web-9", "--allow-secrets", "--form", "plain", *words)
        for host in (old, trixie):
            status, said = schema(host, (seeds / "user-data").read_bytes(), "cloud-config")
            assert status == 0, (words, said)
        # Debian 12's cloud-init has no schema for networks.
        status, said = schema(trixie, (seeds / "network-config").read_bytes(), "network-config")
        assert status == 0, said
    # The same tool does refuse what is wrong, so that its consent means something.
    for host in (old, trixie):
        assert schema(host, b"#cloud-config\nruncmd: true\n", "cloud-config")[0] != 0
    assert schema(trixie, b"version: 2\nethernets: {eth0: {dhcp4: maybe}}\n", "network-config")[0] != 0

    forms = {}
    own = ["--user-data", "own.yml", "--user-data", "hello.sh", "--allow-secrets"]
    for form in ("plain", "gzip", "mime"):
        control.freehold("image", "seed", "web-9", *own, "--form", form)
        data = (seeds / "user-data").read_bytes()
        forms[form] = [python(host, PARTS, stdin=data) for host in (old, trixie)]
    assert forms["plain"] == forms["gzip"] == forms["mime"]
    for parts in forms["mime"]:
        assert [kind for kind, _ in parts] == ["text/cloud-config", "text/x-shellscript"]
        assert "package_update: true" in parts[0][1]
        assert parts[1][1] == SCRIPT

    # NoCloud over HTTP, from the operator's computer.
    url = f"http://{rig.control_run(('hostname', '-I')).stdout.split()[0]}:8000/"
    for host in (old, trixie):
        serve = ("image", "seed", "web-9", "--golden", "--allow-secrets", "--serve", url[7:-1], "--once")
        printed = project / f"said-{host.name}"
        with rig.control_start((program("freehold"), *serve), cwd=project, stdout=printed) as serving:
            seen = python(host, SEEDED, url)
            assert serving.wait(60) == 0
        for word in ("kernel:", "QEMU:"):
            (line,) = [line for line in printed.read_text().splitlines() if line.startswith(word)]
            told = line.removeprefix(word).strip().strip("'").rpartition("serial=")[2]
            assert python(host, TOLD, told) == {"seedfrom": url}
        assert seen["meta"]["local-hostname"] == "web-9"
        assert seen["user"] == (seeds / "user-data").read_text()
        # Debian 12's release asks for no network-config.
        assert seen["network"] is None if host is old else seen["network"]["version"] == 2


def test_the_golden_images_renderer_writes_the_routes_that_were_meant(
    hosts: tuple[Host, Host], trixie: Host
) -> None:
    card = Interface(
        addresses=("192.0.2.10/24", "2001:db8::10/64"),
        gateway4="192.0.2.1",
        gateway6="2001:db8::1",
        nameservers=("192.0.2.53",),
        search=("example.com",),
        routes=(Route("198.51.100.7", "192.0.2.254"),),
    )
    text = dump(Network((card,)).v2()).encode()
    for host in (hosts[0], trixie):
        lines = python(host, RENDERED, stdin=text)["10-cloud-init-eth0.network"]
        routes = {
            (line, after) for line, after in itertools.pairwise(lines) if line.startswith("Destination=")
        }
        assert routes == {
            ("Destination=0.0.0.0/0", "Gateway=192.0.2.1"),
            ("Destination=::/1", "Gateway=2001:db8::1"),
            ("Destination=8000::/1", "Gateway=2001:db8::1"),
            ("Destination=198.51.100.7/32", "Gateway=192.0.2.254"),
        }
        assert {"DNS=192.0.2.53", "Domains=example.com"} <= set(lines)
