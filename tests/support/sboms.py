"""Builds SBOMs in every format, and the envelopes in which tools attach them.

    spdx([Package("openssl", "3.0.7-1", "pkg:deb/debian/openssl@3.0.7-1")])

SPDX 2.3 clause 7 and SPDX 3.0.1; CycloneDX 1.6; in-toto attestation spec v1; cosign
ATTESTATION_SPEC.md and BUNDLE_SPEC.md; BuildKit attestation-storage.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SPDX_PREDICATE = "https://spdx.dev/Document"
CYCLONEDX_PREDICATE = "https://cyclonedx.org/bom"


@dataclass(frozen=True, slots=True)
class Package:
    """An entry of an SBOM."""

    name: str
    version: str | None = None
    purl: str | None = None
    license: str | None = None


def spdx(packages: Iterable[Package], version: str = "2.3") -> bytes:
    """SPDX 2 as JSON."""
    entries = [
        {
            "SPDXID": f"SPDXRef-{number}",
            "name": one.name,
            "versionInfo": one.version,
            "downloadLocation": "NOASSERTION",
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": one.license or "NONE",
            "externalRefs": [
                {"referenceCategory": "SECURITY", "referenceType": "cpe23Type"},
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": one.purl,
                },
            ],
        }
        for number, one in enumerate(packages)
    ]
    return _json({"spdxVersion": f"SPDX-{version}", "packages": entries})


def tag_value(packages: Iterable[Package]) -> bytes:
    """SPDX 2 as tag-value text."""
    lines = ["# made by a test", "SPDXVersion: SPDX-2.3", "DocumentName: image"]
    for one in packages:
        lines += ["", f"PackageName: {one.name}", f"SPDXID: SPDXRef-{len(lines)}"]
        if one.version is not None:
            lines.append(f"PackageVersion: {one.version}")
        lines.append("PackageComment: <text>two\nPackageName: lines</text>")
        lines.append(f"PackageLicenseDeclared: {one.license or 'NOASSERTION'}")
        if one.purl is not None:
            lines.append(f"ExternalRef: PACKAGE-MANAGER purl {one.purl}")
    lines += ["", "FileName: ./bin/sh", "FileComment: PackageVersion: 1"]
    return "\n".join(lines).encode()


def spdx3(packages: Iterable[Package]) -> bytes:
    """SPDX 3 as JSON-LD; it has no licences."""
    graph: list[dict[str, Any]] = [
        {"type": "CreationInfo", "@id": "_:creation", "specVersion": "3.0.1"},
        {"type": "SpdxDocument", "name": "image"},
    ]
    for one in packages:
        element = {"type": "software_Package", "name": one.name}
        if one.version is not None:
            element["software_packageVersion"] = one.version
        if one.purl is not None:
            element["software_packageUrl"] = one.purl
        graph.append(element)
    context = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
    return _json({"@context": context, "@graph": graph})


def cyclonedx(packages: Iterable[Package], version: str = "1.6") -> bytes:
    """CycloneDX as JSON: each component is inside the one before it."""
    outermost: list[dict[str, Any]] = [{"type": "file", "name": "/bin/sh"}]
    components = outermost
    for one in packages:
        component: dict[str, Any] = {
            "type": "library",
            "name": one.name,
            "version": one.version,
            "purl": one.purl,
            "components": [],
        }
        if one.license is not None:
            component["licenses"] = [{"license": {"id": one.license}}]
        components.append(component)
        components = component["components"]
    return _json(
        {"bomFormat": "CycloneDX", "specVersion": version, "components": outermost}
    )


def syft(packages: Iterable[Package]) -> bytes:
    """syft's own JSON."""
    artifacts = [
        {
            "name": one.name,
            "version": one.version,
            "purl": one.purl,
            "licenses": [{"value": one.license}] if one.license else [],
        }
        for one in packages
    ]
    return _json(
        {
            "artifacts": artifacts,
            "descriptor": {"name": "syft", "version": "1.0.0"},
            "schema": {"version": "16.0.0"},
        }
    )


FORMATS = {
    "spdx": spdx,
    "tag_value": tag_value,
    "spdx3": spdx3,
    "cyclonedx": cyclonedx,
    "syft": syft,
}


def statement(
    sbom: bytes, digest: str, *, predicate_type: str = SPDX_PREDICATE
) -> bytes:
    """An in-toto statement about an image, as BuildKit pushes it."""
    algorithm, _, digits = digest.partition(":")
    predicate: object = sbom.decode()
    if sbom.startswith(b"{"):
        predicate = json.loads(sbom)
    return _json(
        {
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": predicate_type,
            "subject": [{"name": "pkg:docker/app", "digest": {algorithm: digits}}],
            "predicate": predicate,
        }
    )


def envelope(payload: bytes) -> bytes:
    """A DSSE envelope, as `cosign attest` pushes it."""
    return _json(
        {
            "payloadType": "application/vnd.in-toto+json",
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": "", "sig": "MEUCIQ=="}],
        }
    )


def sigstore_bundle(payload: bytes) -> bytes:
    """A sigstore bundle with a DSSE envelope."""
    return _json(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "key"}},
            "dsseEnvelope": json.loads(envelope(payload)),
        }
    )


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()
