from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.schema1 import (
    EMPTY_LAYER,
    MAX_LAYERS,
    Schema1Manifest,
    parse_schema1,
    signed_payload,
)
from tests import jose

GOLDEN = Path(__file__).parents[2] / "golden"
A, B, C = ("sha256:" + digit * 64 for digit in "abc")


def parse(raw: bytes) -> Schema1Manifest:
    return parse_schema1(raw, orjson.loads(raw))


def pretty(document: object) -> bytes:
    return json.dumps(document, indent=3).encode()


def changed(raw: bytes, **changes: Any) -> bytes:
    """The signed manifest with changes to its first signature."""
    document = json.loads(raw)
    signature = document["signatures"][0]
    header = changes.pop("header", {})
    signature.update(changes)
    signature["header"].update(header)
    start = raw.index(b',\n   "signatures"')
    return raw[:start] + b', "signatures": ' + json.dumps([signature]).encode() + b"}"


@pytest.mark.parametrize(
    ("file", "digest", "tag"),
    # Pushed by skopeo 1.9.3 to docker-registry 2.8.2 with schema 1 compatibility and
    # signed by the registry; the digests are its Docker-Content-Digest. The first was
    # pushed as schema 1, the second was converted for a request without Accept.
    [
        (
            "schema1-signed-compact.json",
            "6c6d566bc4ec69fbd686e9a1c5eaa882c18503fd43b5930d12392f57e0edd78a",
            "1",
        ),
        (
            "schema1-signed-pretty.json",
            "dfa67cde2afa1cc2da17b01d82f887dde2a00b5ae49f5899882e54496c1f53cd",
            "2",
        ),
    ],
)
def test_the_signature_of_a_manifest_signed_by_docker_registry_is_valid(
    file: str, digest: str, tag: str
) -> None:
    manifest = parse((GOLDEN / file).read_bytes())
    assert hashlib.sha256(manifest.payload).hexdigest() == digest
    assert manifest.layers == (
        "sha256:cefc83fb7b57c731e2a5f88f9c0e12502aff05c3a591ccb4564fcfd03891df78",
        EMPTY_LAYER,
        "sha256:76b1318b0aa78341b46d8a9b8caa405e84cd075b682e2e488dbbc5ca748743d2",
    )
    assert manifest.throwaway == (False, True, False)
    assert (manifest.name, manifest.tag) == ("library/tiny", tag)
    assert (manifest.os, manifest.architecture, manifest.variant) == (
        "linux",
        "arm64",
        "v8",
    )
    assert manifest.created == "2026-08-05T10:00:00Z"
    assert manifest.signed
    (check,) = manifest.signatures
    assert (check.valid, check.algorithm) == (True, "ES256")
    assert check.key_id == "QDWR:Z7YJ:6CIB:JXEN:RA7T:5CPD:YOWC:XYQT:YKH3:UYFU:S4FI:J2IK"


@pytest.mark.parametrize("signatures", ["-", None, []])
def test_the_payload_of_an_unsigned_manifest_is_the_manifest(
    signatures: object,
) -> None:
    raw = pretty(jose.schema1_document(signatures=signatures))
    manifest = parse(raw)
    assert manifest.payload == raw
    assert (manifest.signed, manifest.signatures) == (False, ())
    assert manifest.layers == (A, B, C)
    assert manifest.throwaway == (False, True, False)


@pytest.mark.parametrize(
    "algorithm", ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512"]
)
@pytest.mark.parametrize("indent", [None, 3])
def test_signatures_of_every_algorithm_are_checked(
    algorithm: str, indent: int | None
) -> None:
    key = jose.key_for(algorithm)
    payload = json.dumps(jose.schema1_document(), indent=indent).encode()
    manifest = parse(jose.sign_schema1(payload, key, algorithm=algorithm))
    assert manifest.payload == payload
    (check,) = manifest.signatures
    assert check.reason == "the signature is valid"
    assert check.valid
    assert check.key_id == jose.libtrust_id(key)


def test_every_signature_is_checked_in_order() -> None:
    keys = [jose.key_for("ES256", number) for number in range(3)]
    manifest = parse(jose.sign_schema1(pretty(jose.schema1_document()), *keys))
    assert [check.key_id for check in manifest.signatures] == [
        jose.libtrust_id(key) for key in keys
    ]
    assert all(check.valid for check in manifest.signatures)


def test_the_key_can_be_in_a_certificate() -> None:
    key = jose.key_for("ES256")
    chain = jose.x5c(jose.certificate(key, "signer"))
    raw = jose.sign_schema1(pretty(jose.schema1_document()), key, chain=chain)
    (check,) = parse(raw).signatures
    assert (check.valid, check.key_id) == (True, jose.libtrust_id(key))


