"""A token's reading as JSON for programs and as lines for people."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from auditor.diagnose.token_parts import Part, TokenReading
from auditor.diagnose.token_text import grant_words
from auditor.util.text import expiry_words, safe_text, time_words
from auditor.wire.token import Claims, Grant

_LABEL_CHARS = 10
# Deeper than any claim in use, and less than every JSON writer can write.
_MAX_DEPTH = 32


def to_json(reading: TokenReading) -> dict[str, Any]:
    """The reading with stable keys; what is not known is null, never absent.

    Times are seconds since the epoch. The token and its signature are not in it.
    """
    key, verification = reading.embedded_key, reading.verification
    shown: dict[str, Any] = {
        "form": reading.form.value,
        "intact": reading.intact,
        "header": _part(reading.header),
        "payload": _part(reading.payload),
        "signature_bytes": reading.signature_bytes,
        "embedded_key": None
        if key is None
        else {
            "claimed_id": key.claimed_id,
            "computed_id": key.computed_id,
            "matches": key.matches,
            "signed": key.signed,
        },
        "claims": None if reading.claims is None else _claims(reading.claims),
        "verification": None
        if verification is None
        else {
            "verified": verification.verified,
            "reason": verification.reason,
            "key_id": verification.key_id,
        },
        "read_at": reading.read_at,
        "findings": [
            {"code": finding.code.value, "sentence": finding.sentence}
            for finding in reading.findings
        ],
    }
    return {name: _portable(value) for name, value in shown.items()}


def to_lines(reading: TokenReading) -> list[str]:
    """The facts with their labels, then the findings, all safe to print."""
    lines = [] if reading.claims is None else list(_facts(reading, reading.claims))
    if lines:
        lines.append("")
    return [*lines, *(f"- {finding.sentence}" for finding in reading.findings)]


def _facts(reading: TokenReading, claims: Claims) -> Iterator[str]:
    yield _fact("algorithm", claims.header.get("alg"))
    key = reading.embedded_key
    yield _fact("key", key.computed_id if key else claims.header.get("kid"))
    yield _fact("subject", claims.subject)
    yield _fact("issuer", claims.issuer)
    yield _fact("audience", ", ".join(claims.audience))
    for grant in claims.grants or ():
        yield _fact("grants", grant_words(grant))
    for label, at in (("issued", claims.issued_at), ("not before", claims.not_before)):
        yield _fact(label, None if at is None else time_words(at))
    expires = claims.expires_at
    yield _fact(
        "expires",
        None
        if expires is None
        else f"{time_words(expires)} ({expiry_words(expires, now=reading.read_at)})",
    )
    yield _fact("token id", claims.token_id)


def _fact(label: str, value: object) -> str:
    shown = safe_text(value) if isinstance(value, str) and value else "-"
    return f"{label:<{_LABEL_CHARS}}  {shown}"


def _part(part: Part | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {
        "members": dict(part.members),
        "size_bytes": part.size_bytes,
        "error": part.error,
        "error_at": part.error_at,
    }


def _claims(claims: Claims) -> dict[str, Any]:
    return {
        "subject": claims.subject,
        "issuer": claims.issuer,
        "audience": list(claims.audience),
        "grants": None
        if claims.grants is None
        else [_grant(grant) for grant in claims.grants],
        "issued_at": claims.issued_at,
        "not_before": claims.not_before,
        "expires_at": claims.expires_at,
        "token_id": claims.token_id,
    }


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "type": grant.type,
        "class": grant.resource_class,
        "name": grant.name,
        "actions": list(grant.actions),
    }


def _portable(value: object, depth: int = 0) -> Any:
    """The value as every JSON writer can write it: a token may hold anything."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list) and depth == _MAX_DEPTH:
        return "..."
    if isinstance(value, dict):
        return {
            _portable(name): _portable(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_portable(inner, depth + 1) for inner in value]
    return value
