"""A token checked with the keys that a user trusts.

Sources: distribution's access controller, RFC 7515, RFC 7519, RFC 8725 (best
practices). What a token brings along proves nothing: `jku` and `x5u` are never
followed, `jwk` and `kid` only choose among the keys of the set, and `x5c` has to lead
to a certificate of the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.oci import jws
from auditor.oci.jws import JwsError, PublicKey, libtrust_key_id, rfc7638_thumbprint
from auditor.protocol import base64url
from auditor.protocol.signatures import certificates
from auditor.protocol.signatures.key_set import KeySet
from auditor.wire.token import Claims, read_claims

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
        chain = certificates.from_x5c(header["x5c"])
        certificates.check_chain(chain, keys.certificates, now=now)
        return (certificates.public_key(chain[0]),)
    name: object
    if isinstance(jwk := header.get("jwk"), dict):
        # The JWK's own words for its id are not asked: the id is computed.
        name = libtrust_key_id(jws.public_key(jwk))
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
        raw = base64url.decode(signature)
    except ValueError as error:
        raise JwsError(f"the signature is damaged: {error}") from None
    refusal = JwsError("no key")
    for key in candidates:
        try:
            jws.verify(key, header.get("alg"), signed, raw)
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
