"""Certificate chains in a JWS header, and whether they lead to a trusted certificate.

Sources: RFC 7515 section 4.1.6 (`x5c`), RFC 5280 sections 4.2.1.3, 4.2.1.9 and 6.1
(path validation, as far as token services use it: no name constraints, no policies).
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from auditor.oci.jws import JwsError, PublicKey, supported_key

# A leaf, its issuers and a root; public web chains have 3 to 4.
MAX_CERTIFICATES = 10
# A critical extension that is not understood must not be passed over (RFC 5280 4.2).
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def from_x5c(value: object) -> tuple[x509.Certificate, ...]:
    """The certificates of an `x5c` member, leaf first, never none. `JwsError`."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CERTIFICATES:
        raise JwsError(f"x5c is not a list of 1 to {MAX_CERTIFICATES} certificates")
    try:
        return tuple(
            # Base64 of DER, not base64url (RFC 7515 section 4.1.6).
            x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
            for text in value
        )
    except (ValueError, TypeError):
        raise JwsError("x5c holds something that is not a certificate") from None


def public_key(certificate: x509.Certificate) -> PublicKey:
    """The key that a certificate is about. `JwsError` if it is of an unknown type."""
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
    """Raise `JwsError` unless the first certificate is trusted or leads to one.

    A trusted certificate is trusted itself, whoever signed it. Others need an issuer,
    trusted or the next of the chain, that may sign certificates. All that are used
    have to be valid at `now` (epoch seconds).
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
        raise JwsError("a certificate in the chain is damaged") from None
    if not start <= at <= end:
        raise JwsError(
            f"a certificate is only valid from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
        )
    if any(one.critical and one.oid not in _UNDERSTOOD for one in extensions):
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
