"""Builds what is attached to images: signatures, SBOMs, attestations.

    signed = cosign_signature(app.root)
    repository.add(signed, [digest_tag(app.root, ".sig")])

cosign specs (SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md, BUNDLE_SPEC.md),
notation signature-specification.md, BuildKit attestation-storage.md. The layers have
no bytes: nothing is really signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auditor.demo.image_builder import (
    IN_TOTO,
    BuiltBlob,
    BuiltImage,
    BuiltManifest,
    Family,
    ImageContent,
    blob_descriptor,
    index,
    json_blob,
    json_manifest,
    manifest_descriptor,
)
from auditor.oci.descriptor import sha256_digest

EMPTY = "application/vnd.oci.empty.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
NOTATION = "application/vnd.cncf.notary.signature"
SPDX_TEXT = "text/spdx"

SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


def digest_tag(subject: BuiltManifest, suffix: str = "") -> str:
    """The tag of a manifest's attachments."""
    return subject.digest.replace(":", "-") + suffix


def cosign_signature(subject: BuiltManifest) -> BuiltImage:
    """What `cosign sign` pushes under the tag `.sig`: it has the config of an image."""
    return _attached(subject, SIMPLE_SIGNING, [{}], config=Family.OCI.config)


def cosign_attestation(
    subject: BuiltManifest, predicates: Sequence[str] = (SLSA,)
) -> BuiltImage:
    """What `cosign attest` pushes under the tag `.att`."""
    annotations = [{"predicateType": one} for one in predicates]
    return _attached(subject, DSSE, annotations, config=Family.OCI.config)


def cosign_sbom(subject: BuiltManifest) -> BuiltImage:
    """What `cosign attach sbom` pushes under the tag `.sbom`."""
    return _attached(subject, SPDX_TEXT, [{}], config=Family.OCI.config)


def bundle(
    subject: BuiltManifest, *, content: str | None = None, predicate: str | None = None
) -> BuiltImage:
    """A sigstore bundle that refers to its subject."""
    annotations = {
        "dev.sigstore.bundle.content": content,
        "dev.sigstore.bundle.predicateType": predicate,
    }
    return _attached(
        subject,
        BUNDLE,
        [{}],
        artifact_type=BUNDLE,
        refers=True,
        annotations={key: value for key, value in annotations.items() if value},
    )


def notation_signature(subject: BuiltManifest) -> BuiltImage:
    """What `notation sign` pushes: the media type of its config names it."""
    return _attached(
        subject, "application/jose+json", [{}], config=NOTATION, refers=True
    )


def attestation(
    subject: BuiltManifest, predicates: Sequence[str], *, refers: bool = False
) -> BuiltImage:
    """BuildKit's attestation manifest, with a layer for each statement."""
    annotations = [{"in-toto.io/predicate-type": one} for one in predicates]
    return _attached(
        subject, IN_TOTO, annotations, config=Family.OCI.config, refers=refers
    )


def referrers_index(manifests: Iterable[BuiltManifest]) -> BuiltImage:
    """What clients push under the tag of a digest if there is no referrers API."""
    entries = []
    for one in manifests:
        entry = manifest_descriptor(one)
        if one.artifact_type is not None:
            entry["artifactType"] = one.artifact_type
        if one.annotations:
            entry["annotations"] = dict(one.annotations)
        entries.append(entry)
    root = json_manifest({"manifests": entries}, media_type=Family.OCI.index)
    return BuiltImage(
        manifests=(root,),
        blobs=(),
        content=ImageContent(
            digest=root.digest, media_type=root.media_type, source="index"
        ),
    )


def _attached(
    subject: BuiltManifest,
    layer_type: str,
    layer_annotations: Sequence[Mapping[str, str]],
    *,
    config: str = EMPTY,
    artifact_type: str | None = None,
    refers: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> BuiltImage:
    blob = json_blob({"about": subject.digest}, config)
    document: dict[str, Any] = {
        "config": blob_descriptor(blob),
        "layers": [
            {
                "mediaType": layer_type,
                "digest": sha256_digest(
                    f"{layer_type} {number} of {subject.digest}".encode()
                ),
                "size": 1000 + number,
                "annotations": dict(one),
            }
            for number, one in enumerate(layer_annotations)
        ],
    }
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    if refers:
        document["subject"] = manifest_descriptor(subject)
    root = json_manifest(
        document,
        media_type=Family.OCI.manifest,
        annotations=annotations,
        # A registry returns the config's media type if there is no artifactType.
        artifact_type=artifact_type or config,
        subject=subject.digest if refers else None,
    )
    return BuiltImage(
        manifests=(root,),
        blobs=(blob,),
        content=ImageContent(
            digest=root.digest, media_type=root.media_type, source="artifact"
        ),
    )


def attested_index(
    children: Sequence[BuiltImage], predicates: Sequence[str]
) -> BuiltImage:
    """An index with a BuildKit attestation for each image, of these statement types.

    Without any, the statements do not contain their type.
    """
    if not predicates:
        return index(children, attested=True)
    attestations = [attestation(child.root, predicates) for child in children]
    return index(children, attestations=attestations)


def documents(
    subject: BuiltManifest,
    layers: Sequence[tuple[str, bytes, Mapping[str, str]]],
    *,
    config: str = EMPTY,
    artifact_type: str | None = None,
    refers: bool = False,
) -> BuiltImage:
    """An attachment with layers that have bytes: media type, content, annotations."""
    configured = json_blob({"about": subject.digest}, config)
    blobs = [
        BuiltBlob(media_type=media_type, content=body, digest=sha256_digest(body))
        for media_type, body, _ in layers
    ]
    document: dict[str, Any] = {
        "config": blob_descriptor(configured),
        "layers": [
            {**blob_descriptor(blob), "annotations": dict(annotations)}
            for blob, (_, _, annotations) in zip(blobs, layers, strict=True)
        ],
    }
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    if refers:
        document["subject"] = manifest_descriptor(subject)
    root = json_manifest(
        document,
        media_type=Family.OCI.manifest,
        artifact_type=artifact_type or config,
        subject=subject.digest if refers else None,
    )
    return BuiltImage(
        manifests=(root,),
        blobs=(configured, *blobs),
        content=ImageContent(
            digest=root.digest, media_type=root.media_type, source="artifact"
        ),
    )
