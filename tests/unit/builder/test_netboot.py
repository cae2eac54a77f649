"""Installing over the network: the set of files, the scripts, and the server that gives them out."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.barecli import netboot, parse_listen
from builder.bootserver import LOCAL, BootServer
from builder.disk import identity, layout
from builder.diskrule import parse_rule
from builder.image import Image
from builder.installer import PACKED, Installation, Live
from builder.netboot import NetHost, check_hosts, ipxe, parse_host, write_netboot
from builder.spec import ARCHES, GiB
from freehold.errors import FreeholdError, UsageError

SEED = {"user-data": b"#cloud-config\n", "meta-data": b"instance-id: x\n"}


@pytest.fixture
def live(tmp_path: Path) -> Live:
    folder = tmp_path / "live"
    folder.mkdir()
    for name in (*PACKED, "vmlinuz", "initrd.img"):
        (folder / name).write_bytes(name.encode())
    image = Image(folder, "imagekey", "trixie", "amd64", folder, folder, folder, "", folder, 2 * GiB)
    return Live("livekey", folder, layout(2 * GiB, ARCHES["amd64"], identity("x")), image)


def host(name: str, mac: str = "") -> NetHost:
    return NetHost(Installation(name, SEED, parse_rule("first-empty")), mac)


def test_hosts_are_told_apart_by_their_mac_addresses() -> None:
    assert parse_host("web-1") == ("web-1", "")
    assert parse_host("web-1=52-54-00-AB-00-01") == ("web-1", "52:54:00:ab:00:01")
    with pytest.raises(UsageError, match="no MAC address"):
        parse_host("web-1=52:54")
    with pytest.raises(UsageError, match="web-2 has none"):
        check_hosts([("web-1", "52:54:00:00:00:01"), ("web-2", "")])
    with pytest.raises(UsageError, match="given twice"):
        check_hosts([("web-1", "52:54:00:00:00:01"), ("web-2", "52:54:00:00:00:01")])


def test_a_machine_that_is_nobody_is_not_installed(live: Live) -> None:
    text = ipxe(live, [host("web-1", "52:54:00:00:00:01"), host("web-2", "52:54:00:00:00:02")])
    assert "iseq ${net${card}/mac} 52:54:00:00:00:02 && goto web-2 ||" in text
    assert text.index("\n:next_card\n") < text.index("iseq") < text.index("&& goto next_card ||")
    assert text.index("\nexit\n") < text.index("\n:web-1\n")


def test_the_set_is_whole_and_a_seed_is_its_owners(live: Live, tmp_path: Path) -> None:
    files = write_netboot(live, [host("web-1")], tmp_path / "set")
    assert set(files) == {
        "boot.ipxe",
        "vmlinuz",
        "initrd.img",
        "image.cpio",
        "hosts/web-1.cpio",
        "hosts/web-1.ipxe",
    }
    assert all(path.is_file() for path in files.values())
    assert files["hosts/web-1.cpio"].stat().st_mode & 0o777 == 0o600
    assert b"freehold/medium/image.zst" in files["image.cpio"].read_bytes()
    own = files["hosts/web-1.cpio"].read_bytes()
    assert b"freehold/medium/seed/user-data" in own and b"first-empty" in own
    assert "freehold=livekey" in files["hosts/web-1.ipxe"].read_text()


@pytest.fixture
def server(live: Live, tmp_path: Path) -> Iterator[BootServer]:
    files = write_netboot(live, [host("web-1")], tmp_path / "set")
    with BootServer("127.0.0.1", 0, files, lambda line: None) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def get(server: BootServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_only_the_set_is_served(server: BootServer, tmp_path: Path) -> None:
    (tmp_path / "set/secret").write_text("x")
    assert get(server, "/vmlinuz") == (200, b"vmlinuz")
    assert get(server, "/vmlinuz", "HEAD") == (200, b"")
    for path in ("/secret", "/", "/../live/vmlinuz", "/%2e%2e/live/vmlinuz", "/hosts/"):
        assert get(server, path)[0] == 404
    assert get(server, "/vmlinuz", "POST")[0] == 501


def test_a_host_is_installed_once(server: BootServer) -> None:
    assert b"kernel ../vmlinuz" in get(server, "/hosts/web-1.ipxe")[1]
    get(server, "/hosts/web-1.cpio")
    assert get(server, "/hosts/web-1.ipxe") == (200, LOCAL)


def test_an_address_of_another_machine_is_refused(live: Live) -> None:
    with pytest.raises(FreeholdError, match=r"192\.0\.2\.1:0 cannot be served") as caught:
        BootServer("192.0.2.1", 0, {}, lambda line: None)
    assert "--serve" in caught.value.hint
    assert "--serve" in {flag for option in netboot.params for flag in option.opts}


@pytest.mark.parametrize("text", ["", "web-1", "127.0.0.1:99999", "127.0.0.1:x", "0:80"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address to serve on"):
        parse_listen(text)


def test_addresses() -> None:
    assert parse_listen("127.0.0.1") == ("127.0.0.1", 80)
    assert parse_listen("127.0.0.1:8080") == ("127.0.0.1", 8080)
