"""Generates artifacts: things in a registry that are no container images.

OCI image spec 1.1, "Guidelines for Artifact Usage": `artifactType` with the empty
config, or (older, as Helm does) a config media type that names the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from auditor.demo.images import layer
from auditor.model import Layer, Platform
from auditor.sandbox.built import (
    Blob,
    BuiltImage,
    BuiltManifest,
    Family,
    blob_descriptor,
    json_blob,
    json_manifest,
    layer_descriptor,
    manifest_descriptor,
)
from auditor.sandbox.truth import Truth, total_size

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
    """An OCI artifact with the empty config; `subject`: what it refers to.

    Without `layers` it gets one of its own type.
    """
    if layers is None:
        layers = [layer(f"artifact {name}", media_type=artifact_type)]
    return _built(
        json_blob({}, EMPTY_CONFIG),
        layers,
        artifact_type=artifact_type,
        fields={"artifactType": artifact_type},
        subject=subject,
        annotations=annotations,
    )


def helm_chart(name: str, version: str = "1.0.0") -> BuiltImage:
    """A Helm chart: its config's media type says so, there is no `artifactType`."""
    return _built(
        json_blob({"apiVersion": "v2", "name": name, "version": version}, HELM_CONFIG),
        [layer(f"chart {name} {version}", media_type=HELM_LAYER)],
        artifact_type=HELM_CONFIG,
        fields={},
        annotations={
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": version,
        },
    )


def _built(
    config: Blob,
    layers: Sequence[Layer],
    *,
    artifact_type: str,
    fields: Mapping[str, object],
    subject: BuiltManifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    document = {
        **fields,
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
    content = Platform(
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
        size=total_size(tuple(layers)),
        layers=tuple(layers),
        layer_traits=(),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(config,),
        truth=Truth(
            digest=manifest.digest,
            media_type=manifest.media_type,
            artifact_type=artifact_type,
            platforms=(content,),
            annotations=manifest.annotations,
            source="artifact",
        ),
    )
