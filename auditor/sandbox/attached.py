"""Generates what is attached to images: signatures, SBOMs, attestations.

    signed = cosign_signature(app.root)
    repository.add(signed, [digest_tag(app.root, ".sig")])

cosign specs (SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md, BUNDLE_SPEC.md),
notation signature-specification.md, BuildKit attestation-storage.md. The layers have
no bytes here: nothing is really signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auditor.sandbox.built import (
    BuiltImage,
    BuiltManifest,
    Family,
    blob_descriptor,
    json_blob,
    json_manifest,
    manifest_descriptor,
)
from auditor.sandbox.truth import Truth

EMPTY = "application/vnd.oci.empty.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = "application/vnd.dsse.envelope.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
NOTATION = "application/vnd.cncf.notary.signature"
SPDX_TEXT = "text/spdx"

SLSA = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


def digest_tag(subject: BuiltManifest, suffix: str = "") -> str:
    """The tag under which tools look for what is about a manifest."""
    return subject.digest.replace(":", "-") + suffix


def cosign_signature(subject: BuiltManifest) -> BuiltImage:
    """What `cosign sign` puts under the tag `.sig`: it has the config of an image."""
    return _attached(subject, SIMPLE_SIGNING, [{}], config=Family.OCI.config)


def cosign_attestation(
    subject: BuiltManifest, predicates: Sequence[str] = (SLSA,)
) -> BuiltImage:
    """What `cosign attest` puts under the tag `.att`."""
    said = [{"predicateType": one} for one in predicates]
    return _attached(subject, DSSE, said, config=Family.OCI.config)


def cosign_sbom(subject: BuiltManifest) -> BuiltImage:
    """What `cosign attach sbom` puts under the tag `.sbom`."""
    return _attached(subject, SPDX_TEXT, [{}], config=Family.OCI.config)


def bundle(
    subject: BuiltManifest, *, content: str | None = None, predicate: str | None = None
) -> BuiltImage:
    """A sigstore bundle that refers to its subject."""
    said = {
        "dev.sigstore.bundle.content": content,
        "dev.sigstore.bundle.predicateType": predicate,
    }
    return _attached(
        subject,
        BUNDLE,
        [{}],
        artifact_type=BUNDLE,
        refers=True,
        annotations={key: value for key, value in said.items() if value},
    )


def notation_signature(subject: BuiltManifest) -> BuiltImage:
    """What `notation sign` pushes: its config's media type says what it is."""
    return _attached(
        subject, "application/jose+json", [{}], config=NOTATION, refers=True
    )


def attestation(subject: BuiltManifest, predicates: Sequence[str]) -> BuiltImage:
    """BuildKit's attestation manifest: a layer for each statement."""
    said = [{"in-toto.io/predicate-type": one} for one in predicates]
    return _attached(subject, IN_TOTO, said, config=Family.OCI.config)


def referrers_index(manifests: Iterable[BuiltManifest]) -> BuiltImage:
    """What clients keep under the tag of a digest where there is no referrers API."""
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
        truth=Truth(digest=root.digest, media_type=root.media_type, source="index"),
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
                "digest": _digest(f"{layer_type} {number} of {subject.digest}"),
                "size": 1000 + number,
                "annotations": dict(said),
            }
            for number, said in enumerate(layer_annotations)
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
        # The registry tells the config's type where there is no artifactType.
        artifact_type=artifact_type or config,
        subject=subject.digest if refers else None,
    )
    return BuiltImage(
        manifests=(root,),
        blobs=(blob,),
        truth=Truth(digest=root.digest, media_type=root.media_type, source="artifact"),
    )


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
