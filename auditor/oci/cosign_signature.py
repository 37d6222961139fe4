"""Verifies cosign's signatures with public keys: simple signing, and sigstore bundles.

The payload of simple signing is a blob that names a digest; its signature is an
annotation of its descriptor, without the name of a key or of an algorithm. So each key
is tried. Then the payload must name the image: a signature that was copied from another
image is invalid.

A bundle contains either a DSSE envelope, whose statement names what is signed, or a
message signature of the manifest itself. Its verification material is a hint to a
public key, or a certificate. Entries of a transparency log are ignored: the key is what
is trusted.

Keyless signatures are not verified.

Sources: cosign specs/SIGNATURE_SPEC.md; containers-signature(5) (the payload), of which
cosign ignores `docker-reference`: it is the identity of the verdict, and not compared.
Of bundles: cosign specs/BUNDLE_SPEC.md; sigstore protobuf-specs,
`sigstore_bundle.proto` and `sigstore_common.proto`; DSSE protocol.md (the bytes that
are signed); in-toto attestation spec/v1/statement.md and envelope.md (a bundle has one
signature).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from auditor.errors import ProtocolError
from auditor.oci.attachments import SIGNING_PREDICATE
from auditor.oci.signature_verdict import (
    MAX_SIGNATURE_BYTES,
    InvalidSignatureError,
    SignatureVerdict,
    decode_base64,
    invalid,
    untrusted,
    unverifiable,
    verified,
)
from auditor.oci.signing_keys import ImageSigningKey, is_digest_signed_by, is_signed_by
from auditor.oci.strict_json import parse_json

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
# The `critical.type` of cosign's payloads.
_PAYLOAD_TYPE = "cosign container image signature"
_KEYLESS = (
    "it is keyless: signed with a certificate that was valid for minutes, and no key;"
    " keyless signatures are not verified"
)
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle"
_STATEMENT_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/"
# A certificate of Fulcio has some 800 bytes.
_MAX_CERTIFICATE_BYTES = 64 * 1024
# cosign's statements have 300 bytes.
MAX_PAYLOAD_BYTES = 1024 * 1024
# Subjects of a statement.
MAX_ENTRIES = 100


# -- simple signing --


def verify_simple_signing(
    payload: bytes,
    annotations: Mapping[str, str],
    *,
    digest: str,
    keys: Sequence[ImageSigningKey],
) -> SignatureVerdict:
    """The verdict on a payload and its annotations as a signature of `digest`.

    `keys` without public keys are ignored. Never raises.
    """
    try:
        signature = decode_base64(
            annotations.get(SIGNATURE), "signature", max_bytes=MAX_SIGNATURE_BYTES
        )
        signed_digest, identity = _parse_payload(payload)
    except InvalidSignatureError as error:
        return invalid(error)
    if signed_digest != digest:
        return invalid(_other_digest(signed_digest)).from_(identity)
    names = _names_of_signers(keys, payload, signature)
    if names:
        return verified(names).from_(identity)
    if certificate := annotations.get(CERTIFICATE):
        return unverifiable(_KEYLESS).from_(_pem_identity(certificate))
    return _by_none_of(keys).from_(identity)


def _parse_payload(payload: bytes) -> tuple[str, str | None]:
    """The digest that a payload names, and its docker-reference."""
    try:
        document = parse_json(payload, "payload")
    except ProtocolError as error:
        raise InvalidSignatureError(error.detail) from None
    critical = _member(document, "critical")
    kind = critical.get("type")
    if kind != _PAYLOAD_TYPE:
        raise InvalidSignatureError(
            "its payload is not of the type of cosign's signatures"
        )
    digest = _member(critical, "image").get("docker-manifest-digest")
    if not isinstance(digest, str):
        raise InvalidSignatureError("its payload names no digest")
    identity = critical.get("identity")
    reference = identity.get("docker-reference") if isinstance(identity, dict) else None
    return digest, reference if isinstance(reference, str) else None


def _member(document: object, name: str) -> dict[str, Any]:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, dict):
        raise InvalidSignatureError(f'its payload has no "{name}"')
    return value


# -- bundles --


def verify_bundle(
    raw: bytes, *, digest: str, keys: Sequence[ImageSigningKey]
) -> SignatureVerdict:
    """The verdict on a bundle as a signature of `digest`.

    `keys` without public keys are ignored. Never raises.
    """
    try:
        bundle = _parse_bundle(raw)
        if isinstance(bundle.get("dsseEnvelope"), dict):
            names = _envelope_signers(bundle["dsseEnvelope"], digest, keys)
        else:
            message = _object(bundle.get("messageSignature"), "signature")
            found = _message_signers(message, digest, keys)
            if isinstance(found, SignatureVerdict):
                return found
            names = found
    except InvalidSignatureError as error:
        return invalid(error)
    if names:
        return verified(names)
    certificate = _certificate(bundle.get("verificationMaterial"))
    if certificate is not None:
        return unverifiable(_KEYLESS).from_(_der_identity(certificate))
    return _by_none_of(keys)


def _parse_bundle(raw: bytes) -> dict[str, Any]:
    bundle = _object(_parsed(raw, "bundle"), "document")
    media_type = bundle.get("mediaType")
    if not isinstance(media_type, str) or not media_type.startswith(_BUNDLE_TYPE):
        raise InvalidSignatureError("its document is not a sigstore bundle")
    return bundle


def _envelope_signers(
    envelope: dict[str, Any], digest: str, keys: Sequence[ImageSigningKey]
) -> list[str]:
    """The keys that signed a statement that `digest` is signed."""
    payload = decode_base64(
        envelope.get("payload"), "payload", max_bytes=MAX_PAYLOAD_BYTES
    )
    payload_type = envelope.get("payloadType")
    if payload_type != _STATEMENT_TYPE:
        raise InvalidSignatureError("its payload is not an in-toto statement")
    _check_statement(payload, digest)
    encoded_type = payload_type.encode()
    # DSSE protocol.md: PAE(type, body).
    signed = b"DSSEv1 %d %s %d %s" % (
        len(encoded_type),
        encoded_type,
        len(payload),
        payload,
    )
    entries = envelope.get("signatures")
    if not isinstance(entries, list) or len(entries) != 1:
        raise InvalidSignatureError("its envelope does not have one signature")
    signature = decode_base64(
        _object(entries[0], "signature").get("sig"),
        "signature",
        max_bytes=MAX_SIGNATURE_BYTES,
    )
    return _names_of_signers(keys, signed, signature)


def _check_statement(payload: bytes, digest: str) -> None:
    statement = _object(_parsed(payload, "payload"), "payload")
    kind, predicate = statement.get("_type"), statement.get("predicateType")
    if not isinstance(kind, str) or not kind.startswith(_STATEMENT):
        raise InvalidSignatureError("its payload is not an in-toto statement")
    if not isinstance(predicate, str) or not predicate.startswith(SIGNING_PREDICATE):
        raise InvalidSignatureError(
            "its statement is not that the image is signed, but an attestation"
        )
    algorithm, _, encoded = digest.partition(":")
    signed = []
    for entry in _list(statement.get("subject"), "subject"):
        digests = _object(_object(entry, "subject").get("digest"), "digest")
        if digests.get(algorithm) == encoded:
            return
        signed += [f"{name}:{value}" for name, value in digests.items()]
    raise InvalidSignatureError(_other_digest(", ".join(signed[:3]) or "nothing"))


def _message_signers(
    message: dict[str, Any], digest: str, keys: Sequence[ImageSigningKey]
) -> list[str] | SignatureVerdict:
    """The keys that signed the manifest itself, of which only the digest is needed."""
    stated = _object(message.get("messageDigest"), "digest")
    if stated.get("algorithm") != "SHA2_256" or not digest.startswith("sha256:"):
        return unverifiable("its digest is not of SHA-256")
    value = decode_base64(stated.get("digest"), "digest", max_bytes=32)
    if f"sha256:{value.hex()}" != digest:
        raise InvalidSignatureError(_other_digest(f"sha256:{value.hex()}"))
    signature = decode_base64(
        message.get("signature"), "signature", max_bytes=MAX_SIGNATURE_BYTES
    )
    return [
        key.name
        for key in keys
        if any(is_digest_signed_by(one, value, signature) for one in key.public_keys)
    ]


def _certificate(material: object) -> bytes | None:
    """The signing certificate; None if the material is a hint to a public key."""
    if not isinstance(material, dict):
        return None
    certificate = material.get("certificate")
    chain = material.get("x509CertificateChain")
    if isinstance(chain, dict) and isinstance(chain.get("certificates"), list):
        certificate = next(iter(chain["certificates"]), None)
    if not isinstance(certificate, dict):
        return None
    try:
        return decode_base64(
            certificate.get("rawBytes"),
            "certificate",
            max_bytes=_MAX_CERTIFICATE_BYTES,
        )
    except InvalidSignatureError:
        return b""


def _der_identity(certificate: bytes) -> str | None:
    try:
        return _certificate_identity(x509.load_der_x509_certificate(certificate))
    except ValueError:
        return None


def _parsed(raw: bytes, what: str) -> object:
    try:
        return parse_json(raw, what)
    except ProtocolError as error:
        raise InvalidSignatureError(error.detail) from None


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSignatureError(f"its bundle has no valid {what}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ENTRIES:
        raise InvalidSignatureError(
            f"its {what} are not a list of 1 to {MAX_ENTRIES} entries"
        )
    return value


# -- both --


def _names_of_signers(
    keys: Sequence[ImageSigningKey], signed: bytes, signature: bytes
) -> list[str]:
    """The names of the keys that made a signature of these bytes."""
    return [
        key.name
        for key in keys
        if any(is_signed_by(one, signed, signature) for one in key.public_keys)
    ]


def _by_none_of(keys: Sequence[ImageSigningKey]) -> SignatureVerdict:
    """The verdict on a signature that no key verifies.

    cosign signs with Ed25519 keys in the variant Ed25519ph (RFC 8032 section 5.1),
    which cryptography does not have.
    """
    hashed = [
        key.name
        for key in keys
        if any(isinstance(one, Ed25519PublicKey) for one in key.public_keys)
    ]
    if hashed:
        return unverifiable(
            f"it may be by {', '.join(hashed)} in cosign's variant Ed25519ph, which"
            " auditor cannot verify"
        )
    names = ", ".join(key.name for key in keys if key.public_keys)
    return untrusted(f"it is by none of the public keys: {names}")


def _other_digest(digest: str) -> str:
    """The reason of a signature that belongs to another manifest."""
    return f"it is a signature of {digest}, not of this image"


def _certificate_identity(certificate: x509.Certificate) -> str | None:
    """The first name of a Fulcio certificate: an address or a URL; None without one."""
    try:
        names = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
        found = [
            *names.get_values_for_type(x509.RFC822Name),
            *names.get_values_for_type(x509.UniformResourceIdentifier),
        ]
    except (
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        ValueError,
    ):
        return None
    return found[0] if found else None


def _pem_identity(text: str) -> str | None:
    try:
        return _certificate_identity(x509.load_pem_x509_certificate(text.encode()))
    except ValueError:
        return None
