"""JSON Web Signatures: public keys, their ids, signatures and certificate chains.

`check_libtrust_signature` checks a signature of a schema 1 manifest.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 7638 (thumbprint),
RFC 8037 (Ed25519), docker/libtrust (key ids, signatures: jsonsign.go); RFC 5280
sections 4.2.1.3, 4.2.1.9 and 6.1 for certificates, without name constraints and
policies: token services use none.

PyJWT and cryptography are slow to import: nothing that a command imports at its start
may import this module.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from auditor.fast_dataclass import dataclass
from auditor.oci.strict_json import decode_base64url, encode_base64url

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


class JwsError(ValueError):
    """A key, certificate or signature that cannot be used; the message is a clause."""


_ALGORITHMS = get_default_algorithms()
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518 section 3.3: "A key of size 2048 bits or larger MUST be used".
MIN_RSA_BITS = 2048
# RFC 7638 section 3.2, RFC 8037 section 2: the members that identify a key.
_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("e", "n"), "OKP": ("crv", "x")}
_MEMBER = re.compile(r"[A-Za-z0-9_-]+")
_KEY_ALGORITHM = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
KEY_TYPES = tuple(_MEMBERS)
# A leaf, intermediate certificates and a root; public web chains have 3 to 4.
MAX_CERTIFICATES = 10
# RFC 5280 section 4.2: a certificate with another critical extension is refused.
_SUPPORTED_EXTENSIONS = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """The public key of a JWK, or of the public half of a private one.

    Raises `JwsError` for unsupported types and invalid keys.
    """
    members = _members(jwk)
    try:
        key = _ALGORITHMS[_KEY_ALGORITHM[members["kty"]]].from_jwk(members)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError):
        raise JwsError("the JWK is invalid") from None
    return supported_key(key)


def supported_key(key: object) -> PublicKey:
    """The key, if its type is supported. Raises `JwsError`."""
    if not isinstance(key, PublicKey):
        raise JwsError("keys of this type are not supported")
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise JwsError(f"keys on the curve {key.curve.name} are not supported")
    return key


def verify_signature(
    key: PublicKey, algorithm: str | None, signed: bytes, signature: bytes
) -> None:
    """Raise `JwsError` unless `key` signed the bytes `signed` with `signature`.

    The key determines the accepted algorithms, not the document (RFC 8725 section 3.1):
    not "none", and not HMAC with the public key as its secret.
    """
    if algorithm not in algorithms(key):
        raise JwsError(
            f"the algorithm {ascii(algorithm)[:80]} does not fit the key, which is for "
            + " or ".join(algorithms(key))
        )
    if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise JwsError(f"an RSA key of {key.key_size} bits is too weak")
    if not _ALGORITHMS[algorithm].verify(signed, key, signature):
        raise JwsError("the signature does not match content and key")


def algorithms(key: PublicKey) -> tuple[str, ...]:
    """The signature algorithms of a key (RFC 7518 section 3.1)."""
    if isinstance(key, RSAPublicKey):
        return _RSA_ALGORITHMS
    if isinstance(key, Ed25519PublicKey):
        return ("EdDSA",)
    return (_CURVES[key.curve.name],)


def libtrust_key_id(key: PublicKey) -> str:
    """`ABCD:EFGH:...`: 240 bits of the DER key's sha256, base32, in 12 groups."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode("ascii")
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def rfc7638_thumbprint(jwk: Mapping[str, Any]) -> str:
    """The base64url sha256 of the members that identify the key. Raises `JwsError`."""
    canonical = orjson.dumps(_members(jwk), option=orjson.OPT_SORT_KEYS)
    return encode_base64url(hashlib.sha256(canonical).digest())


def jwk_of(key: PublicKey) -> dict[str, str]:
    """The JWK of a public key, with the members of its thumbprint."""
    return _members(_ALGORITHMS[algorithms(key)[0]].to_jwk(key, as_dict=True))


def _members(jwk: Mapping[str, Any]) -> dict[str, str]:
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise JwsError(f"keys of type {ascii(kind)[:80]} are not supported")
    members = {"kty": kind}
    for name in _MEMBERS[kind]:
        value = jwk.get(name)
        if not isinstance(value, str) or not _MEMBER.fullmatch(value):
            raise JwsError("the JWK is invalid")
        members[name] = value
    return members