OTHER = jose.key_for("ES256", 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signature": jose.b64(bytes(64))}, "the signature does not match"),
        ({"signature": "AAAA"}, "the signature does not match"),
        ({"signature": "no base64!"}, "the signature is not base64url"),
        ({"signature": None}, "the signature is missing"),
        ({"header": {"alg": "none"}}, "the algorithm 'none' does not fit the key"),
        ({"header": {"alg": "HS256"}}, "the algorithm 'HS256' does not fit"),
        ({"header": {"alg": "ES384"}}, "the algorithm 'ES384' does not fit"),
        ({"header": {"alg": ["ES256"]}}, "the algorithm None does not fit"),
        ({"header": {"jwk": jose.jwk(OTHER)}}, "the signature does not match"),
        (
            {"header": {"jwk": jose.jwk(OTHER, kid="AAAA")}},
            "the key id in the JWK is not the id of its key",
        ),
        ({"header": {"jwk": None}}, "the signature has no key"),
        ({"header": {"jwk": {"kty": "oct", "k": "AAAA"}}}, "keys of type 'oct'"),
        ({"header": {"jwk": {"kty": "EC", "crv": "P-256"}}}, "the JWK is invalid"),
        (
            {"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}},
            "the JWK is invalid",
        ),
        ({"header": {"x5c": ["AAAA"]}}, "x5c contains something that is not a cert"),
        ({"header": {"x5c": "AAAA"}}, "x5c is not a list"),
        ({"header": {"x5c": ["A"] * 11}}, "x5c is not a list of 1 to 10"),
    ],
)
def test_an_invalid_signature_is_a_value(changes: Any, reason: str) -> None:
    raw = jose.sign_schema1(pretty(jose.schema1_document()), jose.key_for("ES256"))
    manifest = parse(changed(raw, **changes))
    assert manifest.layers == (A, B, C)
    assert manifest.signed
    (check,) = manifest.signatures
    assert not check.valid
    assert check.reason.startswith(reason)


def test_a_signature_over_other_content_is_invalid() -> None:
    raw = jose.sign_schema1(pretty(jose.schema1_document()), jose.key_for("ES256"))
    manifest = parse(raw.replace(b'"tag": "1"', b'"tag": "2"'))
    assert [check.valid for check in manifest.signatures] == [False]


def test_an_rsa_key_below_2048_bits_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what is tested
    raw = jose.sign_schema1(pretty(jose.schema1_document()), weak, algorithm="RS256")
    (check,) = parse(raw).signatures
    assert (check.valid, check.reason) == (False, "an RSA key of 1024 bits is too weak")


def test_only_the_payload_of_a_signed_manifest_is_parsed() -> None:
    document = jose.schema1_document(architecture="-")
    document["history"][0]["v1Compatibility"] = '{"id":"c"}'
    raw = jose.sign_schema1(pretty(document), jose.key_for("ES256"))
    forged = raw.replace(
        b',\n   "signatures"', b',\n   "architecture": "s390x",\n   "signatures"'
    )
    manifest = parse(forged)
    assert manifest.payload == parse(raw).payload
    assert manifest.architecture is None
    assert manifest.signatures[0].valid


def protected(**values: Any) -> str:
    return jose.b64(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("signature", "detail"),
    [
        ({}, "has no protected header"),
        (None, "has no protected header"),
        ({"protected": "!"}, "has an invalid protected header"),
        ({"protected": jose.b64(b"[1]")}, "has an invalid protected header"),
        ({"protected": jose.b64(b"{")}, "has an invalid protected header"),
        ({"protected": protected(formatLength=3)}, "has an invalid protected header"),
        (
            {"protected": protected(formatLength=-1, formatTail="fQ")},
            "has an invalid protected header",
        ),
        (
            {"protected": protected(formatLength=True, formatTail="fQ")},
            "has an invalid protected header",
        ),
        (
            {"protected": protected(formatLength="3", formatTail="fQ")},
            "has an invalid protected header",
        ),
        (
            {"protected": protected(formatLength=3, formatTail=7)},
            "has an invalid protected header",
        ),
        (
            {"protected": protected(formatLength=10**6, formatTail="fQ")},
            "signs 1000000 bytes of a document of",
        ),
        (
            {"protected": protected(formatLength=3, formatTail="fQ")},
            "signs different content than the previous ones",
        ),
    ],
)
def test_a_payload_that_cannot_be_determined_is_an_error(
    signature: object, detail: str
) -> None:
    raw = jose.sign_schema1(pretty(jose.schema1_document()), jose.key_for("ES256"))
    document = json.loads(raw)
    document["signatures"].append(signature)
    with pytest.raises(ProtocolError, match=detail) as caught:
        parse_schema1(raw, document)
    assert "signatures[1]" in caught.value.detail


