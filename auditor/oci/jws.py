"""Signatures of JSON Web Signatures, checked with an algorithm that fits the key.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 7638 (thumbprint),
RFC 8037 (Ed25519), docker/libtrust (key ids). This module and those that need it are
the only ones in `auditor.protocol` that import PyJWT and cryptography.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtensionOID
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci import encoding
from auditor.wire.token import Claims, read_claims

PublicKey = EllipticCurvePublicKey | RSAPublicKey | Ed25519PublicKey


class JwsError(ValueError):
    """A key, certificate or signature that cannot be used; the text is a clause."""


_ALGORITHMS = get_default_algorithms()
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518 section 3.3: "A key of size 2048 bits or larger MUST be used".
MIN_RSA_BITS = 2048
# RFC 7638 section 3.2, RFC 8037 section 2: what makes a key this key.
_MEMBERS = {"EC": ("crv", "x", "y"), "RSA": ("e", "n"), "OKP": ("crv", "x")}
_MEMBER = re.compile(r"[A-Za-z0-9_-]+")
_KEY_ALGORITHM = {"EC": "ES256", "RSA": "RS256", "OKP": "EdDSA"}
KEY_TYPES = tuple(_MEMBERS)


def public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """The public key of a JWK (of a private one, its public half).

    Raises `JwsError` with a clause for keys of other types and damaged ones.
    """
    members = _members(jwk)
    try:
        key = _ALGORITHMS[_KEY_ALGORITHM[members["kty"]]].from_jwk(members)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError):
        raise JwsError("the JWK is damaged") from None
    return supported_key(key)


def supported_key(key: object) -> PublicKey:
    """Narrow to the types of key that are supported. Raises `JwsError`."""
    if not isinstance(key, PublicKey):
        raise JwsError("keys of this type are not supported")
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise JwsError(f"keys on the curve {key.curve.name} are not supported")
    return key


def verify_signature(
    key: PublicKey, algorithm: str | None, signed: bytes, signature: bytes
) -> None:
    """Raise `JwsError` with a clause unless `key` made `signature` over `signed`.

    The key decides which algorithms are acceptable, never the document (RFC 8725
    section 3.1): no "none", and no HMAC with a public key as its secret.
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
    """The algorithms that a key can check (RFC 7518 section 3.1)."""
    if isinstance(key, RSAPublicKey):
        return _RSA_ALGORITHMS
    if isinstance(key, Ed25519PublicKey):
        return ("EdDSA",)
    return (_CURVES[key.curve.name],)


