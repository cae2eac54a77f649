"""What layers are made of: dpkg's lists, dates, commands, documents."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from builder import oci
from builder.configured import tree_tar
from builder.installed import Installed, installed
from builder.payload import Payload, TreeFile, payload
from builder.rootfs import mmdebstrap, release_epoch
from builder.sbom import sbom
from cloudinit.cloudconfig import recipe_config
from cloudinit.profile import parse_profile
from cloudinit.recipe import make_recipe
from cloudinit.script import as_script
from freehold.errors import BuildError

STATUS = """\
Package: libc6
Status: install ok installed
Installed-Size: 12
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u13
Description: C library
 continued: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2-1:x
"""


def test_installed_packages_by_name() -> None:
    assert installed(STATUS) == (
        Installed("bash", "5.2-1:x", "amd64", "bash", 0),
        Installed("libc6", "2.36-9+deb12u13", "amd64", "glibc", 12 * 1024),
    )


def test_epoch_is_the_newest_release() -> None:
    text = (
        "Origin: Debian\nDate: Sat, 06 Sep 2025 08:11:04 UTC\n"
        "Date: Sun, 07 Sep 2025 00:00:00 UTC\nValid-Until: Mon, 01 Jan 2035 00:00:00 UTC\n"
    )
    assert release_epoch(text) == 1757203200


def test_release_without_a_date() -> None:
    with pytest.raises(BuildError, match="no date"):
        release_epoch("Origin: Debian\n")


def test_mmdebstrap_installs_no_recommends() -> None:
    command = mmdebstrap("arm64", ("a", "b"), variant="minbase")
    assert "--include=a,b" in command
    assert "--architectures=arm64" in command
    assert '--aptopt=Apt::Install-Recommends "false"' in command
    assert not any(word.startswith("--include") for word in mmdebstrap("arm64", (), variant="essential"))


def test_tree_tar_belongs_to_root_and_is_the_same_whatever_the_order() -> None:
    files = (TreeFile("/etc/b", b"2", 0o600), TreeFile("/etc/a", b"1"))
    data = tree_tar(files, 1000)
    assert data == tree_tar(files[::-1], 1000)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        entries = [(e.name, e.mode, e.uid, e.gid, e.mtime) for e in archive.getmembers()]
    assert entries == [("etc/a", 0o644, 0, 0, 1000), ("etc/b", 0o600, 0, 0, 1000)]


def test_an_image_runs_the_recipe_that_a_seed_carries_and_a_server_is_sent() -> None:
    """The bare-metal installer writes that image; test_vendor.py asks the hosts themselves."""
    profile = parse_profile("users: [ops]\nswap: 1GiB\nfirewall: {open: [5432]}\n")
    (written,) = recipe_config(make_recipe(profile))["write_files"]
    carried = gzip.decompress(base64.b64decode(written["content"])).decode()
    assert carried == as_script(make_recipe(profile), offline=False)
    assert payload(profile, "bookworm").script.replace("FREEHOLD_OFFLINE=1", "FREEHOLD_OFFLINE=0") == carried


def test_payload_key_follows_content(tmp_path: Path) -> None:
    binary = tmp_path / "caddy"
    binary.write_bytes(b"one")
    payload = Payload(binaries={"/usr/local/bin/caddy": binary}, script="true")
    before = payload.key()
    assert payload.key() == before
    assert Payload(binaries=payload.binaries, script="false").key() != before
    binary.write_bytes(b"two")
    assert payload.key() != before


def test_missing_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="caddy is missing"):
        Payload(binaries={"/usr/local/bin/caddy": tmp_path / "caddy"}).key()


def archive(tmp_path: Path, name: str) -> Path:
    layer = tmp_path / "layer.tar"
    with tarfile.open(layer, "w") as stream:
        stream.addfile(tarfile.TarInfo("etc"))
    target = tmp_path / name
    oci.write_archive(target, "acme/base:1", layer, "amd64", 1_700_000_000)
    return target


def test_archive_is_reproducible_and_every_digest_is_true(tmp_path: Path) -> None:
    target = archive(tmp_path, "one.tar")
    assert target.read_bytes() == archive(tmp_path, "two.tar").read_bytes()
    with tarfile.open(target) as stream:
        content = {e.name: f.read() for e in stream.getmembers() if (f := stream.extractfile(e))}
    blobs = {name: data for name, data in content.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    (entry,) = json.loads(content["manifest.json"])
    assert entry["RepoTags"] == ["acme/base:1"]
    config = json.loads(content[entry["Config"]])
    assert config["rootfs"]["diff_ids"] == [
        "sha256:" + hashlib.sha256(content[name]).hexdigest() for name in entry["Layers"]
    ]
    (pointer,) = json.loads(content["index.json"])["manifests"]
    manifest = json.loads(content[oci.blob(pointer["digest"])])
    assert oci.blob(manifest["config"]["digest"]) == entry["Config"]
    assert manifest["config"]["size"] == len(content[entry["Config"]])
    assert pointer["annotations"]["io.containerd.image.name"] == "docker.io/acme/base:1"


def test_sbom_names_packages_and_foreign_binaries() -> None:
    text = sbom(
        "image",
        "key",
        0,
        installed(STATUS),
        {"/usr/local/bin/caddy": "ab" * 32},
        system="debian",
        codename="x",
    )
    document = json.loads(text)
    names = {package["name"]: package for package in document["packages"]}
    assert set(names) == {"image", "libc6", "bash", "caddy"}
    locator = names["libc6"]["externalRefs"][0]["referenceLocator"]
    assert locator == "pkg:deb/debian/libc6@2.36-9+deb12u13?arch=amd64&distro=x"
    assert names["caddy"]["checksums"][0]["checksumValue"] == "ab" * 32
    identifiers = [package["SPDXID"] for package in document["packages"]]
    assert len(set(identifiers)) == len(identifiers)
    related = {relation["relatedSpdxElement"] for relation in document["relationships"]}
    assert related == set(identifiers) - {"SPDXRef-image"}
