"""The archive that `docker load` reads, with only some of its layers: pure.

A graph driver opens a layer's file only where it lacks the layer; containerd takes an index whose
layers it holds already. Both were seen with Docker 20.10 and 26.1. An archive is a tar file made of
one small piece (configuration, manifest) and one piece a layer, each compressed on its own: both
zstd and gzip read such pieces in a row as one stream, so a piece is compressed once for all hosts.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence

from deployer.engine.engine import Store
from deployer.transfer.image import normalized

END = bytes(1024)
_BLOBS = "blobs/sha256/"
_OCI = "application/vnd.oci.image"


def layer_name(diff_id: str) -> str:
    """Where a layer lies in the archive."""
    return _BLOBS + diff_id.removeprefix("sha256:")


def header(name: str, size: int) -> bytes:
    """The tar header of a file: no owner, no time, so that the same content gives the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    # GNU writes sizes past 8 GiB; ustar could not.
    return entry.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What fills a file up to the next block."""
    return bytes(-size % 512)


def member(name: str, data: bytes) -> bytes:
    """A small file as it stands in the archive."""
    return header(name, len(data)) + data + padding(len(data))


def digest(data: bytes) -> str:
    """`sha256:…` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def oci_manifest(config: bytes, layers: Sequence[str], sizes: Mapping[str, int]) -> bytes:
    """The manifest of an image with uncompressed layers; `sizes` of their archives in bytes by diffID."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": {
                "mediaType": f"{_OCI}.config.v1+json",
                "digest": digest(config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": f"{_OCI}.layer.v1.tar", "digest": layer, "size": sizes[layer]}
                for layer in layers
            ],
        }
    )


def graph_head(reference: str, config: bytes, layers: Sequence[str]) -> bytes:
    """All but the layers, for an engine with a graph driver."""
    name = digest(config).removeprefix("sha256:") + ".json"
    manifest = [{"Config": name, "RepoTags": [reference], "Layers": [layer_name(layer) for layer in layers]}]
    return member(name, config) + member("manifest.json", _json(manifest))


def containerd_head(reference: str, config: bytes, manifest: bytes) -> bytes:
    """All but the layers, for an engine that keeps images in containerd."""
    entry = {
        "mediaType": f"{_OCI}.manifest.v1+json",
        "digest": digest(manifest),
        "size": len(manifest),
        "annotations": {
            "io.containerd.image.name": normalized(reference),
            "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
        },
    }
    return b"".join(
        (
            member("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
            member("index.json", _json({"schemaVersion": 2, "manifests": [entry]})),
            member(layer_name(digest(manifest)), manifest),
            member(layer_name(digest(config)), config),
        )
    )


def head(
    store: Store, reference: str, config: bytes, layers: Sequence[str], sizes: Mapping[str, int]
) -> bytes:
    """All but the layers, for a host's kind of store."""
    if store == "graph":
        return graph_head(reference, config, layers)
    return containerd_head(reference, config, oci_manifest(config, layers, sizes))
