from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from deployer.transfer.tarsplit import assemble, assembled_size, chain_id


def split(data: bytes, headers: Path) -> None:
    """Write what Docker keeps of an archive: the bytes between the files' contents, and the files' names."""
    entries: list[dict[str, object]] = []
    position = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if not member.isreg() or not member.size:
                continue
            raw = data[position : member.offset_data]
            entries.append({"type": 2, "payload": base64.b64encode(raw).decode()})
            name = os.fsencode(member.name)
            key = {"name": name.decode()} if name.isascii() else {"name_raw": base64.b64encode(name).decode()}
            entries.append({"type": 1, "size": member.size, "payload": "AAAAAAAAAAA=", **key})
            position = member.offset_data + member.size
    entries.append({"type": 2, "payload": base64.b64encode(data[position:]).decode()})
    with gzip.open(headers, "wt") as out:
        out.writelines(json.dumps({**entry, "position": n}) + "\n" for n, entry in enumerate(entries))


@pytest.fixture
def layer(tmp_path: Path) -> tuple[bytes, Path, Path]:
    files = tmp_path / "diff"
    (files / "etc").mkdir(parents=True)
    (files / "etc" / "hosts").write_bytes(b"127.0.0.1 localhost\n")
    (files / "empty").touch()
    (files / "link").symlink_to("etc/hosts")
    (files / "gr\u00f6\u00dfe").write_bytes(os.urandom(300_000))
    (files / ".wh.gone").touch()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(files, ".")
    split(out.getvalue(), tmp_path / "headers.gz")
    return out.getvalue(), tmp_path / "headers.gz", files


def test_the_archive_comes_out_byte_for_byte(layer: tuple[bytes, Path, Path]) -> None:
    data, headers, files = layer
    assert b"".join(assemble(headers, files)) == data
    assert assembled_size(headers) == len(data)


def test_a_file_that_is_gone_is_told(layer: tuple[bytes, Path, Path]) -> None:
    _, headers, files = layer
    (files / "etc" / "hosts").unlink()
    with pytest.raises(FileNotFoundError):
        b"".join(assemble(headers, files))


def test_a_symbolic_link_is_never_followed(layer: tuple[bytes, Path, Path]) -> None:
    _, headers, files = layer
    (files / "etc" / "hosts").unlink()
    (files / "etc" / "hosts").symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        b"".join(assemble(headers, files))


def test_chain() -> None:
    first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert chain_id([first]) == first
    assert chain_id([first, second]) == "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
