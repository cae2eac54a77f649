"""Container images as archives. Pure: from a layer's digest and size to the documents around it.

The archive is both things at once: an OCI image layout (`index.json`, `blobs/`; podman, skopeo,
Docker 25 or newer) and what `docker load` has always read (`manifest.json`).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.store import file_digest

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Document:
    """A blob of an image: its bytes, named by their SHA-256."""

    data: bytes

    @property
    def digest(self) -> str:
        """`sha256:…`"""
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    def descriptor(self, media_type: str) -> dict[str, Any]:
        """How another document points to it."""
        return {"mediaType": media_type, "digest": self.digest, "size": len(self.data)}


def document(value: Any) -> Document:
    """JSON in one fixed form, so that its digest is a function of its content."""
    return Document(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def config(layer: str, arch: str, created: int, labels: Mapping[str, str]) -> Document:
    """The image's configuration. `layer` is the digest of the uncompressed layer."""
    when = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return document(
        {
            "architecture": arch,
            "os": "linux",
            "created": when,
            "config": {"Env": [f"PATH={PATH}", "LANG=C.UTF-8"], "Cmd": ["sh"], "Labels": dict(labels)},
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": when, "created_by": "freehold image base"}],
        }
    )


def documents(
    reference: str, layer: str, layer_size: int, configuration: Document
) -> tuple[dict[str, bytes], Document]:
    """File name → content of all but the layer, and the image's manifest."""
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": configuration.descriptor(CONFIG_TYPE),
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": layer_size}],
        }
    )
    name, _, tag = reference.rpartition(":")
    pointer = manifest.descriptor(MANIFEST_TYPE)
    pointer["annotations"] = {
        "io.containerd.image.name": f"docker.io/{name if '/' in name else f'library/{name}'}:{tag}",
        "org.opencontainers.image.ref.name": tag,
    }
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [pointer],
    }
    load = [{"Config": blob(configuration.digest), "RepoTags": [reference], "Layers": [blob(layer)]}]
    files = {
        blob(configuration.digest): configuration.data,
        blob(manifest.digest): manifest.data,
        "index.json": document(index).data,
        "manifest.json": document(load).data,
        "oci-layout": document({"imageLayoutVersion": "1.0.0"}).data,
    }
    return files, manifest


def blob(digest: str) -> str:
    """Where a digest's bytes stand in the archive."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def write_archive(target: Path, reference: str, layer: Path, arch: str, created: int) -> Document:
    """Write the archive around the uncompressed tar `layer`; returns the configuration (the image's id)."""
    digest = "sha256:" + file_digest(layer)
    configuration = config(digest, arch, created, {"freehold.base": reference})
    files, _ = documents(reference, digest, layer.stat().st_size, configuration)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("blobs", "blobs/sha256"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, created
            archive.addfile(folder)
        for name, data in sorted(files.items()):
            entry = _entry(name, len(data), created)
            archive.addfile(entry, io.BytesIO(data))
        with layer.open("rb") as stream:
            archive.addfile(_entry(blob(digest), layer.stat().st_size, created), stream)
    return configuration


def _entry(name: str, size: int, created: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, created
    return entry
