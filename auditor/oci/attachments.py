"""What hangs on an image, told by media types and annotations.

Sources: OCI image-spec 1.1 manifest.md ("Guidelines for Artifact Usage"); cosign
specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md and BUNDLE_SPEC.md; notation
specs/signature-specification.md; in-toto attestation spec (predicates); BuildKit
docs/attestations/attestation-storage.md; the IANA types of SPDX and CycloneDX.

Everything here is what a thing says of itself. Nothing is verified.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import assert_never

from auditor.fast_dataclass import dataclass
from auditor.model import Attachment, AttachmentKind
from auditor.oci import descriptor as media_types
from auditor.oci import reference_grammar as grammar
from auditor.oci.descriptor import Descriptor, essence
from auditor.oci.manifest import ImageManifest, Manifest
from auditor.oci.schema1 import Schema1Manifest

_SIGNATURES = (
    "application/vnd.dev.cosign.simplesigning.",
    "application/vnd.dev.cosign.artifact.sig.",
    "application/vnd.cncf.notary.signature",
)
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_STATEMENTS = ("in-toto", "dsse.envelope", "cosign.artifact.att.", ".attestation.")
_SBOM_WORDS = ("spdx", "cyclonedx", "syft", "cosign.artifact.sbom.")
_PROVENANCE_WORDS = ("provenance",)
# Where an artifact says nothing of its type.
_NO_TYPES = frozenset({None, media_types.OCI_EMPTY})
# Under which a manifest, a layer or a descriptor says what a statement is about.
_PREDICATE_KEYS = (
    "in-toto.io/predicate-type",  # BuildKit
    "predicateType",  # cosign, on layers
    "dev.sigstore.bundle.predicateType",  # cosign, on manifests
)
_BUNDLE_CONTENT = "dev.sigstore.bundle.content"
# What cosign signs since bundles are its format: a statement that says "signed".
_SIGNING_PREDICATE = "https://sigstore.dev/cosign/sign/"
# One attachment with more says nothing that an inventory needs.
MAX_PREDICATES = 16


class Evidence(StrEnum):
    """What an attachment can say that an image has."""

    SIGNATURE = "signature"
    SBOM = "sbom"
    PROVENANCE = "provenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentEvidence:
    """What is surely there, and what may be: nothing that was fetched says."""

    sure: frozenset[Evidence] = frozenset()
    possible: frozenset[Evidence] = frozenset()


def attachment_from_descriptor(
    descriptor: Descriptor, subject: str | None
) -> Attachment:
    """What the list of referrers (or an index) says of an attachment of `subject`."""
    return _attachment(
        descriptor.digest,
        subject,
        artifact_type=descriptor.artifact_type,
        types=(),
        annotations=(descriptor.annotations,),
        attested=descriptor.attests is not None,
    )


def attachment_from_manifest(
    digest: str, subject: str | None, manifest: Manifest, *, attested: bool = False
) -> Attachment:
    """What an attachment's own manifest says.

    `attested`: the index that names it says that it is an attestation.
    """
    if isinstance(manifest, Schema1Manifest):
        return _attachment(
            digest, subject, artifact_type=None, types=(), annotations=(),
            attested=attested, looked=True,
        )  # fmt: skip
    types: tuple[str, ...] = ()
    annotations = [manifest.annotations]
    if isinstance(manifest, ImageManifest):
        types = tuple(layer.media_type or "" for layer in manifest.layers)
        annotations += [layer.annotations for layer in manifest.layers]
    artifact_type = manifest.artifact_type
    if essence(artifact_type) in _NO_TYPES and len(set(types)) == 1:
        # cosign's tags and BuildKit's attestations have the config of an image.
        artifact_type = types[0] or None
    return _attachment(
        digest,
        subject,
        artifact_type=artifact_type,
        types=types,
        annotations=annotations,
        attested=attested,
        looked=True,
    )


def needs_manifest(attachment: Attachment) -> bool:
    """Whether its manifest, which was not looked into, tells more than is known.

    Some registries (go-containerregistry's) list the type of the config, which is the
    empty one, where the manifest has an artifactType.
    """
    if attachment.predicates == ():
        return False
    return essence(attachment.artifact_type) in _NO_TYPES or (
        attachment.kind is AttachmentKind.ATTESTATION and attachment.predicates is None
    )


def evidence_of(attachment: Attachment) -> AttachmentEvidence:
    """What an attachment says that its subject has."""
    artifact_type = essence(attachment.artifact_type)
    if attachment.predicates:
        return AttachmentEvidence(
            sure=frozenset(
                claim
                for predicate in attachment.predicates
                if (claim := _claim(predicate)) is not None
            )
        )
    match attachment.kind:
        case AttachmentKind.SIGNATURE:
            return AttachmentEvidence(sure=frozenset({Evidence.SIGNATURE}))
        case AttachmentKind.SBOM:
            return AttachmentEvidence(sure=frozenset({Evidence.SBOM}))
        case AttachmentKind.ATTESTATION:
            if artifact_type is not None and artifact_type.startswith(_BUNDLE):
                return AttachmentEvidence(possible=frozenset(Evidence))
            return AttachmentEvidence(
                possible=frozenset({Evidence.SBOM, Evidence.PROVENANCE})
            )
        case AttachmentKind.ARTIFACT:
            unclear = artifact_type in _NO_TYPES and attachment.predicates is None
            return AttachmentEvidence(
                possible=frozenset(Evidence) if unclear else frozenset()
            )
        case _:
            assert_never(attachment.kind)


def _attachment(
    digest: str,
    subject: str | None,
    *,
    artifact_type: str | None,
    types: Iterable[str],
    annotations: Iterable[Mapping[str, str]],
    attested: bool,
    looked: bool = False,
) -> Attachment:
    annotations = tuple(annotations)
    found = {
        predicate
        for one in annotations
        for key in _PREDICATE_KEYS
        if (predicate := one.get(key))
    }
    predicates = tuple(sorted(found))[:MAX_PREDICATES]
    names = {essence(name) or "" for name in (artifact_type, *types)}
    contents = {one.get(_BUNDLE_CONTENT) for one in annotations}
    return Attachment(
        kind=_kind(names, predicates, contents, attested=attested),
        artifact_type=artifact_type,
        digest=digest,
        subject=subject,
        predicates=predicates if predicates or looked else None,
    )


def _kind(
    names: set[str],
    predicates: tuple[str, ...],
    contents: set[str | None],
    *,
    attested: bool,
) -> AttachmentKind:
    if predicates and all(map(_is_signing, predicates)):
        return AttachmentKind.SIGNATURE
    if attested or predicates:
        return AttachmentKind.ATTESTATION
    if any(name.startswith(_SIGNATURES) for name in names):
        return AttachmentKind.SIGNATURE
    if any(name.startswith(_BUNDLE) for name in names):
        if "message-signature" in contents:
            return AttachmentKind.SIGNATURE
        return AttachmentKind.ATTESTATION
    if any(word in name for name in names for word in _STATEMENTS):
        return AttachmentKind.ATTESTATION
    if any(word in name for name in names for word in _SBOM_WORDS):
        return AttachmentKind.SBOM
    return AttachmentKind.ARTIFACT


def _claim(predicate: str) -> Evidence | None:
    if _is_signing(predicate):
        return Evidence.SIGNATURE
    name = predicate.lower()
    if any(word in name for word in _PROVENANCE_WORDS):
        return Evidence.PROVENANCE
    if any(word in name for word in _SBOM_WORDS):
        return Evidence.SBOM
    return None


def _is_signing(predicate: str) -> bool:
    return predicate.startswith(_SIGNING_PREDICATE)


# -- digest_tag --
# Tags that stand for another image's digest: `sha256-<hex>`, with or without suffix.
#
# What cosign attaches (`.sig`, `.att`, `.sbom`; cosign, specs/SIGNATURE_SPEC.md), and the
# fallback of the OCI distribution-spec, section "Referrers Tag Schema".

_DIGEST_TAG = re.compile(
    "(?:"
    + "|".join(f"{a}-[a-f0-9]{{{n}}}" for a, n in grammar.HEX_CHARS.items())
    + r")(?:\.[a-z0-9]+)?"
)


def is_digest_tag(tag: str) -> bool:
    """Whether a tag only says of which digest it holds something."""
    return _DIGEST_TAG.fullmatch(tag) is not None