@pytest.mark.parametrize(
    ("signatures", "detail"),
    [
        ({}, "is not a list"),
        (None, "is not a list"),
        ([], "is not signed"),
        ({"a": 1}, "is not a list"),
        ("abc", "is not a list"),
        ([{}] * 101, "more than 100 signatures"),
    ],
)
def test_signatures_that_are_not_a_list_are_an_error(
    signatures: object, detail: str
) -> None:
    with pytest.raises(ProtocolError, match=detail):
        signed_payload(b"{}", {"signatures": signatures})


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"schemaVersion": 2}, "schemaVersion is not 1"),
        ({"fsLayers": []}, '"fsLayers" is not a list with entries'),
        ({"fsLayers": None}, '"fsLayers" is not a list with entries'),
        ({"fsLayers": {"a": 1}}, '"fsLayers" is not a list with entries'),
        ({"fsLayers": [A]}, r"fsLayers\[0\] is not an object"),
        ({"fsLayers": [{}]}, r"fsLayers\[0\] has no valid blobSum"),
        ({"fsLayers": [{"blobSum": A}, {"blobSum": "x"}]}, r"fsLayers\[1\] has no val"),
        ({"fsLayers": [{"blobSum": A}]}, "1 fsLayers but 3 history entries"),
        ({"history": []}, '"history" is not a list with entries'),
        ({"history": "-"}, '"history" is not a list with entries'),
        ({"history": [{}] * 3}, r"history\[0\]\.v1Compatibility is not a string"),
        (
            {"history": [{"v1Compatibility": "{"}] * 3},
            r"history\[0\]\.v1Compatibility is not JSON",
        ),
        (
            {"history": [{"v1Compatibility": "[]"}] * 3},
            r"history\[0\]\.v1Compatibility is JSON but not an object",
        ),
        ({"fsLayers": [{"blobSum": A}] * (MAX_LAYERS + 1)}, "more than 37786 layers"),
    ],
)
def test_a_malformed_schema_1_manifest_is_an_error(
    changes: dict[str, Any], detail: str
) -> None:
    with pytest.raises(ProtocolError, match=detail) as caught:
        parse(json.dumps(jose.schema1_document(**changes)).encode())
    assert caught.value.kind is FailureKind.PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    "ambiguous",
    [
        {"fsLayers": [{"blobSum": A, "BlobSum": B}]},
        {"fsLayers": [{"blobSum": A, "blobsum": B}]},
    ],
)
def test_keys_that_differ_only_in_case_are_refused(ambiguous: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(pretty(jose.schema1_document(**ambiguous)))
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


def test_keys_of_a_signed_payload_that_differ_only_in_case_are_refused() -> None:
    document = jose.schema1_document(Architecture="amd64")
    raw = jose.sign_schema1(pretty(document), jose.key_for("ES256"))
    with pytest.raises(ProtocolError) as caught:
        parse(raw)
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


@pytest.mark.parametrize(
    "newest",
    [
        '{"os":"linux","os":"windows"}',
        '{"os":"linux","OS":"windows"}',
        '{"Architecture":"arm64"}',
    ],
)
def test_a_platform_that_can_be_read_in_two_ways_is_refused(newest: str) -> None:
    document = jose.schema1_document()
    document["history"][0] = {"v1Compatibility": newest}
    with pytest.raises(ProtocolError, match=r"history\[0\]") as caught:
        parse(pretty(document))
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


def test_other_keys_of_the_history_may_have_any_case() -> None:
    document = jose.schema1_document()
    document["history"][0] = {"v1Compatibility": '{"os":"linux","Size":1}'}
    assert parse(pretty(document)).os == "linux"


@pytest.mark.parametrize(
    ("top", "newest", "expected"),
    [
        ("amd64", {"architecture": "arm64"}, "arm64"),
        ("amd64", {}, "amd64"),
        ("-", {"architecture": "arm64"}, "arm64"),
        (7, {"architecture": None}, None),
        ("-", {}, None),
    ],
)
def test_the_architecture_of_the_image_overrides_the_manifest(
    top: object, newest: dict[str, Any], expected: str | None
) -> None:
    document = jose.schema1_document(architecture=top)
    document["history"][0] = {"v1Compatibility": json.dumps(newest)}
    assert parse(pretty(document)).architecture == expected


def test_missing_fields_of_an_old_image_are_none() -> None:
    document = jose.schema1_document(name="-", tag=None)
    document["history"][0] = {"v1Compatibility": "{}"}
    manifest = parse(pretty(document))
    assert (manifest.name, manifest.tag) == (None, None)
    assert (manifest.os, manifest.variant, manifest.created) == (None, None, None)
