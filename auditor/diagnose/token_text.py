"""What there is to say of a token, in sentences that are safe to print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from auditor.diagnose.token_parts import (
    EmbeddedKey,
    Finding,
    FindingCode,
    Form,
    Part,
    TokenReading,
)
from auditor.oci.jws import Verification
from auditor.util.text import format_expiry, format_time, safe_text
from auditor.wire.token import Claims, Grant


def form_finding(form: Form, token: str) -> Finding:
    """Say why a token that is no JWT cannot be read."""
    sentence = {
        Form.EMPTY: "There is no token.",
        Form.ENCRYPTED: "The token is encrypted (JWE): only its header can be read.",
        Form.OPAQUE: f"The token is opaque: {len(token)} characters that only its"
        " issuer can read. What it grants and when it expires cannot be seen.",
    }[form]
    return Finding(code=FindingCode.FORM, sentence=sentence)


def header_findings(header: Part, embedded: EmbeddedKey | None) -> Iterator[Finding]:
    """Say what the header tells, and whose key it names."""
    algorithm = header.members.get("alg")
    if header.error is not None:
        yield Finding(
            code=FindingCode.HEADER_DAMAGED,
            sentence=f"The header is damaged: {header.error}.{_recovered(header)}",
        )
    else:
        yield Finding(
            code=FindingCode.HEADER,
            sentence=f"The header can be read: {_signed_with(algorithm)}"
            + ("." if embedded is None else ", and it brings its own key along."),
        )
    named = header.members.get("kid")
    if embedded is not None:
        yield from _key_findings(embedded)
    elif isinstance(named, str):
        yield Finding(
            code=FindingCode.KEY_NAMED,
            sentence=f"It was signed with the key {safe_text(named)}, as it says.",
        )


def _signed_with(algorithm: object) -> str:
    if not isinstance(algorithm, str):
        return "it names no algorithm"
    if algorithm.lower() == "none":
        return "it says that the token is not signed"
    return f"signed with {safe_text(algorithm)}"


def _key_findings(embedded: EmbeddedKey) -> Iterator[Finding]:
    claimed = safe_text(embedded.claimed_id or "")
    libtrust = embedded.claimed_id == embedded.computed_id
    kind = "libtrust key id" if libtrust else "thumbprint"
    if embedded.computed_id is None:
        yield Finding(
            code=FindingCode.KEY_DAMAGED,
            sentence="The key in the header is damaged or of an unknown type.",
        )
    elif embedded.matches:
        yield Finding(
            code=FindingCode.KEY_ID_MATCHES,
            sentence=f"The {kind} {claimed} matches the key in the header.",
        )
    elif embedded.matches is False:
        yield Finding(
            code=FindingCode.KEY_ID_DIFFERS,
            sentence=f"The libtrust key id {claimed} does not match the key in the"
            f" header, whose id is {embedded.computed_id}.",
        )
    else:
        yield Finding(
            code=FindingCode.KEY_NAMED,
            sentence=f"The libtrust id of the key in the header is"
            f" {embedded.computed_id}.",
        )


def payload_findings(
    payload: Part | None, claims: Claims | None, now: float
) -> Iterator[Finding]:
    """Say what is granted, and until when."""
    if payload is None or claims is None:
        yield Finding(
            code=FindingCode.PAYLOAD_DAMAGED,
            sentence="The payload is missing: the token ends after its header.",
        )
        return
    if payload.error is None:
        yield Finding(code=FindingCode.PAYLOAD, sentence="The payload can be read.")
    else:
        yield Finding(
            code=FindingCode.PAYLOAD_DAMAGED,
            sentence=f"The payload is damaged: {payload.error}.{_recovered(payload)}",
        )
    so_far = "" if payload.error is None else "As far as it can be read, "
    for sentence in _grant_sentences(claims, damaged=payload.error is not None):
        yield Finding(code=FindingCode.GRANTS, sentence=_capital(so_far + sentence))
    if claims.expires_at is not None:
        words = format_expiry(claims.expires_at, now=now)
        yield Finding(code=FindingCode.EXPIRY, sentence=f"The token {words}.")
    else:
        said = "says nothing of" if payload.error is None else "can no longer tell"
        yield Finding(
            code=FindingCode.EXPIRY, sentence=f"The payload {said} when it expires."
        )
    if claims.not_before is not None and claims.not_before > now:
        yield Finding(
            code=FindingCode.NOT_YET_VALID,
            sentence=f"It is not valid before {format_time(claims.not_before)}.",
        )


def _grant_sentences(claims: Claims, *, damaged: bool) -> Iterator[str]:
    if claims.grants is None:
        if "access" in claims.payload:
            yield "the access claim is of a kind that cannot be understood."
        elif damaged:
            yield "there is no access claim."
        else:
            yield "it has no access claim: what it grants cannot be seen."
    elif not claims.grants:
        yield "it grants nothing."
    else:
        for grant in claims.grants:
            yield f"it grants {grant_words(grant)}."


def grant_words(grant: Grant) -> str:
    """`pull,push on repository library/alpine`, safe to print."""
    kind = grant.type
    if grant.resource_class is not None:
        kind = f"{grant.type}({grant.resource_class})"
    actions = ",".join(grant.actions) or "no action"
    return safe_text(f"{actions} on {kind} {grant.name}")


def signature_findings(
    parts: list[str],
    signature: bytes | None,
    embedded: EmbeddedKey | None,
) -> Iterator[Finding]:
    """Say whether the token agrees with the key it brings along."""
    if signature is None:
        damage = "is missing"
        if len(parts) > 3:
            damage = f"cannot be told: there are {len(parts)} parts instead of 3"
        elif len(parts) == 3 and parts[2]:
            damage = "is damaged: it is not base64url"
        yield Finding(
            code=FindingCode.SIGNATURE_DAMAGED, sentence=f"The signature {damage}."
        )
    elif embedded is None or embedded.computed_id is None:
        yield Finding(
            code=FindingCode.SIGNATURE_UNCHECKED,
            sentence=f"The signature has {len(signature)} bytes; the token brings no"
            " key along that it could be checked with.",
        )
    elif embedded.signed:
        yield Finding(
            code=FindingCode.SIGNATURE_MATCHES,
            sentence="The signature verifies with the key in the header, which proves"
            " nothing about who issued the token.",
        )
    else:
        yield Finding(
            code=FindingCode.SIGNATURE_DIFFERS,
            sentence="The signature does not verify with the key in the header (and if"
            " it did, that would prove nothing about who issued the token).",
        )


def verification_finding(verification: Verification) -> Finding:
    """Say whether the trusted keys vouch for it."""
    if verification.verified:
        return Finding(
            code=FindingCode.VERIFIED,
            sentence=f"The token is verified: {verification.reason}.",
        )
    return Finding(
        code=FindingCode.NOT_VERIFIED,
        sentence=f"The token is not verified: {verification.reason}.",
    )


def _recovered(part: Part) -> str:
    names = ", ".join(safe_text(name) for name in part.members)
    return f" What can be read before that: {names}." if names else ""


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


# -- words --
# A token's reading as JSON for programs and as lines for people.

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
        yield _fact(label, None if at is None else format_time(at))
    expires = claims.expires_at
    yield _fact(
        "expires",
        None
        if expires is None
        else f"{format_time(expires)} ({format_expiry(expires, now=reading.read_at)})",
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
