"""Signatures of JSON Web Signatures, checked with an algorithm that fits the key.

Sources: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms), RFC 7638 (thumbprint),
RFC 8037 (Ed25519), docker/libtrust (key ids). This module and those that need it are
the only ones in `auditor.protocol` that import PyJWT and cryptography.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from auditor.protocol import base64url

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


def verify(
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
    return base64url.encode(hashlib.sha256(canonical).digest())


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
