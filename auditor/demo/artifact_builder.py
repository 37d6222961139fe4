"""Builds OCI artifacts: manifests that are not container images.

OCI image spec 1.1, "Guidelines for Artifact Usage": `artifactType` with the empty
config, or (older, as Helm does) a config media type that names the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.demo.image_builder import (
    BuiltBlob,
    BuiltImage,
    BuiltManifest,
    Family,
    ImageContent,
    blob_descriptor,
    json_blob,
    json_manifest,
    layer,
    layer_descriptor,
    manifest_descriptor,
    total_size,
)
from auditor.model import Layer, PlatformRecord

EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
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
    return _build(
        json_blob({}, EMPTY_CONFIG),
        layers,
        artifact_type=artifact_type,
        members={"artifactType": artifact_type},
        subject=subject,
        annotations=annotations,
    )


def helm_chart(name: str, version: str = "1.0.0") -> BuiltImage:
    """A Helm chart, which has a config media type of its own and no `artifactType`."""
    return _build(
        json_blob({"apiVersion": "v2", "name": name, "version": version}, HELM_CONFIG),
        [layer(f"chart {name} {version}", media_type=HELM_LAYER)],
        artifact_type=HELM_CONFIG,
        members={},
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
        },
    )


def _build(
    config: BuiltBlob,
    layers: Sequence[Layer],
    *,
    artifact_type: str,
    members: Mapping[str, object],
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    document = {
        **members,
        "config": blob_descriptor(config),
        "layers": [layer_descriptor(one) for one in layers],
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
    record = PlatformRecord(
        os=None,
        architecture=None,
        variant=None,
        os_version=None,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=config.digest,
        created=None,
        config=None,
        base=None,
        size=total_size(layers),
        layers=tuple(layers),
        layer_traits=(),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(config,),
        content=ImageContent(
            digest=manifest.digest,
            media_type=manifest.media_type,
            artifact_type=artifact_type,
            platforms=(record,),
            annotations=manifest.annotations,
            source="artifact",
        ),
    )
