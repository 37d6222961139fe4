"""Arbitrary attachments are classified, and their evidence is consistent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.image_metadata import supply_chain_status
from auditor.model import Attachment, AttachmentKind
from auditor.oci.attachments import (
    Evidence,
    attachment_from_descriptor,
    evidence_of,
    needs_manifest,
)
from auditor.oci.descriptor import Descriptor
from tests.manifests import digest

_TYPES = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.cncf.notary.signature",
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.in-toto+json",
            "application/spdx+json",
            "application/vnd.oci.empty.v1+json",
        ]
    )
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            "in-toto.io/predicate-type",
            "predicateType",
            "dev.sigstore.bundle.content",
            "dev.sigstore.bundle.predicateType",
            "vnd.docker.reference.type",
        ]
    ),
    st.text(max_size=10)
    | st.sampled_from(
        [
            "https://slsa.dev/provenance/v1",
            "https://spdx.dev/Document",
            "https://sigstore.dev/cosign/sign/v1",
            "message-signature",
            "attestation-manifest",
        ]
    ),
)
_DESCRIPTORS = st.builds(
    Descriptor,
    media_type=_TYPES,
    digest=st.just(digest("9")),
    size=st.just(1),
    platform=st.none(),
    annotations=_ANNOTATIONS,
    artifact_type=_TYPES,
    has_urls=st.booleans(),
)
_SUBJECTS = st.sampled_from([None, *map(digest, "abc")])
_ATTACHMENTS = st.builds(
    Attachment,
    kind=st.sampled_from(AttachmentKind),
    artifact_type=_TYPES,
    digest=st.sampled_from([digest(one) for one in "789"]),
    subject=_SUBJECTS,
    predicates=st.none()
    | st.just(())
    | st.lists(
        st.sampled_from(
            ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]
        ),
        min_size=1,
    ).map(tuple),
)
_IMAGE = digest("e")
_PLATFORMS = st.sets(st.sampled_from([*map(digest, "abc")]))


@given(_DESCRIPTORS, _SUBJECTS)
def test_any_descriptor_is_an_attachment(
    descriptor: Descriptor, subject: str | None
) -> None:
    found = attachment_from_descriptor(descriptor, subject)
    claims = evidence_of(found)
    assert not claims.certain & claims.possible
    # Only attachments without certain evidence need their manifest.
    assert bool(claims.possible) <= needs_manifest(found)
    if found.kind is AttachmentKind.SIGNATURE:
        assert claims.certain == {Evidence.SIGNATURE}


@given(_PLATFORMS, st.lists(_ATTACHMENTS, max_size=5), st.booleans())
def test_evidence_is_not_lost_when_attachments_are_added(
    platforms: set[str], attachments: list[Attachment], everywhere: bool
) -> None:
    status = supply_chain_status(_IMAGE, platforms, attachments, is_complete=everywhere)
    part = supply_chain_status(_IMAGE, platforms, attachments[:-1], is_complete=False)
    for name in ("signed", "has_sbom", "has_provenance"):
        # With only some of the attachments nothing is False, and True stays True.
        assert getattr(part, name) is not False
        if getattr(part, name):
            assert getattr(status, name)
        if not everywhere:
            assert getattr(status, name) is not False


@given(_PLATFORMS)
def test_no_attachment_means_no_if_all_were_fetched(
    platforms: set[str],
) -> None:
    looked = supply_chain_status(_IMAGE, platforms, [], is_complete=True)
    assert (looked.signed, looked.has_sbom, looked.has_provenance) == (False,) * 3
    not_looked = supply_chain_status(_IMAGE, platforms, [], is_complete=False)
    assert not_looked.signed is not_looked.has_sbom is None