def libtrust_key_id(key: PublicKey) -> str:
    """`ABCD:EFGH:...`: 240 bits of sha256 over the DER key, in 12 groups (base32)."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode("ascii")
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def rfc7638_thumbprint(jwk: Mapping[str, Any]) -> str:
    """The base64url sha256 of the members that make the key. `JwsError` as above."""
    canonical = orjson.dumps(_members(jwk), option=orjson.OPT_SORT_KEYS)
    return encoding.encode_base64url(hashlib.sha256(canonical).digest())


def jwk_of(key: PublicKey) -> dict[str, str]:
    """The JWK of a public key, with the members that the thumbprint is over."""
    return _members(_ALGORITHMS[algorithms(key)[0]].to_jwk(key, as_dict=True))


def _members(jwk: Mapping[str, Any]) -> dict[str, str]:
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise JwsError(f"keys of type {ascii(kind)[:80]} are not supported")
    members = {"kty": kind}
    for name in _MEMBERS[kind]:
        value = jwk.get(name)
        if not isinstance(value, str) or not _MEMBER.fullmatch(value):
            raise JwsError("the JWK is damaged")
        members[name] = value
    return members


# -- certificates --
# Certificate chains in a JWS header, and whether they lead to a trusted certificate.
#
# Sources: RFC 7515 section 4.1.6 (`x5c`), RFC 5280 sections 4.2.1.3, 4.2.1.9 and 6.1
# (path validation, as far as token services use it: no name constraints, no policies).

# A leaf, its issuers and a root; public web chains have 3 to 4.
MAX_CERTIFICATES = 10
# A critical extension that is not understood must not be passed over (RFC 5280 4.2).
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


def parse_x5c(value: object) -> tuple[x509.Certificate, ...]:
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


def certificate_public_key(certificate: x509.Certificate) -> PublicKey:
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


# -- key_set --
# The keys that a user trusts to sign tokens, read from a file's bytes.
#
# Sources: RFC 7468 (PEM), RFC 7517 section 5 (JWK sets), RFC 7638 (thumbprints),
# distribution's access controller (`rootcertbundle`, `jwks`, libtrust key ids).

# RFC 7468: text between blocks is allowed and says nothing.
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key of the set and every name it may be called by, libtrust's id first."""

    key: PublicKey
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The trusted keys, and the certificates that `x5c` chains may lead to."""

    keys: tuple[TrustedKey, ...]
    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> KeySet:
        """Read a PEM bundle (public keys, certificates), a JWKS or a single JWK.

        Raises `ProtocolError` with a sentence: nothing usable in it, a damaged block,
        or a private key, which does not belong where tokens are only checked.
        """
        try:
            if data.lstrip()[:1] == b"{":
                return cls(keys=tuple(_from_json(data)))
            return _from_pem(data)
        except JwsError as error:
            raise ProtocolError(f"the token keys cannot be used: {error}") from None

    def named(self, name: object) -> tuple[TrustedKey, ...]:
        """The keys with this libtrust id, RFC 7638 thumbprint or own `kid`."""
        return tuple(trusted for trusted in self.keys if name in trusted.names)


def _from_json(data: bytes) -> Iterator[TrustedKey]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JwsError(f"it is not JSON: {error.msg} at byte {error.pos}") from None
    jwks = document.get("keys", [document])
    if not isinstance(jwks, list):
        raise JwsError('its "keys" is not a list')
    # RFC 7517 section 5: keys of unknown types are passed over, and so are those that
    # are not for signatures.
    usable = [
        jwk
        for jwk in jwks
        if isinstance(jwk, dict)
        and jwk.get("kty") in KEY_TYPES
        and jwk.get("use", "sig") == "sig"
    ]
    if not usable:
        raise JwsError("it holds no public key that signs")
    for jwk in usable:
        if "d" in jwk:
            raise JwsError("it holds a private key; only public keys belong there")
        yield _trusted(public_key(jwk), jwk.get("kid"))


def _from_pem(data: bytes) -> KeySet:
    keys: dict[str, TrustedKey] = {}
    anchors = []
    for block in _PEM_BLOCK.finditer(data):
        if block[1].endswith(b"PRIVATE KEY"):
            raise JwsError("it holds a private key; only public keys belong there")
        try:
            if block[1] == b"CERTIFICATE":
                anchors.append(x509.load_pem_x509_certificate(block[0]))
                key = certificate_public_key(anchors[-1])
            elif block[1].endswith(b"PUBLIC KEY"):
                key = supported_key(load_pem_public_key(block[0]))
            else:
                continue
        except (ValueError, UnsupportedAlgorithm) as error:
            shown = error if isinstance(error, JwsError) else "it cannot be read"
            label = block[1].decode("ascii")
            raise JwsError(f"its {label} at byte {block.start()}: {shown}") from None
        trusted = _trusted(key)
        keys[trusted.names[0]] = trusted
    if not keys:
        raise JwsError("it is neither PEM with public keys or certificates nor a JWKS")
    return KeySet(keys=tuple(keys.values()), certificates=tuple(anchors))


def _trusted(key: PublicKey, own_name: object = None) -> TrustedKey:
    names = [libtrust_key_id(key), rfc7638_thumbprint(jwk_of(key))]
    if isinstance(own_name, str) and own_name and own_name not in names:
        names.append(own_name)
    return TrustedKey(key=key, names=tuple(names))


# -- keys --
# A token checked with the keys that a user trusts.
#
# Sources: distribution's access controller, RFC 7515, RFC 7519, RFC 8725 (best
# practices). What a token brings along proves nothing: `jku` and `x5u` are never
# followed, `jwk` and `kid` only choose among the keys of the set, and `x5c` has to lead
# to a certificate of the set.

__all__ = [
    "KeySet",
    "Verification",
    "libtrust_key_id",
    "rfc7638_thumbprint",
    "verify_token",
]

# Clocks of token services and registries differ; distribution allows the same.
LEEWAY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a token is good, and a sentence that says why. `key_id` is libtrust's."""

    verified: bool
    reason: str
    key_id: str | None


