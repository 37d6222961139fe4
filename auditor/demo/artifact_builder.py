"""Builds artifacts, Helm charts, and SBOMs as BuildKit and `oras attach` attach them.

    index(children, attestations=[sbom_attestation(child, packages) ...])
    sbom_artifact("team/api", packages, subject=both.root)

SPDX 2.3, clause 7; in-toto attestation spec v1, "Statement"; BuildKit docs,
"Attestation storage".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from auditor.demo.image_builder import (
    IN_TOTO,
    BuiltBlob,
    BuiltImage,
    BuiltManifest,
    Family,
    ImageContent,
    blob_descriptor,
    json_blob,
    json_descriptor,
    json_manifest,
    layer,
    manifest_descriptor,
    single_image,
)
from auditor.model import Layer
from auditor.oci.descriptor import OCI_EMPTY

HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_LAYER = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
SPDX = "application/spdx+json"


def artifact(
    name: str,
    *,
    artifact_type: str = SPDX,
    layers: Sequence[Layer] | None = None,
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    """An OCI artifact with the empty config, which may refer to a `subject`.

    Without `layers` it gets one of the artifact's type.
    """
    if layers is None:
        layers = [layer(f"artifact {name}", media_type=artifact_type)]
    return _artifact(
        json_blob({}, OCI_EMPTY),
        layers,
        artifact_type=artifact_type,
        members={"artifactType": artifact_type},
        subject=subject,
        annotations=annotations,
    )


def helm_chart(name: str, version: str = "1.0.0") -> BuiltImage:
    """A Helm chart, which has a config media type of its own and no `artifactType`."""
    return _artifact(
        json_blob({"apiVersion": "v2", "name": name, "version": version}, HELM_CONFIG),
        [layer(f"chart {name} {version}", media_type=HELM_LAYER)],
        artifact_type=HELM_CONFIG,
        members={},
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
        },
    )


def _artifact(
    config: BuiltBlob,
    layers: Sequence[Layer],
    *,
    artifact_type: str,
    members: Mapping[str, object],
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None,
) -> BuiltImage:
    document = {
        **members,
        "config": blob_descriptor(config),
        "layers": [
            json_descriptor(one.media_type, one.digest, one.size) for one in layers
        ],
    }
    if subject is not None:
        document["subject"] = manifest_descriptor(subject)
    manifest = json_manifest(
        document,
        media_type=Family.OCI.manifest,
        annotations=annotations,
        artifact_type=artifact_type,
        subject=subject.digest if subject else None,
    )
    return single_image(manifest, layers, None, config=config, source="artifact")


# -- SBOMs -----------------------------------------------------------------------------

_SPDX_PREDICATE = "https://spdx.dev/Document"


def sbom_attestation(subject: BuiltImage, packages: Sequence[str]) -> BuiltImage:
    """BuildKit's attestation manifest of an image: a statement with these packages.

    They are package URLs, `pkg:TYPE/NAME@VERSION`.
    """
    digest = subject.root.digest
    algorithm, _, digits = digest.partition(":")
    statement = json_blob(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "image", "digest": {algorithm: digits}}],
            "predicateType": _SPDX_PREDICATE,
            "predicate": _spdx("image", packages),
        },
        IN_TOTO,
    )
    config = json_blob(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
        },
        Family.OCI.config,
    )
    listed = {
        **blob_descriptor(statement),
        "annotations": {"in-toto.io/predicate-type": _SPDX_PREDICATE},
    }
    manifest = json_manifest(
        {"config": blob_descriptor(config), "layers": [listed]},
        media_type=Family.OCI.manifest,
    )
    content = ImageContent(
        digest=manifest.digest, media_type=manifest.media_type, source="artifact"
    )
    return BuiltImage(manifests=(manifest,), blobs=(config, statement), content=content)


def sbom_artifact(
    name: str, packages: Sequence[str], *, subject: BuiltManifest
) -> BuiltImage:
    """An artifact with an SPDX document about the subject, a referrer of it."""
    document = json_blob(_spdx(name, packages), SPDX)
    listed = Layer(digest=document.digest, size=len(document.content), media_type=SPDX)
    built = artifact(f"{name} sbom", layers=[listed], subject=subject)
    return replace(built, blobs=(*built.blobs, document))


def _spdx(name: str, packages: Sequence[str]) -> Mapping[str, Any]:
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "dataLicense": "CC0-1.0",
        "name": name,
        "packages": [_package(number, url) for number, url in enumerate(packages)],
    }


def _package(number: int, url: str) -> dict[str, Any]:
    named, _, version = url.partition("?")[0].partition("@")
    purl = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": url,
    }
    return {
        "SPDXID": f"SPDXRef-{number}",
        "name": named.rpartition("/")[2],
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "externalRefs": [purl],
    }
