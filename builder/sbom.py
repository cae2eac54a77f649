"""The bill of materials of an image: SPDX 2.3 as JSON. A pure function of what is in the image."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from builder.installed import Installed

LICENSE = "CC0-1.0"
NONE = "NOASSERTION"


def purl(package: Installed, system: str, codename: str) -> str:
    """The package URL (purl-spec, type `deb`) that scanners match against advisories."""
    version = quote(package.version, safe=".~-+")
    return (
        f"pkg:deb/{system}/{quote(package.name, safe='.-+')}@{version}?arch={package.arch}&distro={codename}"
    )


def sbom(
    name: str,
    key: str,
    created: int,
    packages: Iterable[Installed],
    binaries: Mapping[str, str],
    *,
    system: str,
    codename: str,
) -> str:
    """The document. `binaries`: path of a file that no package brought → SHA-256; `created` in seconds."""
    root = "SPDXRef-image"
    entries: list[dict[str, Any]] = [_entry(root, name, key)]
    for package in packages:
        entry = _entry(_identifier(f"{package.name}-{package.arch}"), package.name, package.version)
        entry["sourceInfo"] = f"Debian source package {package.source}"
        entry["externalRefs"] = [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": purl(package, system, codename),
            }
        ]
        if package.homepage:
            entry["homepage"] = package.homepage
        entries.append(entry)
    for path, checksum in sorted(binaries.items()):
        entry = _entry(_identifier(path), path.rpartition("/")[2], NONE)
        entry["packageFileName"] = path
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
        entries.append(entry)
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": LICENSE,
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'freehold:sbom:{key}')}",
        "creationInfo": {
            "created": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: freehold"],
        },
        "documentDescribes": [root],
        "packages": entries,
        "relationships": [
            {"spdxElementId": root, "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
            for entry in entries[1:]
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def _entry(identifier: str, name: str, version: str) -> dict[str, Any]:
    entry = {
        "SPDXID": identifier,
        "name": name,
        "downloadLocation": NONE,
        "filesAnalyzed": False,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
    }
    if version != NONE:
        entry["versionInfo"] = version
    return entry


def _identifier(text: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", lambda found: f"-{ord(found[0]):02x}-", text.strip("/"))
