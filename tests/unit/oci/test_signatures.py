"""Signatures that are forged, damaged, expired or of something else.

What the real programs sign is verified in tests/flow/test_verified_signatures.py; here
envelopes are made by `cryptography` and PyJWT.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from jwt.algorithms import get_default_algorithms

from auditor.model import SignatureState
from auditor.oci.cosign_signature import (
    CERTIFICATE,
    SIGNATURE,
    verify_bundle,
    verify_simple_signing,
)
from auditor.oci.notation_signature import SignedTarget, verify_notation_jws
from auditor.oci.signature_verdict import SignatureVerdict
from auditor.oci.signing_keys import (
    ImageSigningKey,
    SigningKeyError,
    parse_subject,
    read_certificates,
    read_public_keys,
)
from tests.jose import NOON, NOW, b64, certificate, key_for, pem, x5c
from tests.manifests import OCI_INDEX, digest

IMAGE = digest("a")
TARGET = SignedTarget(digest=IMAGE, media_type=OCI_INDEX, size=700)
VERIFIED, INVALID, UNTRUSTED, UNVERIFIABLE = (
    SignatureState.VERIFIED,
    SignatureState.INVALID,
    SignatureState.UNTRUSTED,
    SignatureState.UNVERIFIABLE,
)
PREFIX = "io.cncf.notary."
CODE = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)


def usage(*allowed: str) -> tuple[x509.KeyUsage, bool]:
    names = (
        "digital_signature", "content_commitment", "key_encipherment",
        "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
        "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in names}), True


ISSUES, SIGNS = usage("key_cert_sign"), usage("digital_signature")


@cache
def root() -> x509.Certificate:
    return certificate(key_for("ES256", 1), "root", ca=True, more=[ISSUES])


def leaf(
    *,
    more: Any = (SIGNS, CODE),
    key: Any = None,
    issuer: Any = None,
    **changes: Any,
) -> x509.Certificate:
    return certificate(
        key or key_for("ES256"),
        "leaf",
        issuer=issuer or (key_for("ES256", 1), "root"),
        more=more,
        **changes,
    )


TRUST = ImageSigningKey(name="acme", certificates=(root(),))


def envelope(
    *,
    chain: tuple[x509.Certificate, ...] = (),
    target: Any = None,
    algorithm: str = "ES256",
    key: Any = None,
    sign: Callable[[bytes], bytes] | None = None,
    header: dict[str, Any] | None = None,
    **protected: Any,
) -> bytes:
    """A JWS envelope of Notation; `protected` overrides headers, "-" removes one."""
    names = {
        "alg": algorithm,
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": [PREFIX + "signingScheme"],
        PREFIX + "signingScheme": "notary.x509",
        PREFIX + "signingTime": "2026-11-24T05:00:00Z",
    } | {
        name if name in {"alg", "cty", "crit"} else PREFIX + name: value
        for name, value in protected.items()
    }
    names = {name: value for name, value in names.items() if value != "-"}
    payload = {
        "targetArtifact": target
        or {"mediaType": OCI_INDEX, "digest": IMAGE, "size": 700}
    }
    parts = [b64(json.dumps(part).encode()) for part in (names, payload)]
    signed = ".".join(parts).encode()
    if sign is None:
        made = get_default_algorithms()[algorithm].sign(signed, key or key_for("ES256"))
    else:
        made = sign(signed)
    return json.dumps(
        {
            "protected": parts[0],
            "payload": parts[1],
            "header": {"x5c": x5c(*(chain or (leaf(), root())))} | (header or {}),
            "signature": b64(made),
        }
    ).encode()


def checked(
    raw: bytes, key: ImageSigningKey = TRUST, now: float = NOW
) -> SignatureVerdict:
    return verify_notation_jws(raw, TARGET, keys=[key], now=now)


def test_an_envelope_by_a_trusted_chain_is_verified() -> None:
    verdict = checked(envelope())
    assert verdict == SignatureVerdict(
        state=VERIFIED,
        keys=("acme",),
        identity="CN=leaf",
        signed_at="2026-11-24T05:00:00Z",
    )


@pytest.mark.parametrize("name", ["none", "HS256", "RS256", "ES384", "PS256"])
def test_only_the_algorithm_of_the_key_is_accepted(name: str) -> None:
    public = key_for("ES256").public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def forged(signed: bytes) -> bytes:
        return hmac.new(secret, signed, hashlib.sha256).digest()

    verdict = checked(envelope(algorithm=name, sign=forged))
    assert verdict.state is INVALID
    # Also with a signature that is right.
    verdict = checked(envelope(alg=name))
    assert (verdict.state, verdict.keys) == (INVALID, ())


@pytest.mark.parametrize(
    ("change", "state", "word"),
    [
        ({"target": {"mediaType": OCI_INDEX, "digest": digest("b"), "size": 700}},
         INVALID, "not of this image"),
        ({"target": {"mediaType": OCI_INDEX, "digest": IMAGE, "size": 701}},
         INVALID, "size"),
        ({"target": {"mediaType": "x", "digest": IMAGE, "size": 700}}, INVALID, "type"),
        ({"target": "x"}, INVALID, "no artifact"),
        ({"sign": lambda _: b"\x30\x00"}, INVALID, "does not match"),
        ({"sign": lambda _: b""}, INVALID, "does not match"),
        ({"crit": "-"}, INVALID, "critical"),
        ({"crit": [PREFIX + "signingScheme", "x"]}, UNVERIFIABLE, "'x'"),
        ({"verificationPlugin": "com.example"}, UNVERIFIABLE, "plugin"),
        ({"signingScheme": "other"}, UNVERIFIABLE, "scheme"),
        ({"cty": "text/plain"}, UNVERIFIABLE, "payload"),
        ({"signingTime": "-"}, INVALID, "no signing time"),
        ({"signingTime": "yesterday"}, INVALID, "not a time"),
        ({"signingTime": "2026-13-24T05:00:00Z"}, INVALID, "not a time"),
        ({"signingTime": "0001-01-01T00:00:00+23:59"}, INVALID, "not a time"),
        ({"signingTime": "9999-12-31T23:59:59-23:59"}, INVALID, "not a time"),
        # before the certificate was valid
        ({"signingTime": "2020-01-01T05:00:00Z"}, INVALID, "only valid"),
        ({"expiry": "2026-11-25T00:00:00Z"}, INVALID, "critical"),
        ({"expiry": "2026-11-23T01:00:00Z",
          "crit": [PREFIX + "signingScheme", PREFIX + "expiry"]}, INVALID, "expired"),
        ({"expiry": "2026-11-25T01:00:00Z",
          "crit": [PREFIX + "signingScheme", PREFIX + "expiry"]}, VERIFIED, ""),
        ({"header": {"x5c": []}}, INVALID, "x5c"),
        ({"header": {"x5c": ["AAAA"]}}, INVALID, "certificate"),
        ({"header": {"x5c": x5c(root()) * 11}}, INVALID, "x5c"),
    ],
)  # fmt: skip
def test_a_strange_envelope(
    change: dict[str, Any], state: SignatureState, word: str
) -> None:
    verdict = checked(envelope(**change))
    assert verdict.state is state, verdict
    assert word in (verdict.reason or "")
    assert verdict.keys == (("acme",) if state is VERIFIED else ())


@pytest.mark.parametrize(
    "make",
    [
        lambda: leaf(more=(SIGNS, (x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH]), False))),
        lambda: leaf(more=(SIGNS, (x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.CODE_SIGNING,
             ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True))),
        lambda: leaf(more=(CODE,)),
        lambda: leaf(more=((SIGNS[0], False), CODE)),
        lambda: leaf(more=(usage("digital_signature", "key_agreement"), CODE)),
        lambda: leaf(more=(ISSUES, CODE)),
        lambda: leaf(ca=True),
        lambda: leaf(issuer=(key_for("ES256", 2), "root")),
        lambda: leaf(issuer=(key_for("ES256", 1), "another root")),
        lambda: leaf(until=NOON - timedelta(hours=9)),
        lambda: leaf(from_=NOON + timedelta(hours=9)),
    ],
)  # fmt: skip
def test_a_certificate_that_may_not_sign_images(
    make: Callable[[], x509.Certificate],
) -> None:
    verdict = checked(envelope(chain=(make(), root())))
    assert (verdict.state, verdict.keys) == (INVALID, ())


def test_a_certificate_with_an_unknown_signature_algorithm_is_invalid() -> None:
    # The object identifier of ecdsa-with-SHA256 ends in 4.3.2, and no other in 4.3.99.
    known, unknown = (
        bytes.fromhex("2a8648ce3d040302"),
        bytes.fromhex("2a8648ce3d040363"),
    )
    der = leaf().public_bytes(Encoding.DER).replace(known, unknown)
    verdict = checked(envelope(chain=(x509.load_der_x509_certificate(der), root())))
    assert (verdict.state, verdict.keys) == (INVALID, ())


def test_an_intermediate_certificate_must_be_allowed_to_issue() -> None:
    middle_key = key_for("ES256", 3)
    below = leaf(issuer=(middle_key, "middle"))

    def state(ca: bool, *more: Any, anchor: x509.Certificate | None = None) -> Any:
        middle = certificate(
            middle_key, "middle", issuer=(key_for("ES256", 1), "root"), ca=ca, more=more
        )
        last = anchor or root()
        key = ImageSigningKey(name="acme", certificates=(last,))
        return checked(envelope(chain=(below, middle, last)), key).state

    assert state(True, ISSUES) is VERIFIED
    assert state(False, ISSUES) is INVALID
    assert state(True) is INVALID
    assert state(True, SIGNS) is INVALID
    # The chain must end with a root.
    middle = certificate(
        middle_key, "middle", issuer=(key_for("ES256", 1), "root"), ca=True,
        more=[ISSUES],
    )  # fmt: skip
    key = ImageSigningKey(name="acme", certificates=(middle,))
    assert checked(envelope(chain=(below, middle)), key).state is INVALID


def test_a_path_length_limits_the_chain() -> None:
    short = (
        x509.CertificateBuilder()
        .subject_name(root().subject)
        .issuer_name(root().subject)
        .public_key(key_for("ES256", 1).public_key())
        .serial_number(7)
        .not_valid_before(NOON - timedelta(days=1))
        .not_valid_after(NOON + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(ISSUES[0], critical=True)
        .sign(key_for("ES256", 1), hashes.SHA256())
    )
    middle_key = key_for("ES256", 3)
    middle = certificate(
        middle_key, "middle", issuer=(key_for("ES256", 1), "root"), ca=True,
        more=[ISSUES],
    )  # fmt: skip
    key = ImageSigningKey(name="acme", certificates=(short,))
    chain = (leaf(issuer=(middle_key, "middle")), middle, short)
    assert checked(envelope(chain=chain), key).state is INVALID
    assert checked(envelope(chain=(leaf(), short)), key).state is VERIFIED


def test_a_signature_with_another_root_or_subject_is_untrusted() -> None:
    other = certificate(key_for("ES256", 4), "root", ca=True, more=[ISSUES])
    key = ImageSigningKey(name="acme", certificates=(other,))
    assert checked(envelope(), key).state is UNTRUSTED
    for subject, state in (("CN=leaf", VERIFIED), ("CN=leaf, O=x", UNTRUSTED)):
        key = ImageSigningKey(
            name="acme", certificates=(root(),), subjects=(parse_subject(subject),)
        )
        assert checked(envelope(), key).state is state


def test_an_expired_certificate_with_a_countersignature_is_unverifiable() -> None:
    later = NOW + 3 * 86_400
    assert checked(envelope(), now=later).state is INVALID
    countersigned = envelope(header={PREFIX + "timestampSignature": "AAAA"})
    verdict = checked(countersigned, now=later)
    assert verdict.state is UNVERIFIABLE
    assert "time stamp" in (verdict.reason or "")


def test_only_a_signing_authority_vouches_for_times() -> None:
    scheme = PREFIX + "signingScheme"
    raw = envelope(
        signingScheme="notary.x509.signingAuthority",
        signingTime="-",
        authenticSigningTime="2026-11-24T05:00:00Z",
        crit=[scheme, PREFIX + "authenticSigningTime"],
    )
    assert checked(raw).state is UNTRUSTED
    key = ImageSigningKey(name="a", certificates=(root(),), signing_authority=True)
    assert checked(raw, key, now=NOW + 9 * 86_400).state is VERIFIED


def test_rsa_keys_sign_with_pss_only() -> None:
    key = key_for("PS256")
    chain = (leaf(key=key), root())
    assert checked(envelope(chain=chain, algorithm="PS256", key=key)).state is VERIFIED
    assert checked(envelope(chain=chain, algorithm="RS256", key=key)).state is INVALID
    assert checked(envelope(chain=chain, algorithm="PS384", key=key)).state is INVALID


# -- cosign ------------------------------------------------------------------------

P256 = ImageSigningKey(
    name="release", public_keys=read_public_keys(pem(key_for("ES256")))
)


def signing_key() -> ec.EllipticCurvePrivateKey:
    key = key_for("ES256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def payload(**changes: Any) -> bytes:
    critical = {
        "identity": {"docker-reference": "registry.example.com/app"},
        "image": {"docker-manifest-digest": IMAGE},
        "type": "cosign container image signature",
    } | changes
    return json.dumps({"critical": critical, "optional": None}).encode()


def signed(data: bytes) -> dict[str, str]:
    made = signing_key().sign(data, ec.ECDSA(hashes.SHA256()))
    return {SIGNATURE: base64.b64encode(made).decode()}


def test_the_identity_of_cosign_s_payload_is_reported() -> None:
    data = payload()
    verdict = verify_simple_signing(data, signed(data), digest=IMAGE, keys=[P256])
    assert verdict == SignatureVerdict(
        state=VERIFIED, keys=("release",), identity="registry.example.com/app"
    )


@pytest.mark.parametrize(
    "data",
    [
        payload(type="atomic container signature"),
        payload(image={"docker-manifest-digest": digest("b")}),
        payload(image={"Docker-manifest-digest": IMAGE}),
        payload(image={"docker-manifest-digest": [IMAGE]}),
        payload(image=None),
        b'{"critical":{},"critical":{}}',
        b"[" * 5000,
        b"",
        b"null",
    ],
)
def test_a_payload_that_does_not_name_the_image_is_invalid(data: bytes) -> None:
    verdict = verify_simple_signing(data, signed(data), digest=IMAGE, keys=[P256])
    assert (verdict.state, verdict.keys) == (INVALID, ())


@pytest.mark.parametrize("text", ["", "***", "AAAA" * 9000, "é"])
def test_a_signature_that_is_not_base64_is_invalid(text: str) -> None:
    verdict = verify_simple_signing(
        payload(), {SIGNATURE: text}, digest=IMAGE, keys=[P256]
    )
    assert verdict.state is INVALID


def test_a_keyless_signature_is_unverifiable() -> None:
    name = x509.SubjectAlternativeName([x509.RFC822Name("dev@example.com")])
    fulcio = leaf(more=(SIGNS, CODE, (name, False)))
    text = fulcio.public_bytes(Encoding.PEM).decode()
    for certificate_text, identity in ((text, "dev@example.com"), ("x", None)):
        verdict = verify_simple_signing(
            payload(),
            {SIGNATURE: "AAAA", CERTIFICATE: certificate_text},
            digest=IMAGE,
            keys=[P256],
        )
        assert verdict.state is UNVERIFIABLE
        assert "keyless" in (verdict.reason or "")
        assert verdict.identity == identity


def test_a_keyless_certificate_with_names_of_an_unknown_kind_has_no_identity() -> None:
    # subjectAltName with an x400Address, RFC 5280 section 4.2.1.6: [3] {}.
    names = x509.UnrecognizedExtension(
        x509.SubjectAlternativeName.oid, bytes.fromhex("3002a300")
    )
    fulcio = leaf(more=(SIGNS, CODE, (names, False)))
    verdict = verify_simple_signing(
        payload(),
        {SIGNATURE: "AAAA", CERTIFICATE: fulcio.public_bytes(Encoding.PEM).decode()},
        digest=IMAGE,
        keys=[P256],
    )
    assert (verdict.state, verdict.identity) == (UNVERIFIABLE, None)


# -- bundles -----------------------------------------------------------------------


def message_bundle(sha256: bytes) -> bytes:
    made = signing_key().sign(sha256, ec.ECDSA(Prehashed(hashes.SHA256())))
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}},
            "messageSignature": {
                "messageDigest": {
                    "algorithm": "SHA2_256",
                    "digest": base64.b64encode(sha256).decode(),
                },
                "signature": base64.b64encode(made).decode(),
            },
        }
    ).encode()


def test_a_message_signature_is_of_the_manifest() -> None:
    sha256 = bytes.fromhex("aa" * 32)
    other = bytes.fromhex("bb" * 32)
    keys = [P256]
    for signed_digest, state in ((sha256, VERIFIED), (other, INVALID)):
        raw = message_bundle(signed_digest)
        assert verify_bundle(raw, digest=IMAGE, keys=keys).state is state
    # The stated digest is that of the image, but another one is signed.
    forged = json.loads(message_bundle(other))
    forged["messageSignature"]["messageDigest"] = json.loads(message_bundle(sha256))[
        "messageSignature"
    ]["messageDigest"]
    verdict = verify_bundle(json.dumps(forged).encode(), digest=IMAGE, keys=keys)
    assert verdict.state is UNTRUSTED


def statement_bundle(predicate: str, *, signatures: int = 1) -> bytes:
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate,
        "subject": [{"digest": {"sha256": "aa" * 32}}],
    }
    raw = json.dumps(statement).encode()
    pae = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(raw), raw)
    made = signing_key().sign(pae, ec.ECDSA(hashes.SHA256()))
    document = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "dsseEnvelope": {
            "payload": base64.b64encode(raw).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(made).decode()}] * signatures,
        },
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("predicate", "signatures", "state", "word"),
    [
        ("https://sigstore.dev/cosign/sign/v1", 1, VERIFIED, ""),
        ("https://sigstore.dev/cosign/sign/v1", 2, INVALID, "one signature"),
        ("https://sigstore.dev/cosign/sign/v1", 0, INVALID, "one signature"),
        ("https://slsa.dev/provenance/v1", 1, INVALID, "attestation"),
    ],
)
def test_one_signature_of_a_statement_that_the_image_is_signed(
    predicate: str, signatures: int, state: SignatureState, word: str
) -> None:
    bundle = statement_bundle(predicate, signatures=signatures)
    verdict = verify_bundle(bundle, digest=IMAGE, keys=[P256])
    assert verdict.state is state
    assert word in (verdict.reason or "")


# -- key files ---------------------------------------------------------------------


def test_key_files_that_cannot_be_used() -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505
    text = weak.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    private = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
    cert = root().public_bytes(Encoding.PEM)
    for read, data, word in (
        (read_public_keys, b"", "no public key"),
        (read_public_keys, text, "too weak"),
        (read_public_keys, private, "private key"),
        (read_public_keys, cert, "CERTIFICATE"),
        (read_public_keys, cert.replace(b"CERTIFICATE", b"PUBLIC KEY"), "read"),
        (read_certificates, b"", "no certificate"),
        (read_certificates, text, "PUBLIC KEY"),
        (read_certificates, b"\x30\x80", "read"),
    ):
        with pytest.raises(SigningKeyError, match=word):
            read(data)
    assert read_certificates(root().public_bytes(Encoding.DER)) == (root(),)
    for subject in ("", "x", "CN=a, CN=b", "CN"):
        with pytest.raises(SigningKeyError):
            parse_subject(subject)
