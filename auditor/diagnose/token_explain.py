"""A token explained as far as it can be read, damaged ones included.

Sources: RFC 7515, RFC 7519, distribution "Token Authentication Implementation".
`to_json` and `to_lines` show a reading to programs and to people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from auditor.diagnose.token_parts import (
    EmbeddedKey,
    Finding,
    FindingCode,
    Form,
    Part,
    TokenReading,
)
from auditor.diagnose.token_text import (
    form_finding,
    header_findings,
    payload_findings,
    signature_findings,
    verification_finding,
)
from auditor.oci import encoding, jws
from auditor.oci.jws import KeySet, verify_token
from auditor.protocol.tokens.damaged_json import read_object
from auditor.protocol.tokens.pasted import find_token
from auditor.protocol.tokens.words import to_json, to_lines
from auditor.wire.token import claims_of

__all__ = [
    "EmbeddedKey",
    "Finding",
    "FindingCode",
    "Form",
    "Part",
    "TokenReading",
    "read_token",
    "to_json",
    "to_lines",
]

_LIBTRUST_ID = re.compile(r"(?:[A-Z2-7]{4}:){11}[A-Z2-7]{4}")
_BASE64_TO_BASE64URL = str.maketrans("+/", "-_")
_NOT_BASE64URL = re.compile(r"[^A-Za-z0-9_-]")


def read_token(
    text: str,
    *,
    now: float,
    keys: KeySet | None = None,
    audience: str | None = None,
    issuer: str | None = None,
) -> TokenReading:
    """Explain the token in `text` at the time `now` (epoch s). Never raises.

    With `keys` the token is verified too, for `audience` and `issuer` if given.
    """
    pasted = find_token(text)
    findings = [
        Finding(code=FindingCode.PASTED, sentence=note) for note in pasted.notes
    ]
    parts = pasted.token.split(".")
    form = _form(parts)
    if form is not Form.JWT:
        findings.append(form_finding(form, pasted.token))
        return TokenReading(
            form=form,
            header=_part(parts[0]) if form is Form.ENCRYPTED else None,
            payload=None,
            signature_bytes=None,
            embedded_key=None,
            claims=None,
            verification=None,
            findings=tuple(findings),
            read_at=now,
        )
    header = _part(parts[0])
    payload = _part(parts[1]) if len(parts) > 1 else None
    signature = _signature(parts)
    embedded = _embedded_key(header.members, parts, signature)
    claims = None if payload is None else claims_of(header.members, payload.members)
    verification = None
    if keys is not None:
        verification = verify_token(
            pasted.token, keys, audience=audience, issuer=issuer, now=now
        )
    findings += header_findings(header, embedded)
    findings += payload_findings(payload, claims, now)
    findings += signature_findings(parts, signature, embedded)
    if verification is not None:
        findings.append(verification_finding(verification))
    return TokenReading(
        form=form,
        header=header,
        payload=payload,
        signature_bytes=None if signature is None else len(signature),
        embedded_key=embedded,
        claims=claims,
        verification=verification,
        findings=tuple(findings),
        read_at=now,
    )


def _form(parts: list[str]) -> Form:
    if parts == [""]:
        return Form.EMPTY
    # The JSON object of every header begins with {" in base64url.
    if not parts[0].startswith("ey") and not _part(parts[0]).members:
        return Form.OPAQUE
    return Form.ENCRYPTED if len(parts) == 5 else Form.JWT


def _part(text: str) -> Part:
    """Decode and parse as far as possible, with the slips of other base64 encoders."""
    digits = text.rstrip("=").translate(_BASE64_TO_BASE64URL)
    damage = _NOT_BASE64URL.search(digits)
    usable = digits if damage is None else digits[: damage.start()]
    if len(usable) % 4 == 1:
        usable = usable[:-1]
    raw = encoding.decode(usable)
    found = read_object(raw)
    error, error_at = found.error, found.error_at
    if not text:
        error, error_at = "it is empty", 0
    elif damage is not None:
        error = f"it stops being base64url at character {damage.start()}"
        error_at = len(raw)
    elif error is None and len(usable) != len(digits):
        error, error_at = f"a character is left over after byte {len(raw)}", len(raw)
    elif error is None and digits != text:
        error = "it is base64 with padding or another alphabet, not base64url"
    return Part(
        size_bytes=len(raw), members=found.members, error=error, error_at=error_at
    )


def _signature(parts: list[str]) -> bytes | None:
    if len(parts) != 3 or not parts[2]:
        return None
    try:
        return encoding.decode(parts[2])
    except ValueError:
        return None


def _embedded_key(
    header: Mapping[str, Any], parts: list[str], signature: bytes | None
) -> EmbeddedKey | None:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        return None
    claimed = jwk.get("kid", header.get("kid"))
    claimed = claimed if isinstance(claimed, str) else None
    try:
        key = jws.public_key(jwk)
    except jws.JwsError:
        return EmbeddedKey(
            claimed_id=claimed, computed_id=None, matches=None, signed=False
        )
    computed = jws.libtrust_key_id(key)
    matches = None
    if claimed in {computed, jws.rfc7638_thumbprint(jwk)}:
        matches = True
    elif claimed is not None and _LIBTRUST_ID.fullmatch(claimed):
        matches = False
    try:
        signed = ".".join(parts[:2]).encode("utf-8", "surrogatepass")
        jws.verify(key, header.get("alg"), signed, signature or b"")
    except jws.JwsError:
        made = False
    else:
        made = True
    return EmbeddedKey(
        claimed_id=claimed, computed_id=computed, matches=matches, signed=made
    )