def parse_x5c(value: object) -> tuple[x509.Certificate, ...]:
    """The certificates of an `x5c` header, leaf first. Raises `JwsError`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CERTIFICATES:
        raise JwsError(f"x5c is not a list of 1 to {MAX_CERTIFICATES} certificates")
    try:
        return tuple(
            # RFC 7515 section 4.1.6: base64 of DER, not base64url.
            x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
            for text in value
        )
    except (ValueError, TypeError):
        raise JwsError("x5c contains something that is not a certificate") from None


def certificate_public_key(certificate: x509.Certificate) -> PublicKey:
    """The public key of a certificate. Raises `JwsError` if it is not supported."""
    try:
        return supported_key(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise JwsError("the certificate's key cannot be read") from None


def check_chain(
    chain: tuple[x509.Certificate, ...],
    trusted: Collection[x509.Certificate],
    *,
    now: float,
) -> None:
    """Raise `JwsError` unless the first certificate leads to a trusted one.

    The first certificate can be trusted itself. Every certificate that is not trusted
    must be issued by a trusted certificate or the next one in the chain, which must be
    allowed to issue. All must be valid at `now` (epoch seconds).
    """
    for number, certificate in enumerate(chain):
        _check_valid(certificate, now, issues=number > 0)
        if certificate in trusted:
            return
        for anchor in trusted:
            if _issued(certificate, anchor):
                _check_valid(anchor, now, issues=True)
                return
        if number + 1 == len(chain) or not _issued(certificate, chain[number + 1]):
            break
    raise JwsError("the certificate chain in x5c does not lead to a trusted one")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_valid(certificate: x509.Certificate, now: float, *, issues: bool) -> None:
    try:
        at = datetime.fromtimestamp(now, UTC)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        extensions = certificate.extensions
    except (ValueError, OverflowError, OSError):
        raise JwsError("a certificate in the chain is invalid") from None
    if not start <= at <= end:
        raise JwsError(
            f"a certificate is only valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
        )
    if any(
        each.critical and each.oid not in _SUPPORTED_EXTENSIONS for each in extensions
    ):
        raise JwsError("a certificate has a critical extension that is not supported")
    if issues and not _may_issue(extensions):
        raise JwsError("a certificate in the chain may not issue certificates")


def _may_issue(extensions: x509.Extensions) -> bool:
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        return False
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


_VALID = "the signature is valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """The result for one signature; the owner of the key is unknown.

    `key_id` is the libtrust id computed from the key, not the claimed one.
    """

    valid: bool
    key_id: str | None
    algorithm: str | None
    reason: str


def check_libtrust_signature(encoded_payload: str, signature: object) -> SignatureCheck:
    """Check an entry of a schema 1 manifest's `signatures` with the key in its header.

    Never raises.
    """
    fields = signature if isinstance(signature, dict) else {}
    header = fields.get("header")
    header = header if isinstance(header, dict) else {}
    algorithm = header.get("alg")
    algorithm = algorithm if isinstance(algorithm, str) else None
    key_id, reason = None, _VALID
    try:
        key = _libtrust_key(header)
        key_id = libtrust_key_id(key)
        _check_claimed_id(header, key_id)
        signature_bytes = _decode(fields.get("signature"), "signature")
        protected = fields.get("protected")
        _decode(protected, "protected header")
        signed = f"{protected}.{encoded_payload}".encode("ascii")
        verify_signature(key, algorithm, signed, signature_bytes)
    except JwsError as error:
        reason = str(error)
    return SignatureCheck(
        valid=reason == _VALID, key_id=key_id, algorithm=algorithm, reason=reason
    )


def _libtrust_key(header: Mapping[str, Any]) -> PublicKey:
    if header.get("x5c"):  # a certificate chain replaces the key
        return certificate_public_key(parse_x5c(header["x5c"])[0])
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise JwsError("the signature has no key")
    return public_key(jwk)


def _check_claimed_id(header: Mapping[str, Any], key_id: str) -> None:
    jwk = header.get("jwk")
    claimed = jwk.get("kid") if isinstance(jwk, dict) else None
    if claimed is not None and claimed != key_id:
        raise JwsError("the key id in the JWK is not the id of its key")


def _decode(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise JwsError(f"the {what} is missing")
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise JwsError(f"the {what} is not base64url: {error}") from None
