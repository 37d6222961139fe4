"""Verifies Notation's signatures (JWS) with a trust store of certificates.

An envelope is checked as notation does at the level `strict`, but for revocation, which
needs the network: the chain in the envelope must be complete and fit for code signing,
one of its certificates must be in the trust store, the signature must be by the first,
and the payload must be the descriptor of the image.

When certificates must be valid: now, for the scheme `notary.x509`, because its signing
time is only the signer's claim; at the signing time, for `notary.x509.signingAuthority`
and a key that is declared to be one. The countersignature of a time stamp authority is
not verified: with an expired certificate such a signature is unverifiable.

Sources: notation specs/signature-specification.md, signature-envelope-jws.md,
signing-scheme.md and trust-store-trust-policy.md; RFC 7515; RFC 5280 section 4.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.jws import (
    JwsError,
    PublicKey,
    algorithms,
    certificate_public_key,
    parse_x5c,
    verify_signature,
)
from auditor.oci.signature_verdict import (
    InvalidSignatureError,
    SignatureVerdict,
    invalid,
    untrusted,
    unverifiable,
    verified,
)
from auditor.oci.signing_keys import ImageSigningKey, Subject, subject_of
from auditor.oci.strict_json import decode_base64url, parse_json
from auditor.util.clock import rfc3339

COSE_TYPE = "application/cose"
COSE = "it is a COSE envelope, which auditor cannot verify; notation can also write JWS"

_PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
_PREFIX = "io.cncf.notary."
_SCHEME = _PREFIX + "signingScheme"
_SIGNING_TIME = _PREFIX + "signingTime"
_AUTHENTIC_TIME = _PREFIX + "authenticSigningTime"
_EXPIRY = _PREFIX + "expiry"
_PLUGIN = _PREFIX + "verificationPlugin"
_COUNTERSIGNATURE = _PREFIX + "timestampSignature"
_CRITICAL = frozenset({_SCHEME, _AUTHENTIC_TIME, _EXPIRY})
_X509, _AUTHORITY = "notary.x509", "notary.x509.signingAuthority"
# "Algorithm Selection": the key determines the algorithm, RSA only with PSS.
_RSA_ALGORITHMS = {2048: "PS256", 3072: "PS384", 4096: "PS512"}
# "Leaf Certificates", "Extended Key Usage".
_OTHER_PURPOSES = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any purpose",
    ExtendedKeyUsageOID.SERVER_AUTH: "server authentication",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client authentication",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "e-mail",
    ExtendedKeyUsageOID.TIME_STAMPING: "time stamping",
    ExtendedKeyUsageOID.OCSP_SIGNING: "OCSP",
}
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTarget:
    """The manifest that a signature must be of; `size` is its bytes."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """The parts of an envelope; times are epoch seconds."""

    signed: bytes
    signature: bytes
    payload: bytes
    algorithm: str | None
    scheme: str
    signed_at: float
    expires_at: float | None
    is_countersigned: bool
    chain: tuple[x509.Certificate, ...]


class _UnverifiableError(ValueError):
    """An envelope that needs what auditor does not have; the message is a clause."""


def verify_notation_jws(
    raw: bytes, target: SignedTarget, *, keys: Sequence[ImageSigningKey], now: float
) -> SignatureVerdict:
    """The verdict on an envelope as a signature of `target` at `now` (epoch seconds).

    `keys` without certificates are ignored. Never raises.
    """
    try:
        envelope = _parse_envelope(raw)
    except _UnverifiableError as error:
        return unverifiable(error)
    except (InvalidSignatureError, JwsError) as error:
        return invalid(error)
    verdict = _verdict(envelope, target, keys, now)
    return replace(
        verdict.from_(_name(envelope.chain[0])), signed_at=rfc3339(envelope.signed_at)
    )


def _verdict(
    envelope: _Envelope,
    target: SignedTarget,
    keys: Sequence[ImageSigningKey],
    now: float,
) -> SignatureVerdict:
    trusting = [
        key
        for key in keys
        if any(certificate in key.certificates for certificate in envelope.chain)
    ]
    if not trusting:
        names = ", ".join(key.name for key in keys if key.certificates)
        return untrusted(f"its certificates are in none of the trust stores: {names}")
    try:
        subject = subject_of(envelope.chain[0].subject)
    except ValueError:  # cryptography parses a name when it is asked for
        return invalid("the subject of its certificate cannot be read")
    named = [key for key in trusting if _has_subject(key, subject)]
    if not named:
        names = ", ".join(key.name for key in trusting)
        return untrusted(f"its certificate has none of the subjects of {names}")
    try:
        key, algorithm = _check_leaf(envelope.chain[0])
        _check_chain(envelope.chain)
        _check_algorithm(envelope.algorithm, algorithm)
        verify_signature(key, algorithm, envelope.signed, envelope.signature)
        _check_payload(envelope.payload, target)
    except (InvalidSignatureError, JwsError) as error:
        return invalid(error)
    return _verdict_on_times(envelope, named, now)


def _verdict_on_times(
    envelope: _Envelope, keys: Sequence[ImageSigningKey], now: float
) -> SignatureVerdict:
    """The verdict on a signature that is valid but for its times."""
    at = now
    if envelope.scheme == _AUTHORITY:
        keys = [key for key in keys if key.signing_authority]
        if not keys:
            return untrusted(
                "it is by a signing authority, and no key is declared as one"
                " (signing_authority = true)"
            )
        at = envelope.signed_at
    for certificate in envelope.chain:
        start, end = _validity(certificate)
        if start <= at <= end and start <= envelope.signed_at <= end:
            continue
        dates = f"from {rfc3339(start)} to {rfc3339(end)}"
        if envelope.is_countersigned and start <= envelope.signed_at <= end < at:
            return unverifiable(
                f"a certificate is only valid {dates}, and the countersignature of a"
                " time stamp authority is not verified"
            )
        return invalid(f"the certificate {_name(certificate)} is only valid {dates}")
    if envelope.expires_at is not None and now >= envelope.expires_at:
        return invalid(f"it expired on {rfc3339(envelope.expires_at)}")
    return verified([key.name for key in keys])


# -- envelope ----------------------------------------------------------------------


def _parse_envelope(raw: bytes) -> _Envelope:
    """Parse an envelope. Raises `InvalidSignatureError`, `JwsError`, unverifiable."""
    document = _object(raw, "envelope")
    protected_text = _text(document, "protected")
    payload_text = _text(document, "payload")
    protected = _object(_decoded(protected_text, "protected header"), "header")
    _check_critical(protected)
    scheme = protected.get(_SCHEME)
    if scheme not in {_X509, _AUTHORITY}:
        raise _UnverifiableError(f"the signing scheme {scheme!a} is not known")
    if protected.get("cty") != _PAYLOAD_TYPE:
        raise _UnverifiableError("the type of its payload is not known")
    header = document.get("header")
    if not isinstance(header, dict):
        raise InvalidSignatureError("it has no certificates")
    signed_at = _time(
        protected, _AUTHENTIC_TIME if scheme == _AUTHORITY else _SIGNING_TIME
    )
    if signed_at is None:
        raise InvalidSignatureError("it has no signing time")
    algorithm = protected.get("alg")
    return _Envelope(
        signed=f"{protected_text}.{payload_text}".encode("ascii"),
        signature=_decoded(_text(document, "signature"), "signature"),
        payload=_decoded(payload_text, "payload"),
        algorithm=algorithm if isinstance(algorithm, str) else None,
        scheme=scheme,
        signed_at=signed_at,
        expires_at=_time(protected, _EXPIRY),
        is_countersigned=bool(header.get(_COUNTERSIGNATURE)),
        chain=parse_x5c(header.get("x5c")),
    )


def _check_critical(protected: dict[str, Any]) -> None:
    """RFC 7515 section 4.1.11, and the headers that must be critical."""
    critical = protected.get("crit")
    if not isinstance(critical, list) or _SCHEME not in critical:
        raise InvalidSignatureError("its signing scheme is not marked as critical")
    if plugin := protected.get(_PLUGIN):
        raise _UnverifiableError(f"it needs the verification plugin {plugin!a}")
    unknown = [name for name in critical if name not in protected or not _known(name)]
    if unknown:
        raise _UnverifiableError(f"it has the critical header {unknown[0]!a}")
    for name in (_EXPIRY, _AUTHENTIC_TIME):
        if name in protected and name not in critical:
            raise InvalidSignatureError(f"its header {name} is not marked as critical")


def _known(name: object) -> bool:
    return isinstance(name, str) and name in _CRITICAL


def _check_algorithm(stated: str | None, algorithm: str) -> None:
    if stated != algorithm:
        raise InvalidSignatureError(
            f"its algorithm {stated!a} is not that of the key, {algorithm}"
        )


def _check_payload(payload: bytes, target: SignedTarget) -> None:
    document = _object(payload, "payload")
    signed = document.get("targetArtifact")
    if not isinstance(signed, dict):
        raise InvalidSignatureError("its payload names no artifact")
    if signed.get("digest") != target.digest:
        digest = signed.get("digest")
        raise InvalidSignatureError(f"it is a signature of {digest}, not of this image")
    size = signed.get("size")
    if type(size) is not int or size != target.size:
        raise InvalidSignatureError(
            f"its payload has the size {size!a}, and the manifest {target.size}"
        )
    if signed.get("mediaType") != target.media_type:
        raise InvalidSignatureError(
            f"its payload has the type {signed.get('mediaType')!a}, and the manifest"
            f" {target.media_type}"
        )


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        document = parse_json(raw, what)
    except ProtocolError as error:
        raise InvalidSignatureError(error.detail) from None
    if not isinstance(document, dict):
        raise InvalidSignatureError(f"the {what} is not a JSON object")
    return document


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise InvalidSignatureError(f'its envelope has no "{name}"')
    return value


def _decoded(text: str, what: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise InvalidSignatureError(f"the {what} is not base64url: {error}") from None


def _time(protected: dict[str, Any], name: str) -> float | None:
    """A time of a header in epoch seconds; None if it has none."""
    value = protected.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _TIME.fullmatch(value):
        # Python reads at most six digits of a second.
        text = re.sub(r"(\.\d{6})\d+", r"\1", value)
        try:
            time = datetime.fromisoformat(text).timestamp()
            rfc3339(time)  # with an offset, it can be out of the years 1 to 9999
        except (ValueError, OverflowError):
            pass
        else:
            return time
    raise InvalidSignatureError(f"its header {name} is not a time")


# -- certificates ------------------------------------------------------------------


def _check_leaf(leaf: x509.Certificate) -> tuple[PublicKey, str]:
    """The key of a certificate that may sign code, and its algorithm.

    "Leaf Certificates", and "Algorithm Selection": never "none" or HMAC.

    Raises `InvalidSignatureError` or `JwsError`.
    """
    extensions = _extensions(leaf)
    constraints = _extension(extensions, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise InvalidSignatureError("its certificate is one of an authority")
    usage = _extension(extensions, x509.KeyUsage)
    if usage is None or not usage.critical:
        raise InvalidSignatureError("its certificate has no critical key usage")
    allowed = usage.value
    others = (
        allowed.key_encipherment,
        allowed.data_encipherment,
        allowed.key_agreement,
        allowed.key_cert_sign,
        allowed.crl_sign,
    )
    if not allowed.digital_signature or any(others):
        raise InvalidSignatureError(
            "the key usage of its certificate is not digital signature alone"
        )
    purposes = _extension(extensions, x509.ExtendedKeyUsage)
    for oid in purposes.value if purposes is not None else ():
        if oid in _OTHER_PURPOSES:
            raise InvalidSignatureError(
                f"its certificate is for {_OTHER_PURPOSES[oid]}, not for code signing"
            )
    key = certificate_public_key(leaf)
    if isinstance(key, RSAPublicKey):
        if key.key_size not in _RSA_ALGORITHMS:
            raise InvalidSignatureError(
                f"its RSA key has {key.key_size} bits, not 2048, 3072 or 4096"
            )
        return key, _RSA_ALGORITHMS[key.key_size]
    if not isinstance(key, EllipticCurvePublicKey):
        raise InvalidSignatureError("its certificate has neither an RSA nor an EC key")
    return key, algorithms(key)[0]


def _check_chain(chain: Sequence[x509.Certificate]) -> None:
    """Raise `InvalidSignatureError` unless each certificate is issued by the next.

    The last one must be by itself: "Valid certificate chain MUST contain a root".
    """
    for depth, certificate in enumerate(chain):
        issuer = chain[depth + 1] if depth + 1 < len(chain) else certificate
        try:
            algorithm = certificate.signature_hash_algorithm
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise InvalidSignatureError(
                f"the certificate {_name(certificate)} is not issued by {_name(issuer)}"
            ) from None
        if isinstance(algorithm, SHA1):
            raise InvalidSignatureError("a certificate is signed with SHA-1")
        if depth:
            _check_authority(certificate, below=depth - 1)


def _check_authority(certificate: x509.Certificate, *, below: int) -> None:
    """Check that a certificate may issue, with `below` authorities below it."""
    extensions = _extensions(certificate)
    constraints = _extension(extensions, x509.BasicConstraints)
    usage = _extension(extensions, x509.KeyUsage)
    if (
        constraints is None
        or not constraints.critical
        or not constraints.value.ca
        or usage is None
        or not usage.critical
        or not usage.value.key_cert_sign
    ):
        raise InvalidSignatureError(
            f"the certificate {_name(certificate)} may not issue certificates"
        )
    length = constraints.value.path_length
    if length is not None and below > length:
        raise InvalidSignatureError("the certificate chain is longer than it may be")


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise InvalidSignatureError("a certificate cannot be read") from None


def _extension(
    extensions: x509.Extensions, kind: type[_Kind]
) -> x509.Extension[_Kind] | None:
    try:
        return extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _validity(certificate: x509.Certificate) -> tuple[float, float]:
    """The first and the last second in which a certificate is valid."""
    return (
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _has_subject(key: ImageSigningKey, subject: Subject | None) -> bool:
    """Whether a key accepts the subject of a signing certificate."""
    if not key.subjects:
        return True
    return subject is not None and any(
        wanted.items() <= subject.items() for wanted in key.subjects
    )


def _name(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except ValueError:
        return "(unreadable)"
