"""Verifies cosign's signatures with public keys: a payload that names a digest.

The payload is a blob in the format of containers' simple signing; its signature is an
annotation of its descriptor, without the name of a key or of an algorithm. So each key
is tried. Then the payload must name the image: a signature that was copied from another
image is invalid.

Sources: cosign specs/SIGNATURE_SPEC.md; containers-signature(5) (the payload), of which
cosign ignores `docker-reference`: it is the identity of the verdict, and not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from auditor.errors import ProtocolError
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
from auditor.oci.signing_keys import ImageSigningKey, is_signed_by
from auditor.oci.strict_json import parse_json

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
# The `critical.type` of cosign's payloads.
_PAYLOAD_TYPE = "cosign container image signature"
KEYLESS = (
    "it is keyless: signed with a certificate that was valid for minutes, and no key;"
    " keyless signatures are not verified"
)


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
        return invalid(other_digest(signed_digest)).from_(identity)
    names = names_of_signers(keys, payload, signature)
    if names:
        return verified(names).from_(identity)
    if certificate := annotations.get(CERTIFICATE):
        return unverifiable(KEYLESS).from_(_pem_identity(certificate))
    return by_none_of(keys).from_(identity)


def names_of_signers(
    keys: Sequence[ImageSigningKey], signed: bytes, signature: bytes
) -> list[str]:
    """The names of the keys that made a signature of these bytes."""
    return [
        key.name
        for key in keys
        if any(is_signed_by(one, signed, signature) for one in key.public_keys)
    ]


def by_none_of(keys: Sequence[ImageSigningKey]) -> SignatureVerdict:
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


def other_digest(digest: str) -> str:
    """The reason of a signature that belongs to another manifest."""
    return f"it is a signature of {digest}, not of this image"


def certificate_identity(certificate: x509.Certificate) -> str | None:
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
        return certificate_identity(x509.load_pem_x509_certificate(text.encode()))
    except ValueError:
        return None


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
