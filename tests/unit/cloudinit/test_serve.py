from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from cloudinit.serve import kernel_argument, read_address, serve, smbios_argument
from freehold.errors import FreeholdError, UsageError

FILES = {"meta-data": b"instance-id: a\n", "user-data": b"#cloud-config\n", "vendor-data": b""}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        data: bytes = answer.read()
    return data


def test_a_seed_is_served_until_a_machine_has_it_all() -> None:
    lines: list[str] = []
    with serve(FILES, "127.0.0.1", 0, lines.append) as running:
        assert get(running.url + "meta-data") == FILES["meta-data"]
        assert get(running.url + "user-data") == FILES["user-data"]
        assert not running.fetched.is_set()
        assert get(running.url + "vendor-data") == b""
        assert running.fetched.wait(10)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(running.url + "network-config")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(running.url + "../etc/passwd")
        port = int(running.url.rstrip("/").rpartition(":")[2])
        with (
            pytest.raises(FreeholdError, match="Address already in use"),
            serve(FILES, "127.0.0.1", port, lines.append),
        ):
            pass
    assert lines[0] == "127.0.0.1 asks for meta-data"
    assert lines[3] == "127.0.0.1 asks for network-config: not there"
    with pytest.raises(urllib.error.URLError):
        get(running.url + "meta-data")


def test_the_words_for_a_machine() -> None:
    assert kernel_argument("http://h:1/") == "ds=nocloud-net;s=http://h:1/"
    assert smbios_argument("http://h:1/a,b/") == "-smbios 'type=1,serial=ds=nocloud-net;s=http://h:1/a,,b/'"


def test_addresses_to_serve_on() -> None:
    assert read_address("8000") == ("127.0.0.1", 8000)
    assert read_address("[::1]:80") == ("::1", 80)
    for text in ("0.0.0.0:80", "[::]:80"):
        with pytest.raises(UsageError, match="every address"):
            read_address(text)
    for text in ("", "here", "a:b", "h:70000"):
        with pytest.raises(UsageError, match="no address"):
            read_address(text)
