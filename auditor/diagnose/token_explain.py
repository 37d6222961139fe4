"""Explains the content of a registry token, even of a damaged one.

`explain_token` splits a token (RFC 7515: header, payload, signature), decodes each part
as far as possible, and checks the signature with the key in the header. Claims are
those of RFC 7519, key ids of distribution's "Token Authentication Implementation".
The result contains neither the token nor its signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import Any, Literal

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import Access
from auditor.oci import jws
from auditor.oci.strict_json import decode_base64url
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import format_expiry, format_time, safe_text
from auditor.wire.token import Claims, Grant, claims_of
from auditor.wire.token_keys import KeySet, Verification, verify_token


class TokenForm(StrEnum):
    """The form of the text to explain."""

    JWT = "jwt"
    OPAQUE = "opaque"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPart:
    """A header or payload, with the members that could be read.

    `size_bytes` is the decoded length. `error` is a clause, None if the part is intact;
    `error_at` is the byte at which the damage begins, None if that is not known.
    """

    members: Mapping[str, Any]
    size_bytes: int
    error: str | None
    error_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedKey:
    """The public key in a token's header, put there by the author of the token.

    `computed_id` is its libtrust key id, None for a damaged key. `matches` is whether
    `claimed_id` is that id or the RFC 7638 thumbprint. `signed` is whether the
    signature verifies with this key; that does not prove who issued the token.
    """

    claimed_id: str | None
    computed_id: str | None
    matches: bool
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExplanation:
    """The explanation of a token; missing parts are None.

    - `explained_at`: seconds since the epoch
    - `verification`: None without --token-keys
    - `intact`: whether the text is a JWT with three readable parts
    - `findings`: sentences about the validity of header, key, payload and signature
    """

    form: TokenForm
    explained_at: float
    header: TokenPart | None = None
    payload: TokenPart | None = None
    signature_bytes: int | None = None
    embedded_key: EmbeddedKey | None = None
    claims: Claims | None = None
    verification: Verification | None = None
    intact: bool = False
    findings: tuple[str, ...] = ()


def explain_token(
    text: str, *, now: float, keys: KeySet | None = None, audience: str | None = None
) -> TokenExplanation:
    """Explain the token in `text` at the time `now` (epoch s). Never raises.

    With `keys`, its signature is verified too, and its `audience` if one is given.
    """
    token = find_token(text)
    parts = token.split(".")
    header = _read_part(parts[0])
    # A JWT's header begins with "ey", which is {" in base64url. An encrypted token
    # (RFC 7516) has five parts.
    if len(parts) == 5 or not (parts[0].startswith("ey") or header.members):
        form = TokenForm.OPAQUE if token else TokenForm.EMPTY
        return TokenExplanation(
            form=form, explained_at=now, findings=(_NOT_A_JWT[form],)
        )
    payload = _read_part(parts[1]) if len(parts) > 1 else None
    signature = None
    if len(parts) == 3 and parts[2]:
        with suppress(ValueError):
            signature = decode_base64url(parts[2])
    explanation = TokenExplanation(
        form=TokenForm.JWT,
        explained_at=now,
        header=header,
        payload=payload,
        signature_bytes=None if signature is None else len(signature),
        embedded_key=_embedded_key(header.members, parts, signature or b""),
        claims=None if payload is None else claims_of(payload.members),
        verification=None
        if keys is None
        else verify_token(token, keys, audience=audience, now=now),
        intact=signature is not None
        and all(part is not None and part.error is None for part in (header, payload)),
    )
    return replace(explanation, findings=tuple(_findings(explanation)))


_JSON_TOKEN = LazyPattern(r'"(?:access_)?token"\s*:\s*"([^"]*)"?')
_BEARER = LazyPattern(r"\bbearer\s+", re.IGNORECASE)
# Blanks, and the invisible characters that web pages and word processors put into long
# words: soft hyphen, zero-width space and joiners, byte order mark.
_INVISIBLE = LazyPattern("[\\s\u00ad\u200b-\u200d\u2060\ufeff]+")


def find_token(text: str) -> str:
    """The token in a JSON response, a header field, or a quoted or wrapped line."""
    text = text.strip("\ufeff \t\r\n\"'`;,")
    if text.startswith("{") and (match := _JSON_TOKEN.search(text)):
        text = match[1].replace("\\/", "/")
    elif match := _BEARER.search(text):
        text = text[match.end() :]
    return _INVISIBLE.sub("", text)


_NOT_BASE64URL = LazyPattern(r"[^A-Za-z0-9_-]")


def _read_part(text: str) -> TokenPart:
    wrong = _NOT_BASE64URL.search(text)
    digits = text if wrong is None else text[: wrong.start()]
    # One character more than a multiple of four does not make a byte.
    raw = decode_base64url(digits[:-1] if len(digits) % 4 == 1 else digits)
    members, error, error_at = read_object(raw)
    if not text:
        error, error_at = "it is empty", 0
    elif wrong is not None:
        error = f"it stops being base64url at character {wrong.start()}"
        error_at = len(raw)
    elif error is None and len(digits) % 4 == 1:
        error, error_at = "it has one character too many", len(raw)
    return TokenPart(
        members=members, size_bytes=len(raw), error=error, error_at=error_at
    )


def read_object(raw: bytes) -> tuple[dict[str, Any], str | None, int | None]:
    """A JSON object, the error in it and the byte of the error (None: intact).

    For a damaged object, returns the members that are complete before the damage.
    """
    error = error_at = None
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        text, error_at = raw[: wrong.start].decode(), wrong.start
        error = f"it stops being UTF-8 at byte {error_at}"
    try:
        members = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        members = _members_before(text[: wrong.pos])
        if wrong.pos < len(text):
            error_at = len(text[: wrong.pos].encode())
            damage = ascii(text[wrong.pos])
            error = f"it stops being JSON at byte {error_at}, {damage}"
        elif error is None:
            error, error_at = f"it is cut off after {len(raw)} bytes", len(raw)
    if not isinstance(members, dict):
        return {}, "it is not a JSON object", 0
    try:
        orjson.dumps(members)
    except orjson.JSONEncodeError:
        return {}, "it nests too deeply", None
    return members, error, error_at


# More commas than the claims of a token have; each one costs a parse.
_MAX_COMMAS = 64


def _members_before(text: str) -> dict[str, Any]:
    """The members of the object that `text` begins, cut back comma by comma."""
    candidate = text
    for _ in range(_MAX_COMMAS):
        try:
            members = orjson.loads(candidate)
        except orjson.JSONDecodeError:
            text, _, _ = text.rpartition(",")
            candidate = text + "}"
        else:
            return members if isinstance(members, dict) else {}
    return {}


def _embedded_key(
    header: Mapping[str, Any], parts: list[str], signature: bytes
) -> EmbeddedKey | None:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        return None
    claimed = jwk.get("kid", header.get("kid"))
    computed, matches, signed = None, False, False
    with suppress(jws.JwsError):
        key = jws.public_key(jwk)
        computed = jws.libtrust_key_id(key)
        matches = claimed in (computed, jws.rfc7638_thumbprint(jwk))
        signed_text = ".".join(parts[:2]).encode("utf-8", "surrogatepass")
        jws.verify_signature(key, header.get("alg"), signed_text, signature)
        signed = True
    return EmbeddedKey(
        claimed_id=claimed if isinstance(claimed, str) else None,
        computed_id=computed,
        matches=matches,
        signed=signed,
    )


_NOT_A_JWT = {
    TokenForm.EMPTY: "There is no token.",
    TokenForm.OPAQUE: "The token is opaque or encrypted: only its issuer can read it.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDocument:
    """The token for pulling from one repository, and what it grants.

    `token` is None if the registry does not use tokens.
    """

    registry: str
    repository: str
    authentication: str
    realm: str | None
    service: str | None
    scope: str
    account: str | None
    credential: str | None
    pull: bool
    access: Access
    token: TokenExplanation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFailureDocument:
    """Why there is no token for a repository."""

    pull: Literal[False] = False
    failure: str
    detail: str


def explanation_lines(explanation: TokenExplanation) -> list[str]:
    """The claims with their labels, a blank line, then the findings."""
    claims = [
        f"{label:<10}  {safe_text(value) if value and isinstance(value, str) else '-'}"
        for label, value in _claims(explanation)
    ]
    sentences = [f"- {sentence}" for sentence in explanation.findings]
    return [*claims, "", *sentences] if claims else sentences


def _claims(explanation: TokenExplanation) -> Iterator[tuple[str, object]]:
    claims, key = explanation.claims, explanation.embedded_key
    if claims is None or explanation.header is None:
        return
    header = explanation.header.members
    yield "algorithm", header.get("alg")
    yield "key", header.get("kid") if key is None else key.computed_id
    yield "subject", claims.subject
    yield "issuer", claims.issuer
    yield "audience", ", ".join(claims.audience)
    if not claims.grants:
        unknown = "unknown: no readable access claim"
        yield "grants", unknown if claims.grants is None else "nothing"
    for grant in claims.grants or ():
        yield "grants", grant_text(grant)
    for label, at in (("issued", claims.issued_at), ("not before", claims.not_before)):
        yield label, None if at is None else format_time(at)
    if claims.expires_at is None:
        yield "expires", "unknown: no readable exp claim"
    else:
        expiry = format_expiry(claims.expires_at, now=explanation.explained_at)
        yield "expires", f"{format_time(claims.expires_at)} ({expiry})"
    yield "token id", claims.token_id


def grant_text(grant: Grant) -> str:
    """`pull,push on repository library/alpine`, safe to print."""
    resource_class = grant.resource_class
    kind = grant.type + ("" if resource_class is None else f"({resource_class})")
    actions = ",".join(grant.actions) or "no action"
    return safe_text(f"{actions} on {kind} {grant.name}")


def _findings(explanation: TokenExplanation) -> list[str]:
    key, verification = explanation.embedded_key, explanation.verification
    sentences = [_part_text("header", explanation.header)]
    if key is not None:
        sentences.append(_key_text(key))
    sentences.append(_part_text("payload", explanation.payload))
    if explanation.signature_bytes is None:
        result = "is missing or damaged"
    elif key is None or key.computed_id is None:
        result = "is unchecked: the token contains no usable key"
    elif key.signed:
        result = "verifies with the key in the header, which does not prove its issuer"
    else:
        result = "does not verify with the key in the header"
    sentences.append(f"The signature {result}.")
    if verification is not None:
        negation = "" if verification.verified else "not "
        sentences.append(f"The token is {negation}verified: {verification.reason}.")
    return sentences


def _part_text(name: str, part: TokenPart | None) -> str:
    if part is None:
        return f"The {name} is missing."
    if part.error is None:
        return f"The {name} is intact."
    members = ", ".join(safe_text(member) for member in part.members) or "nothing"
    return f"The {name} is damaged: {part.error}. Readable before that: {members}."


def _key_text(key: EmbeddedKey) -> str:
    claimed = safe_text(key.claimed_id or "-")
    if key.computed_id is None:
        return "The key in the header is damaged or of an unknown type."
    if key.matches:
        return f"The key id {claimed} matches the key in the header."
    return f"The key id {claimed} is not that of the key in the header."
