"""Manifest responses are verified by tag and by digest."""

from __future__ import annotations

import hashlib

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.model import WarningCode
from auditor.oci.manifest import VerifiedManifest, verify_manifest
from auditor.oci.schema1 import Schema1Manifest
from tests import jose
from tests.manifests import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SIGNED_SCHEMA1,
    digest,
    image,
    raw,
    schema1,
)

BODY = raw(image())
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
SHA384 = "sha384:" + hashlib.sha384(BODY).hexdigest()
SHA512 = "sha512:" + hashlib.sha512(BODY).hexdigest()


def read(
    body: bytes = BODY,
    *,
    content_type: str | None = OCI_MANIFEST,
    header: str | None = None,
    requested: str | None = None,
) -> VerifiedManifest:
    return verify_manifest(
        body,
        content_type=content_type,
        header_digest=header,
        requested_digest=requested,
    )


def codes(document: VerifiedManifest) -> list[WarningCode]:
    return [warning.code for warning in document.warnings]


@pytest.mark.parametrize(
    ("header", "warning"),
    [
        (SHA256, None),
        (f"  {SHA256} ", None),
        (SHA256.removeprefix("sha256:"), None),
        (SHA384, None),
        (SHA512, None),
        (None, WarningCode.NO_DIGEST_HEADER),
        ("", WarningCode.NO_DIGEST_HEADER),
        (digest("0"), WarningCode.DIGEST_HEADER_DIFFERS),
        ("sha512:" + "0" * 128, WarningCode.DIGEST_HEADER_DIFFERS),
        (SHA256.upper(), WarningCode.DIGEST_HEADER_DIFFERS),
        ("sha256:", WarningCode.DIGEST_HEADER_DIFFERS),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", WarningCode.DIGEST_HEADER_DIFFERS),
        ("\x1b[31m", WarningCode.DIGEST_HEADER_DIFFERS),
    ],
)
def test_by_tag_the_digest_is_computed_and_the_header_is_advisory(
    header: str | None, warning: WarningCode | None
) -> None:
    document = read(header=header)
    assert document.digest == SHA256
    assert document.size == len(BODY)
    assert codes(document) == ([warning] if warning else [])
    assert all(found.detail.isprintable() for found in document.warnings)


@pytest.mark.parametrize("requested", [SHA256, SHA384, SHA512])
@pytest.mark.parametrize("header", [None, digest("0"), SHA256])
def test_by_digest_the_header_is_ignored(requested: str, header: str | None) -> None:
    document = read(requested=requested, header=header)
    assert document.digest == requested
    assert document.warnings == ()


@pytest.mark.parametrize(
    "requested", [digest("0"), "sha384:" + "0" * 96, "sha512:" + "0" * 128]
)
def test_by_digest_other_content_is_a_mismatch(requested: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read(requested=requested, header=requested)
    assert caught.value.kind is FailureKind.DIGEST_MISMATCH
    assert requested in caught.value.detail


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", BODY[:-1], BODY + b"\n", b'{"schemaVersion":[]}'],
)
def test_by_digest_the_content_is_checked_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        read(body, requested=SHA256)
    assert caught.value.kind is FailureKind.DIGEST_MISMATCH


@pytest.mark.parametrize(
    "body",
    [
        raw(image(annotations={"signatures": "x"})),
        raw(schema1(signatures=[])),
    ],
)
def test_the_word_signatures_does_not_disable_the_digest_check(body: bytes) -> None:
    good = "sha256:" + hashlib.sha256(body).hexdigest()
    assert read(body, requested=good).digest == good
    with pytest.raises(ProtocolError) as caught:
        read(body, requested=SHA256)
    assert caught.value.kind is FailureKind.DIGEST_MISMATCH


@pytest.mark.parametrize(
    ("content_type", "warns"),
    [
        (OCI_MANIFEST, False),
        (OCI_MANIFEST.upper() + "; charset=utf-8", False),
        ("application/json", False),
        ("text/plain", False),
        (None, False),
        (DOCKER_MANIFEST, True),
        (OCI_INDEX, True),
        (SIGNED_SCHEMA1, True),
    ],
)
def test_a_different_manifest_type_in_the_header_is_a_warning(
    content_type: str | None, warns: bool
) -> None:
    document = read(content_type=content_type, header=SHA256)
    assert document.media_type == OCI_MANIFEST
    expected = [WarningCode.MEDIA_TYPE_DIFFERS] if warns else []
    assert codes(document) == expected


# -- schema 1 ------------------------------------------------------------------


def test_the_digest_of_an_unsigned_schema_1_manifest_is_over_its_bytes() -> None:
    body = raw(schema1())
    document = read(body, content_type=SCHEMA1)
    assert document.digest == "sha256:" + hashlib.sha256(body).hexdigest()
    assert document.media_type == SCHEMA1
    assert document.size == len(body)


def _signed() -> tuple[bytes, bytes]:
    """A signed manifest and its payload."""
    payload = raw(schema1())
    return jose.sign_schema1(payload, jose.key_for("ES256")), payload


def test_the_digest_of_a_signed_schema_1_manifest_is_over_its_payload() -> None:
    body, payload = _signed()
    expected = "sha256:" + hashlib.sha256(payload).hexdigest()
    by_tag = read(body, content_type=SIGNED_SCHEMA1, header=expected)
    by_digest = read(body, content_type=SIGNED_SCHEMA1, requested=expected)
    for document in (by_tag, by_digest):
        assert document.digest == expected
        assert document.media_type == SIGNED_SCHEMA1
        assert document.size == len(body)
        assert document.warnings == ()
        assert isinstance(document.manifest, Schema1Manifest)
        assert document.manifest.signed


def test_a_signed_schema_1_manifest_with_another_payload_is_a_mismatch() -> None:
    body, _ = _signed()
    for requested in (digest("0"), "sha256:" + hashlib.sha256(body).hexdigest()):
        with pytest.raises(ProtocolError) as caught:
            read(body, requested=requested)
        assert caught.value.kind is FailureKind.DIGEST_MISMATCH


def test_an_invalid_signature_is_a_warning() -> None:
    body, payload = _signed()
    other = payload.replace(b"team/app", b"team/abb")
    document = read(body.replace(b"team/app", b"team/abb"), content_type=None)
    assert document.digest == "sha256:" + hashlib.sha256(other).hexdigest()
    assert WarningCode.SIGNATURE_INVALID in codes(document)
    assert "signature 1: " in document.warnings[-1].detail
