"""Verifies registry tokens with the keys that the user trusts (`--token-keys`).

A `KeySet` is read from a file: PEM (RFC 7468) or JWKS (RFC 7517 section 5).
`verify_token` finds the signing key in it, then checks signature and claims, as
distribution's access controller does (RFC 7515, RFC 7519, RFC 8725).

The content of a token proves nothing: `jku` and `x5u` are never fetched, `jwk` and
`kid` only select a key of the set, and `x5c` must lead to a certificate of the set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.jws import (
    KEY_TYPES,
    JwsError,
    PublicKey,
    certificate_public_key,
    check_chain,
    jwk_of,
    libtrust_key_id,
    parse_x5c,
    public_key,
    rfc7638_thumbprint,
    supported_key,
    verify_signature,
)
from auditor.oci.strict_json import decode_base64url
from auditor.wire.token import claims_of, read_jwt

# Allowed difference between the clocks of token service and registry, in seconds; the
# same as distribution's.
LEEWAY_S = 60.0
_PRIVATE_KEY = "it contains a private key; remove it: only public keys are needed"
# RFC 7468: text between blocks is ignored.
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key of the set, its libtrust id, RFC 7638 thumbprint and, if any, `kid`."""

    key: PublicKey
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The trusted keys, and the trust anchors of `x5c` chains."""

    keys: tuple[TrustedKey, ...]
    certificates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> KeySet:
        """Read a PEM bundle of public keys and certificates, a JWKS or a single JWK.

        Raises `ProtocolError` if there is no usable key, a block is invalid, or there
        is a private key, which is not needed to verify tokens.
        """
        try:
            if data.lstrip()[:1] == b"{":
                return cls(keys=tuple(_from_json(data)))
            return _from_pem(data)
        except JwsError as error:
            raise ProtocolError(f"the token keys cannot be used: {error}") from None


def _from_json(data: bytes) -> Iterator[TrustedKey]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise JwsError(
            f"the file is not JSON: {error.msg} at byte {error.pos}"
        ) from None
    jwks = document.get("keys", [document])
    if not isinstance(jwks, list):
        raise JwsError('the "keys" of the file is not a list')
    # RFC 7517 section 5: keys of unknown types and keys that do not sign are ignored.
    usable = [
        jwk
        for jwk in jwks
        if isinstance(jwk, dict)
        and jwk.get("kty") in KEY_TYPES
        and jwk.get("use", "sig") == "sig"
    ]
    if not usable:
        raise JwsError("the file contains no public key for signatures")
    for jwk in usable:
        if "d" in jwk:
            raise JwsError(_PRIVATE_KEY)
        yield _trusted(public_key(jwk), jwk.get("kid"))


def _from_pem(data: bytes) -> KeySet:
    keys: dict[str, TrustedKey] = {}
    certificates = []
    for block in _PEM_BLOCK.finditer(data):
        if block[1].endswith(b"PRIVATE KEY"):
            raise JwsError(_PRIVATE_KEY)
        try:
            if block[1] == b"CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block[0]))
                key = certificate_public_key(certificates[-1])
            elif block[1].endswith(b"PUBLIC KEY"):
                key = supported_key(load_pem_public_key(block[0]))
            else:
                continue
        except (ValueError, UnsupportedAlgorithm) as error:
            reason = error if isinstance(error, JwsError) else "it cannot be read"
            label = block[1].decode("ascii")
            raise JwsError(f"the {label} at byte {block.start()}: {reason}") from None
        trusted = _trusted(key)
        keys[trusted.ids[0]] = trusted
    if not keys:
        raise JwsError(
            "the file is neither PEM with public keys or certificates nor a JWKS"
        )
    return KeySet(keys=tuple(keys.values()), certificates=tuple(certificates))


def _trusted(key: PublicKey, kid: object = None) -> TrustedKey:
    ids = [libtrust_key_id(key), rfc7638_thumbprint(jwk_of(key))]
    if isinstance(kid, str) and kid and kid not in ids:
        ids.append(kid)
    return TrustedKey(key=key, ids=tuple(ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result for a token; `reason` is a sentence, `key_id` is libtrust's."""

    verified: bool
    reason: str
    key_id: str | None


def verify_token(
    token: str, keys: KeySet, *, audience: str | None, now: float
) -> Verification:
    """Check signature, times and audience at `now` (epoch seconds).

    An audience of None is not checked. Never raises.
    """
    jwt = read_jwt(token)
    if jwt is None:
        return Verification(
            verified=False, reason="the token is not a readable JWT", key_id=None
        )
    header, payload = jwt
    signed, _, signature = token.rpartition(".")
    key_id = None
    try:
        candidates = _candidates(header, keys, now)
        key_id = libtrust_key_id(candidates[0])
        key_id = _signer(candidates, header, signed.encode(), signature)
        _check_claims(payload, audience, now)
    except JwsError as error:
        return Verification(verified=False, reason=str(error), key_id=key_id)
    return Verification(
        verified=True, reason=f"signed by the trusted key {key_id}", key_id=key_id
    )


def _candidates(
    header: Mapping[str, Any], keys: KeySet, now: float
) -> tuple[PublicKey, ...]:
    """The trusted keys that the header selects, at least one.

    The order x5c, jwk, kid is that of distribution.
    """
    if header.get("x5c") is not None:
        chain = parse_x5c(header["x5c"])
        check_chain(chain, keys.certificates, now=now)
        return (certificate_public_key(chain[0]),)
    key_id: object
    if isinstance(jwk := header.get("jwk"), dict):
        # Computed: the `kid` in the JWK is only claimed.
        key_id = libtrust_key_id(public_key(jwk))
    else:
        key_id = header.get("kid")
    candidates = tuple(
        trusted.key for trusted in keys.keys if key_id is None or key_id in trusted.ids
    )
    if not candidates:
        raise JwsError(f"the token's key {key_id!a} is not among the trusted keys")
    return candidates


def _signer(
    candidates: tuple[PublicKey, ...],
    header: Mapping[str, Any],
    signed: bytes,
    signature: str,
) -> str:
    if "crit" in header:  # RFC 7515 section 4.1.11: unsupported means invalid
        raise JwsError("the token needs extensions that are not supported (crit)")
    try:
        raw = decode_base64url(signature)
    except ValueError as error:
        raise JwsError(f"the signature is not base64url: {error}") from None
    refusal = JwsError("no key")
    for key in candidates:
        try:
            verify_signature(key, header.get("alg"), signed, raw)
        except JwsError as error:
            refusal = error
        else:
            return libtrust_key_id(key)
    raise refusal


def _check_claims(payload: Mapping[str, Any], audience: str | None, now: float) -> None:
    claims = claims_of(payload)
    # PyJWT checks them too, but with the system's time.
    for name, value in (
        ("exp", claims.expires_at),
        ("nbf", claims.not_before),
        ("iat", claims.issued_at),
    ):
        if value is None and payload.get(name) is not None:
            raise JwsError(f"the token's {name} is not a time")
    if claims.expires_at is not None and now >= claims.expires_at + LEEWAY_S:
        raise JwsError("the token has expired")
    if claims.not_before is not None and now < claims.not_before - LEEWAY_S:
        raise JwsError("the token is not valid yet")
    if claims.issued_at is not None and now < claims.issued_at - LEEWAY_S:
        raise JwsError("the token was issued in the future")
    if audience is not None and audience not in claims.audience:
        raise JwsError(f"the token is not for the service {audience!a}")
