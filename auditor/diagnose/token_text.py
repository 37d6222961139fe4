"""A token explanation as JSON for programs and as lines for people.

The token itself and its signature are never shown; every text is safe to print.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from auditor.diagnose.token_explain import (
    EmbeddedKey,
    TokenExplanation,
    TokenForm,
    TokenPart,
)
from auditor.util.text import format_expiry, format_time, safe_text
from auditor.wire.token import Grant

_NOT_A_JWT = {
    TokenForm.EMPTY: "There is no token.",
    TokenForm.OPAQUE: "The token is opaque or encrypted: only its issuer can read it.",
}


def explanation_to_json(explanation: TokenExplanation) -> dict[str, Any]:
    """The explanation with the same keys for every token; unknown values are None."""
    json = asdict(explanation)
    if (claims := json["claims"]) is not None:
        del claims["header"], claims["payload"]
    return {**json, "intact": explanation.intact, "findings": findings(explanation)}


def explanation_lines(explanation: TokenExplanation) -> list[str]:
    """The claims with their labels, a blank line, then the findings."""
    claims = [
        f"{label:<10}  {safe_text(value) if value and isinstance(value, str) else '-'}"
        for label, value in _claims(explanation)
    ]
    sentences = [f"- {sentence}" for sentence in findings(explanation)]
    return [*claims, "", *sentences] if claims else sentences


def _claims(explanation: TokenExplanation) -> Iterator[tuple[str, object]]:
    claims, key = explanation.claims, explanation.embedded_key
    if claims is None:
        return
    yield "algorithm", claims.header.get("alg")
    yield "key", claims.header.get("kid") if key is None else key.computed_id
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
    kind = grant.type
    if grant.resource_class is not None:
        kind = f"{grant.type}({grant.resource_class})"
    actions = ",".join(grant.actions) or "no action"
    return safe_text(f"{actions} on {kind} {grant.name}")


def findings(explanation: TokenExplanation) -> list[str]:
    """Whether header, key, payload and signature are good, in sentences."""
    if explanation.form is not TokenForm.JWT:
        return [_NOT_A_JWT[explanation.form]]
    key, verification = explanation.embedded_key, explanation.verification
    sentences = [_part_text("header", explanation.header)]
    if key is not None:
        sentences.append(_key_text(key))
    sentences.append(_part_text("payload", explanation.payload))
    if explanation.signature_bytes is None:
        sentences.append("The signature is missing or damaged.")
    elif key is None or key.computed_id is None:
        sentences.append(
            "The signature is unchecked: the token contains no usable key."
        )
    elif key.signed:
        sentences.append(
            "The signature verifies with the key in the header, which does not prove"
            " who issued the token."
        )
    else:
        sentences.append("The signature does not verify with the key in the header.")
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