def verify_token(
    token: str,
    keys: KeySet,
    *,
    audience: str | None,
    issuer: str | None,
    now: float,
    leeway_s: float = LEEWAY_S,
) -> Verification:
    """Check signature, times, audience and issuer at `now` (epoch s). Never raises.

    `None` for audience or issuer: any will do.
    """
    claims = read_claims(token)
    if claims is None:
        return Verification(
            verified=False, reason="the token is not a readable JWT", key_id=None
        )
    signed, _, signature = token.rpartition(".")
    key_id = None
    try:
        candidates = _candidates(claims.header, keys, now)
        key_id = libtrust_key_id(candidates[0])
        key_id = _signer(candidates, claims.header, signed.encode(), signature)
        _check_claims(
            claims, audience=audience, issuer=issuer, now=now, leeway_s=leeway_s
        )
    except JwsError as error:
        return Verification(verified=False, reason=str(error), key_id=key_id)
    return Verification(
        verified=True, reason=f"signed by the trusted key {key_id}", key_id=key_id
    )


def _candidates(
    header: Mapping[str, Any], keys: KeySet, now: float
) -> tuple[PublicKey, ...]:
    """The trusted keys that the header chooses, never none (distribution's order)."""
    if header.get("x5c") is not None:
        chain = parse_x5c(header["x5c"])
        check_chain(chain, keys.certificates, now=now)
        return (certificate_public_key(chain[0]),)
    name: object
    if isinstance(jwk := header.get("jwk"), dict):
        # The JWK's own words for its id are not asked: the id is computed.
        name = libtrust_key_id(public_key(jwk))
    else:
        name = header.get("kid")
    found = keys.keys if name is None else keys.named(name)
    if not found:
        raise JwsError(f"the token's key {name!a} is not among the trusted keys")
    return tuple(trusted.key for trusted in found)


def _signer(
    candidates: tuple[PublicKey, ...],
    header: Mapping[str, Any],
    signed: bytes,
    signature: str,
) -> str:
    if "crit" in header:  # RFC 7515 section 4.1.11: not understood is not valid
        raise JwsError("the token needs extensions that are not supported (crit)")
    try:
        raw = encoding.decode_base64url(signature)
    except ValueError as error:
        raise JwsError(f"the signature is damaged: {error}") from None
    refusal = JwsError("no key")
    for key in candidates:
        try:
            verify_signature(key, header.get("alg"), signed, raw)
        except JwsError as error:
            refusal = error
        else:
            return libtrust_key_id(key)
    raise refusal


def _check_claims(
    claims: Claims,
    *,
    audience: str | None,
    issuer: str | None,
    now: float,
    leeway_s: float,
) -> None:
    # PyJWT would take the time from the system, so the rules stand here.
    times = {
        "exp": claims.expires_at,
        "nbf": claims.not_before,
        "iat": claims.issued_at,
    }
    for name, value in times.items():
        if value is None and claims.payload.get(name) is not None:
            raise JwsError(f"the token's {name} is not a time")
    if claims.expires_at is not None and now >= claims.expires_at + leeway_s:
        raise JwsError("the token has expired")
    if claims.not_before is not None and now < claims.not_before - leeway_s:
        raise JwsError("the token is not valid yet")
    if claims.issued_at is not None and now < claims.issued_at - leeway_s:
        raise JwsError("the token was issued in the future")
    if audience is not None and audience not in claims.audience:
        raise JwsError(f"the token is not for the service {audience!a}")
    if issuer is not None and issuer != claims.issuer:
        raise JwsError(f"the token is not from the issuer {issuer!a}")
