"""Attachments: signatures, SBOMs, attestations and other artifacts of an image.

Their kind is derived from media types and annotations. Nothing is verified here.

Sources: OCI image-spec 1.1 manifest.md ("Guidelines for Artifact Usage"); cosign
specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md and BUNDLE_SPEC.md; notation
specs/signature-specification.md; in-toto attestation spec (predicates); BuildKit
docs/attestations/attestation-storage.md; the IANA types of SPDX and CycloneDX; OCI
distribution-spec, "Referrers Tag Schema".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import assert_never

from auditor.fast_dataclass import dataclass
from auditor.model import Attachment, AttachmentKind, Layer
from auditor.oci import reference_grammar as grammar
from auditor.oci.descriptor import (
    IMAGE_CONFIG_TYPES,
    OCI_EMPTY,
    REFERENCE_DIGEST,
    REFERENCE_TYPE,
    Descriptor,
    essence,
    is_digest,
)
from auditor.oci.manifest import ImageManifest, Manifest
from auditor.oci.schema1 import Schema1Manifest
from auditor.oci.strict_json import cut_name

_SIGNATURES = (
    "application/vnd.dev.cosign.simplesigning.",
    "application/vnd.dev.cosign.artifact.sig.",
    "application/vnd.cncf.notary.signature",
)
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_STATEMENTS = ("in-toto", "dsse.envelope", "cosign.artifact.att.", ".attestation.")
_SBOM_WORDS = ("spdx", "cyclonedx", "syft", "cosign.artifact.sbom.")
_PROVENANCE_WORDS = ("provenance",)
# Types of artifacts that state no type: a list of referrers has the config's type then.
_NO_TYPES = frozenset({None, OCI_EMPTY}) | IMAGE_CONFIG_TYPES
# Annotations of manifests, layers and descriptors with the predicate of a statement.
_PREDICATE_KEYS = (
    "in-toto.io/predicate-type",  # BuildKit
    "predicateType",  # cosign, on layers
    "dev.sigstore.bundle.predicateType",  # cosign, on manifests
)
_BUNDLE_CONTENT = "dev.sigstore.bundle.content"
# The predicate of cosign's signatures in bundle format.
SIGNING_PREDICATE = "https://sigstore.dev/cosign/sign/"
# More predicates of one attachment would be of no use in a report.
MAX_PREDICATES = 16
# Annotations of an attachment in a record: those that people write are a few words.
MAX_ANNOTATIONS = 8
MAX_ANNOTATIONS_CHARS = 1024
# When the support of an image ends, as `YYYY-MM-DD` or RFC 3339, in an artifact of this
# type that is attached to it. Source: github.com/microsoft/go-infra, cmd/azoras, and
# github.com/dotnet/docker-tools, LifecycleMetadataService.
LIFECYCLE_TYPE = "application/vnd.microsoft.artifact.lifecycle"
END_OF_LIFE = "vnd.microsoft.artifact.lifecycle.end-of-life.date"
# What other fields of the attachment say.
_KNOWN_ANNOTATIONS = frozenset(
    {*_PREDICATE_KEYS, _BUNDLE_CONTENT, REFERENCE_TYPE, REFERENCE_DIGEST}
)
# `sha256-<hex>[.suffix]`: cosign's `.sig`, `.att` and `.sbom`, and the fallback tag of
# the referrers API.
DIGEST_TAG = (
    "(?:"
    + "|".join(f"{a}-[a-f0-9]{{{n}}}" for a, n in grammar.HEX_CHARS.items())
    + r")(\.[a-z0-9]+)?"
)
# The fallback tag of a longer digest has its first 64 digits only: a tag has at most
# 128 characters, and that of a whole sha512 digest would have 135.
MAX_FALLBACK_HEX = 64
_CUT_ALGORITHMS = "|".join(
    algorithm for algorithm, n in grammar.HEX_CHARS.items() if n > MAX_FALLBACK_HEX
)
_DIGEST_TAG = re.compile(
    rf"{DIGEST_TAG}|(?:{_CUT_ALGORITHMS})-[a-f0-9]{{{MAX_FALLBACK_HEX}}}"
)
# cosign: specs/SIGNATURE_SPEC.md, ATTESTATION_SPEC.md, SBOM_SPEC.md.
COSIGN_SUFFIXES = (".sig", ".att", ".sbom")


class Evidence(StrEnum):
    """What an attachment can be evidence of."""

    SIGNATURE = "signature"
    SBOM = "sbom"
    PROVENANCE = "provenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentEvidence:
    """What an attachment is known to be, and what it may be, before fetching more."""

    certain: frozenset[Evidence] = frozenset()
    possible: frozenset[Evidence] = frozenset()


def attachment_from_descriptor(
    descriptor: Descriptor, subject: str | None, *, tag: str | None = None
) -> Attachment:
    """The attachment that a referrers list or an index describes.

    `tag` is the fallback tag with the list.
    """
    return _attachment(
        descriptor.digest,
        subject,
        artifact_type=descriptor.artifact_type,
        types=(),
        annotations=(descriptor.annotations,),
        recorded=descriptor.annotations,
        attested=descriptor.is_attestation,
        size=descriptor.size,
        tag=tag,
    )


def attachment_from_manifest(
    digest: str,
    subject: str | None,
    manifest: Manifest,
    *,
    size: int | None = None,
    attested: bool = False,
    listed_type: str | None = None,
    tag: str | None = None,
) -> Attachment:
    """The attachment that its own manifest, of `size` bytes, describes.

    `attested`: the index of the image marks it as an attestation; `listed_type`: its
    artifact type there, which counts if the manifest has none. `tag` names or lists it.
    """
    artifact_type: str | None = None
    types: tuple[str, ...] = ()
    annotations: list[Mapping[str, str]] = []
    if not isinstance(manifest, Schema1Manifest):
        artifact_type = manifest.artifact_type
        annotations.append(manifest.annotations)
    if isinstance(manifest, ImageManifest):
        types = tuple(layer.media_type or "" for layer in manifest.layers)
        annotations += [layer.annotations for layer in manifest.layers]
    if essence(artifact_type) in _NO_TYPES and listed_type is not None:
        artifact_type = listed_type
    if essence(artifact_type) in _NO_TYPES and len(set(types)) == 1:
        # cosign's tags and BuildKit's attestations have an image's config.
        artifact_type = types[0] or None
    return _attachment(
        digest,
        subject,
        artifact_type=artifact_type,
        types=types,
        annotations=annotations,
        recorded=annotations[0] if annotations else {},
        attested=attested,
        has_manifest=True,
        size=size,
        blobs=_blobs(manifest),
        tag=tag,
    )


def _blobs(manifest: Manifest) -> tuple[Layer, ...] | None:
    """The config and the layers that the registry itself has, each once."""
    if not isinstance(manifest, ImageManifest):
        return None
    found = {
        one.digest: Layer(digest=one.digest, size=one.size, media_type=one.media_type)
        for one in (manifest.config, *manifest.layers)
        if not one.has_urls
    }
    return tuple(found.values())


def needs_manifest(attachment: Attachment) -> bool:
    """Whether the manifest has to be fetched to know more about the attachment.

    Some registries (go-containerregistry's) list the config's media type, which is the
    empty one, in place of the manifest's artifactType.
    """
    if attachment.predicates == () or not is_digest(attachment.digest):
        return False
    return essence(attachment.artifact_type) in _NO_TYPES or (
        attachment.kind is AttachmentKind.ATTESTATION and attachment.predicates is None
    )


def sbom_documents(manifest: ImageManifest) -> tuple[Descriptor, ...]:
    """The layers of an attachment that can be SBOMs, or statements with one.

    Those whose annotation names another predicate, and signatures, are left out.
    Clients such as oras give layers the type of an archive by default, so that what
    they are is in the manifest only.
    """
    return tuple(
        layer for layer in manifest.layers if _may_be_sbom(layer, manifest.annotations)
    )


def _may_be_sbom(layer: Descriptor, annotations: Mapping[str, str]) -> bool:
    name = essence(layer.media_type) or ""
    if name == OCI_EMPTY or name.startswith(_SIGNATURES):
        return False
    for each in (layer.annotations, annotations):
        predicates = [each[key] for key in _PREDICATE_KEYS if each.get(key)]
        if predicates:
            return any(_predicate_evidence(one) is Evidence.SBOM for one in predicates)
    return True


def sbom_condition(attachment: str) -> str:
    """SQL: whether an attachment (a struct) can have SBOMs; as `evidence_of` says."""
    words = "|".join(map(re.escape, _SBOM_WORDS))
    return f"""({attachment}.kind = '{AttachmentKind.SBOM}'
        OR {attachment}.kind = '{AttachmentKind.ATTESTATION}' AND (
            coalesce(len({attachment}.predicates), 0) = 0
            OR len([p FOR p IN {attachment}.predicates
                    IF regexp_matches(p, '{words}', 'i')
                       AND NOT contains(lower(p), '{_PROVENANCE_WORDS[0]}')]) > 0))"""


def evidence_of(attachment: Attachment) -> AttachmentEvidence:
    """What an attachment is evidence of."""
    artifact_type = essence(attachment.artifact_type)
    if attachment.predicates:
        shown = map(_predicate_evidence, attachment.predicates)
        return AttachmentEvidence(certain=frozenset(filter(None, shown)))
    certain: frozenset[Evidence] = frozenset()
    possible: frozenset[Evidence] = frozenset()
    match attachment.kind:
        case AttachmentKind.SIGNATURE:
            certain = frozenset({Evidence.SIGNATURE})
        case AttachmentKind.SBOM:
            certain = frozenset({Evidence.SBOM})
        case AttachmentKind.ATTESTATION:
            possible = frozenset({Evidence.SBOM, Evidence.PROVENANCE})
            if artifact_type is not None and artifact_type.startswith(_BUNDLE):
                possible = frozenset(Evidence)
        case AttachmentKind.ARTIFACT:
            if artifact_type in _NO_TYPES and attachment.predicates is None:
                possible = frozenset(Evidence)
        case _:
            assert_never(attachment.kind)
    return AttachmentEvidence(certain=certain, possible=possible)


def may_be_signature(attachment: Attachment) -> bool:
    """Whether an attachment is a signature, or may be one."""
    evidence = evidence_of(attachment)
    return Evidence.SIGNATURE in evidence.certain | evidence.possible


@functools.lru_cache(maxsize=256)  # few are in use; a hostile registry can send many
def is_attachment_type(media_type: str | None) -> bool:
    """Whether a layer of this media type is a signature, a statement or an SBOM."""
    kind = _kind({essence(media_type) or ""}, (), set(), attested=False)
    return kind is not AttachmentKind.ARTIFACT


def fallback_tags(digest: str) -> tuple[str, ...]:
    """The tags that can list the referrers of a digest, without the referrers API.

    Of a digest with more than 64 hexadecimal digits that is the one cut there, and the
    whole one, which some clients write, if it is a tag.
    """
    whole = digest.replace(":", "-")
    algorithm, _, digits = digest.partition(":")
    cut = f"{algorithm}-{digits[:MAX_FALLBACK_HEX]}"
    return tuple(
        tag for tag in dict.fromkeys((cut, whole)) if len(tag) <= grammar.MAX_TAG_CHARS
    )


def cosign_tags(digest: str) -> tuple[str, ...]:
    """The tags of cosign's attachments of a digest; none if they would be too long."""
    tags = (digest.replace(":", "-") + suffix for suffix in COSIGN_SUFFIXES)
    return tuple(tag for tag in tags if len(tag) <= grammar.MAX_TAG_CHARS)


def is_digest_tag(tag: str) -> bool:
    """Whether a tag is named after the digest of the image it is attached to."""
    return _DIGEST_TAG.fullmatch(tag) is not None


def digest_tag_suffix(tag: str) -> str | None:
    """What follows the digest in a digest tag, such as `.sig`; None for other tags."""
    match = _DIGEST_TAG.fullmatch(tag)
    return None if match is None else match[1] or ""


def _attachment(
    digest: str,
    subject: str | None,
    *,
    artifact_type: str | None,
    types: Iterable[str],
    annotations: Sequence[Mapping[str, str]],
    recorded: Mapping[str, str],
    attested: bool,
    has_manifest: bool = False,
    size: int | None,
    blobs: tuple[Layer, ...] | None = None,
    tag: str | None,
) -> Attachment:
    kept, left_out = _bounded_annotations(recorded)
    predicate_types = {
        predicate
        for each in annotations
        for key in _PREDICATE_KEYS
        if (predicate := each.get(key))
    }
    predicates = tuple(map(cut_name, sorted(predicate_types)))[:MAX_PREDICATES]
    names = {essence(name) or "" for name in (artifact_type, *types)}
    contents = {each.get(_BUNDLE_CONTENT) for each in annotations}
    return Attachment(
        kind=_kind(names, predicates, contents, attested=attested),
        artifact_type=artifact_type,
        digest=digest,
        subject=subject,
        predicates=predicates if predicates or has_manifest else None,
        size=size,
        blobs=blobs,
        tag=tag,
        annotations=kept,
        annotations_left_out=left_out,
    )


def _bounded_annotations(annotations: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The annotations for a record, and the number of those that are left out.

    The end of life comes first, then the others by name; one that is too long leaves
    room for those after it.
    """
    kept: dict[str, str] = {}
    left_out, left_chars = 0, MAX_ANNOTATIONS_CHARS
    names = annotations.keys() - _KNOWN_ANNOTATIONS
    for name in sorted(names, key=lambda name: (name != END_OF_LIFE, name)):
        chars = len(name) + len(annotations[name])
        if len(kept) == MAX_ANNOTATIONS or chars > left_chars:
            left_out += 1
            continue
        left_chars -= chars
        kept[name] = annotations[name]
    return kept, left_out


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


def _predicate_evidence(predicate: str) -> Evidence | None:
    if _is_signing(predicate):
        return Evidence.SIGNATURE
    name = predicate.lower()
    if any(word in name for word in _PROVENANCE_WORDS):
        return Evidence.PROVENANCE
    if any(word in name for word in _SBOM_WORDS):
        return Evidence.SBOM
    return None


def _is_signing(predicate: str) -> bool:
    return predicate.startswith(SIGNING_PREDICATE)
