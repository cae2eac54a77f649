"""passt or slirp: what each is told, and the probe that finds which carries machines that may leave."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

import pytest

from freehold.environment import which
from lab import daemon
from lab.domain import domain_xml
from lab.usernet import Management, install_passt
from lab.virtpasst import probe_xml, shortly
from tests.conftest import cannot_run
from tests.unit.lab.test_domain import DOMAIN, MANAGEMENT, arguments

ROOT = Path(__file__).parents[3]
LEAVING = replace(DOMAIN, management=replace(MANAGEMENT, internet=True, passt=True))
# A network namespace with a way out that leads nowhere: passt wants to know where it would send from.
ASKED = """\
import sys
from pathlib import Path
from freehold.process import LocalRunner
from lab import daemon, sweep
from lab.virt import Virt
from lab.virtpasst import why_not_passt
runtime = Path(sys.argv[1])
daemon.ensure(runtime, LocalRunner())
try:
    uri = f"qemu+unix:///session?socket={daemon._socket(runtime)}"
    with Virt(uri) as virt:
        print("why:", why_not_passt(virt, uri, runtime, "x86_64"))
        print("left:", [item.name for item in sweep.processes([runtime]) if "virt" not in item.name])
finally:
    daemon.end(runtime)
"""
INSIDE = """\
set -eu
ip link set lo up
ip link add out type veth peer name far
ip address add 192.0.2.2/24 dev out
ip link set out up
ip link set far up
ip route add default via 192.0.2.1
exec "$@"
"""


def test_passt_is_libvirts_and_gives_the_machine_what_slirp_gives() -> None:
    card = ET.fromstring(domain_xml(LEAVING)).find("./devices/interface[@type='user']")
    assert card is not None
    assert card.find("backend[@type='passt']") is not None
    assert card.find("ip[@address='198.18.1.15'][@prefix='24']") is not None
    assert [(item.get("address"), *item[0].attrib.values()) for item in card.findall("portForward")] == [
        ("127.80.3.11", "2222", "22"),
        ("127.80.3.11", "8080", "80"),
    ]
    # The machine finds its card in the same slot, and faults find it by the same name.
    assert card.find("address[@slot='0x10']") is not None and card.find("alias[@name='ua-net']") is not None
    slirp = arguments(replace(DOMAIN, management=replace(MANAGEMENT, internet=True)))
    assert any("id=ua-net" in word and "addr=0x10" in word for word in slirp)
    assert not any("netdev=management" in word or "hostfwd" in word for word in arguments(LEAVING))


def test_a_machine_that_must_not_leave_is_never_on_passt() -> None:
    with pytest.raises(ValueError, match="cannot keep a machine from leaving"):
        Management("52:54:00:00:00:01", "127.80.3.11", (), internet=False, passt=True)


@pytest.mark.needs("virt-xml-validate")
@pytest.mark.parametrize("text", [domain_xml(LEAVING), probe_xml("x86_64"), probe_xml("aarch64")])
def test_libvirts_schema_accepts_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(text)
    done = subprocess.run(["virt-xml-validate", path, "domain"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("passt")
def test_the_passt_that_libvirt_finds_keeps_this_computers_services_to_itself(tmp_path: Path) -> None:
    assert install_passt(tmp_path / "bin")
    text = (tmp_path / "bin" / "passt").read_text()
    assert "--no-map-gw" in text and "--gateway 198.18.1.2" in text
    assert subprocess.run([tmp_path / "bin" / "passt", "--version"], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("message", "short"),
    [
        (
            "it does not start: internal error: Child process (passt -t 22) unexpected exit status 1: "
            "Failed to send 69 bytes to syslog\nNo external routable interface\n",
            "No external routable interface",
        ),
        (
            "it does not start: XML document failed\nto validate",
            "it does not start: XML document failed to validate",
        ),
    ],
)
def test_why_passt_does_not_work_is_told_on_a_line(message: str, short: str) -> None:
    assert shortly(message) == short


@pytest.fixture
def place() -> Iterator[Path]:
    if not any(which(name) for name in daemon.PROGRAMS):
        cannot_run("unit", "no libvirt daemon is installed")
    # Whatever TMPDIR says: paths of sockets are short.
    with TemporaryDirectory(prefix="fh", dir="/tmp") as folder:
        yield Path(folder)


def ask(runtime: Path, cache: Path) -> list[str]:
    """The probe's answer and what it left, in a network namespace of its own."""
    words = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", INSIDE, "sh"]
    done = subprocess.run(
        [*words, sys.executable, "-c", ASKED, runtime],
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "FREEHOLD_CACHE": str(cache),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.needs("passt", "unshare", "ip", "qemu-system-x86_64")
def test_the_probe_starts_a_machine_on_passt_and_leaves_nothing(place: Path, tmp_path: Path) -> None:
    assert ask(place / "lab", tmp_path) == ["why: ", "left: []"]
    # There libvirt can run a lab's machines, but the path of passt's socket is too long.
    deep = place / ("d" * (40 - len(str(place))))
    why, left = ask(deep, tmp_path)
    assert len(why) > len("why: ") and left == "left: []"
