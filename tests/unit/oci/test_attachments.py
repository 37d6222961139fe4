"""Attachments are classified by media types and annotations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from auditor.demo.artifact_builder import artifact, helm_chart
from auditor.demo.image_builder import BuiltImage, image
from auditor.demo.schema1_builder import schema1_image
from auditor.model import Attachment, AttachmentKind
from auditor.oci.attachments import (
    Evidence,
    attachment_from_descriptor,
    attachment_from_manifest,
    cosign_tags,
    digest_tag_suffix,
    evidence_of,
    fallback_tags,
    is_digest_tag,
    needs_manifest,
)
from auditor.oci.descriptor import Descriptor
from auditor.oci.manifest import ImageIndex, ImageManifest, parse_manifest
from auditor.oci.platform import Platform
from auditor.oci.reference import is_tag
from tests.manifests import digest
from tests.support.attached_images import (
    SLSA,
    SPDX,
    attestation,
    bundle,
    cosign_attestation,
    cosign_sbom,
    cosign_signature,
    notation_signature,
    referrers_index,
)

APP = image("app").root
SIGNATURE, SBOM, ATTESTATION, ARTIFACT = (
    AttachmentKind.SIGNATURE,
    AttachmentKind.SBOM,
    AttachmentKind.ATTESTATION,
    AttachmentKind.ARTIFACT,
)
SIGNED, HAS_SBOM, PROVENANCE = Evidence.SIGNATURE, Evidence.SBOM, Evidence.PROVENANCE
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"


def listed(
    artifact_type: str | None,
    annotations: dict[str, str] | None = None,
    platform: Platform | None = None,
) -> Attachment:
    descriptor = Descriptor(
        media_type="application/vnd.oci.image.manifest.v1+json",
        digest=digest("9"),
        size=1,
        platform=platform,
        annotations=annotations or {},
        artifact_type=artifact_type,
        has_urls=False,
    )
    return attachment_from_descriptor(descriptor, digest("a"))


@pytest.mark.parametrize(
    ("artifact_type", "kind", "claims"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", SIGNATURE, {SIGNED}),
        ("application/vnd.dev.cosign.simplesigning.v1+json", SIGNATURE, {SIGNED}),
        ("application/vnd.cncf.notary.signature", SIGNATURE, {SIGNED}),
        ("application/spdx+json", SBOM, {HAS_SBOM}),
        ("text/spdx", SBOM, {HAS_SBOM}),
        ("application/vnd.cyclonedx+json; version=1.5", SBOM, {HAS_SBOM}),
        ("application/vnd.cyclonedx+xml", SBOM, {HAS_SBOM}),
        ("application/vnd.syft+json", SBOM, {HAS_SBOM}),
        ("application/vnd.dev.cosign.artifact.sbom.v1+json", SBOM, {HAS_SBOM}),
        ("application/vnd.aquasec.trivy.report.sarif.v1", ARTIFACT, set()),
        ("application/vnd.amazon.soci.index.v1+json", ARTIFACT, set()),
        ("application/vnd.cncf.helm.config.v1+json", ARTIFACT, set()),
    ],
)
def test_the_artifact_type_determines_the_kind(
    artifact_type: str, kind: AttachmentKind, claims: set[Evidence]
) -> None:
    found = listed(artifact_type)
    assert (found.kind, found.artifact_type) == (kind, artifact_type)
    assert found.subject == digest("a")
    assert evidence_of(found).certain == claims
    assert not evidence_of(found).possible
    assert not needs_manifest(found)


@pytest.mark.parametrize(
    ("artifact_type", "kind", "possible"),
    [
        ("application/vnd.in-toto+json", ATTESTATION, {HAS_SBOM, PROVENANCE}),
        (
            "application/vnd.docker.attestation.manifest.v1+json",
            ATTESTATION,
            {HAS_SBOM, PROVENANCE},
        ),
        ("application/vnd.dsse.envelope.v1+json", ATTESTATION, {HAS_SBOM, PROVENANCE}),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", ATTESTATION, set(Evidence)),
        (None, ARTIFACT, set(Evidence)),
    ],
)
def test_a_vague_attachment_needs_its_manifest(
    artifact_type: str | None, kind: AttachmentKind, possible: set[Evidence]
) -> None:
    found = listed(artifact_type)
    assert found.kind is kind
    assert found.predicates is None
    assert needs_manifest(found)
    assert not evidence_of(found).certain
    assert evidence_of(found).possible == possible


@pytest.mark.parametrize(
    ("annotations", "kind", "claims"),
    [
        ({"dev.sigstore.bundle.predicateType": SLSA}, ATTESTATION, {PROVENANCE}),
        ({"dev.sigstore.bundle.predicateType": SPDX}, ATTESTATION, {HAS_SBOM}),
        ({"dev.sigstore.bundle.predicateType": SIGN_PREDICATE}, SIGNATURE, {SIGNED}),
        ({"dev.sigstore.bundle.predicateType": VULNERABILITIES}, ATTESTATION, set()),
        ({"dev.sigstore.bundle.content": "message-signature"}, SIGNATURE, {SIGNED}),
        ({"in-toto.io/predicate-type": "https://cyclonedx.org/bom"}, ATTESTATION,
         {HAS_SBOM}),
        ({"in-toto.io/predicate-type": "https://slsa.dev/verification_summary/v1"},
         ATTESTATION, set()),
    ],
)  # fmt: skip
def test_annotations_have_the_predicate_of_a_bundle(
    annotations: dict[str, str], kind: AttachmentKind, claims: set[Evidence]
) -> None:
    found = listed("application/vnd.dev.sigstore.bundle.v0.3+json", annotations)
    assert found.kind is kind
    assert evidence_of(found).certain == claims


@pytest.mark.parametrize(
    ("built", "kind", "artifact_type", "predicates", "claims"),
    [
        (cosign_signature(APP), SIGNATURE,
         "application/vnd.dev.cosign.simplesigning.v1+json", (), {SIGNED}),
        (cosign_attestation(APP, [SLSA, SPDX]), ATTESTATION,
         "application/vnd.dsse.envelope.v1+json", (SLSA, SPDX), {PROVENANCE, HAS_SBOM}),
        (cosign_sbom(APP), SBOM, "text/spdx", (), {HAS_SBOM}),
        (notation_signature(APP), SIGNATURE, "application/vnd.cncf.notary.signature",
         (), {SIGNED}),
        (attestation(APP, [SPDX]), ATTESTATION, "application/vnd.in-toto+json",
         (SPDX,), {HAS_SBOM}),
        (bundle(APP, content="dsse-envelope", predicate=SLSA), ATTESTATION,
         "application/vnd.dev.sigstore.bundle.v0.3+json", (SLSA,), {PROVENANCE}),
        (bundle(APP, content="message-signature"), SIGNATURE,
         "application/vnd.dev.sigstore.bundle.v0.3+json", (), {SIGNED}),
        (artifact("x", artifact_type="application/spdx+json"), SBOM,
         "application/spdx+json", (), {HAS_SBOM}),
        (helm_chart("x"), ARTIFACT, "application/vnd.cncf.helm.config.v1+json", (),
         set()),
    ],
)  # fmt: skip
def test_the_manifest_determines_the_kind(
    built: BuiltImage,
    kind: AttachmentKind,
    artifact_type: str,
    predicates: Sequence[str],
    claims: set[Evidence],
) -> None:
    manifest = parse_manifest(built.root.raw, None)
    found = attachment_from_manifest(
        digest("9"), digest("a"), manifest, size=7, tag="sha256-a.sig"
    )
    assert isinstance(manifest, ImageManifest)
    assert found.blobs is not None
    assert [(one.digest, one.size) for one in found.blobs] == [
        (one.digest, one.size) for one in (manifest.config, *manifest.layers)
    ]
    assert dataclasses.replace(found, blobs=None) == Attachment(
        kind=kind,
        artifact_type=artifact_type,
        digest=digest("9"),
        subject=digest("a"),
        predicates=tuple(predicates),
        size=7,
        tag="sha256-a.sig",
        annotations={
            name: text
            for name, text in manifest.annotations.items()
            if not name.startswith("dev.sigstore.bundle.")
        },
    )
    assert evidence_of(found).certain == claims
    assert not needs_manifest(found)


def test_the_type_of_an_empty_config_is_not_an_artifact_type() -> None:
    empty = "application/vnd.oci.empty.v1+json"
    assert needs_manifest(listed(empty))
    assert evidence_of(listed(empty)).possible == set(Evidence)
    attachment = listed(empty, {"dev.sigstore.bundle.predicateType": SLSA})
    assert needs_manifest(attachment)
    assert evidence_of(attachment).certain == {PROVENANCE}


def test_an_attestation_without_a_predicate_may_be_any_evidence() -> None:
    for built in (image("x"), schema1_image("x", "1")):
        manifest = parse_manifest(built.root.raw, None)
        found = attachment_from_manifest(digest("9"), None, manifest, attested=True)
        assert (found.kind, found.predicates) == (ATTESTATION, ())
        assert evidence_of(found).possible == {HAS_SBOM, PROVENANCE}
        assert not needs_manifest(found)  # it has been looked into


def test_an_index_can_be_an_attachment() -> None:
    manifest = parse_manifest(referrers_index([APP]).root.raw, None)
    assert isinstance(manifest, ImageIndex)
    found = attachment_from_manifest(digest("9"), None, manifest)
    assert (found.kind, found.artifact_type) == (ARTIFACT, None)
    assert not evidence_of(found).possible


def test_an_attachment_with_a_digest_that_cannot_be_verified_is_not_read() -> None:
    # image-spec descriptor.md registers blake3
    found = dataclasses.replace(listed(None), digest="blake3:" + "a" * 64)
    assert needs_manifest(listed(None))
    assert not needs_manifest(found)


END = "vnd.microsoft.artifact.lifecycle.end-of-life.date"


@pytest.mark.parametrize(
    ("annotations", "kept", "left_out"),
    [
        ({}, [], 0),
        ({END: "2026-08-31"}, [END], 0),
        ({"vnd.docker.reference.digest": digest("a"), "in-toto.io/predicate-type": SLSA,
          "b": "2", "a": "1"}, ["a", "b"], 0),
        ({f"a{number}": "" for number in range(8)} | {END: "2026-08-31"},
         [END, *(f"a{number}" for number in range(7))], 1),
        ({"a": "x" * 1023, END: "2026-08-31"}, [END], 1),
        ({"a": "x" * 1023, "b": ""}, ["a"], 1),
        ({"a": "x" * 1024, "b": "short"}, ["b"], 1),
    ],
)  # fmt: skip
def test_annotations_are_kept_within_their_limits(
    annotations: dict[str, str], kept: list[str], left_out: int
) -> None:
    found = listed("application/vnd.microsoft.artifact.lifecycle", annotations)
    assert found.annotations == {name: annotations[name] for name in kept}
    assert list(found.annotations) == kept
    assert found.annotations_left_out == left_out


def test_the_manifest_of_an_attachment_has_the_same_annotations() -> None:
    built = artifact("x", artifact_type="a/b", annotations={END: "2026-08-31"})
    found = attachment_from_manifest(
        "sha256:1", None, parse_manifest(built.root.raw, None)
    )
    assert found.annotations == {END: "2026-08-31"}


@pytest.mark.parametrize(
    ("digest", "fallback", "cosign"),
    [
        ("sha256:" + 64 * "a", ["sha256-" + 64 * "a"], 3),
        ("sha384:" + 96 * "a", ["sha384-" + 64 * "a", "sha384-" + 96 * "a"], 3),
        # A tag has at most 128 characters; distribution-spec, "Referrers Tag Schema",
        # and regclient, types/referrer: the digest is cut after 64.
        ("sha512:" + 128 * "a", ["sha512-" + 64 * "a"], 0),
    ],
)
def test_the_tags_of_a_long_digest_are_cut(
    digest: str, fallback: list[str], cosign: int
) -> None:
    assert list(fallback_tags(digest)) == fallback
    assert all(is_digest_tag(tag) for tag in fallback)
    assert all(digest_tag_suffix(tag) == "" for tag in fallback)
    assert len(cosign_tags(digest)) == cosign
    assert all(is_tag(tag) for tag in (*fallback, *cosign_tags(digest)))
