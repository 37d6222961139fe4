"""A token explained as far as it can be read, damaged ones included.

Sources: RFC 7515, RFC 7519, distribution "Token Authentication Implementation".
`to_json` and `to_lines` show a reading to programs and to people.
"""

from __future__ import annotations

import json
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
    to_json,
    to_lines,
    verification_finding,
)
from auditor.fast_dataclass import dataclass
from auditor.oci import encoding, jws
from auditor.oci.jws import KeySet, verify_token
from auditor.util.lazy_regex import LazyPattern
from auditor.wire.token import claims_of

# -- damaged_json --
# A JSON object read as far as it can be (RFC 8259), to find its damage.

_BLANKS = " \t\r\n"
# What fits into 64 bits; Python refuses to convert integers of 4300 digits and more.
_MAX_INTEGER_CHARS = 18


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MAX_INTEGER_CHARS else float(text)


_DECODER = json.JSONDecoder(parse_int=_integer)


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedObject:
    """`members` are the complete ones before the damage; all of them without one.

    `error` is a clause, `error_at` the offset of the first wrong byte; both are None
    for an intact object.
    """

    members: dict[str, Any]
    error: str | None
    error_at: int | None


def read_object(raw: bytes) -> DamagedObject:
    """The members at the start of `raw`. Never raises."""
    try:
        text, broken_at = raw.decode("utf-8"), None
    except UnicodeDecodeError as error:
        text, broken_at = raw[: error.start].decode("utf-8"), error.start
    members: dict[str, Any] = {}
    try:
        _read_members(text, members)
    except RecursionError:
        return DamagedObject(
            members=members, error="it nests too deeply", error_at=None
        )
    except json.JSONDecodeError as error:
        at = len(text[: error.pos].encode("utf-8"))
        if broken_at is not None and _cut_off(error):
            return DamagedObject(
                members=members,
                error=f"it stops being UTF-8 at byte {broken_at}",
                error_at=broken_at,
            )
        if _cut_off(error):
            clause = f"it is cut off after {len(raw)} bytes"
            return DamagedObject(members=members, error=clause, error_at=len(raw))
        return DamagedObject(
            members=members,
            error=f"it stops being JSON at byte {at} ({error.msg})",
            error_at=at,
        )
    return DamagedObject(members=members, error=None, error_at=None)


def _read_members(text: str, members: dict[str, Any]) -> None:
    """Fill `members`; a member counts once the comma or brace after it was seen."""
    at = _expect(text, 0, "{")
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        at += 1
    else:
        more = True
        while more:
            at = _skip(text, at)
            if text[at : at + 1] != '"':
                raise _wrong(text, at, '"')
            key, at = _DECODER.raw_decode(text, at)
            at = _expect(text, at, ":")
            value, at = _DECODER.raw_decode(text, _skip(text, at))
            at = _expect(text, at, ",}")
            more = text[at - 1] == ","
            members[key] = value
    at = _skip(text, at)
    if at < len(text):
        raise json.JSONDecodeError("nothing should stand after the object", text, at)


def _expect(text: str, at: int, characters: str) -> int:
    """The offset after the next character, which has to be one of these."""
    at = _skip(text, at)
    if at >= len(text) or text[at] not in characters:
        raise _wrong(text, at, characters)
    return at + 1


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _wrong(text: str, at: int, characters: str) -> json.JSONDecodeError:
    wanted = " or ".join(f"'{character}'" for character in characters)
    found = ascii(text[at : at + 1])
    return json.JSONDecodeError(f"{found} stands where {wanted} should", text, at)


def _cut_off(error: json.JSONDecodeError) -> bool:
    return error.pos >= len(error.doc) or error.msg.startswith("Unterminated string")


# -- pasted --
# The token in what somebody pasted: a header field, a shell line, a JSON answer.

# What stands before a token in curl commands, shell lines and configuration files.
_BEFORE = LazyPattern(
    r"""\s*(?:-H\s+|authorization\s*:|bearer(?:\s|$)|(?:export\s+)?\w*token\s*[:=]|["'`]+)\s*""",
    re.IGNORECASE,
)
_AFTER = "\"'`;,"
_IN_JSON = LazyPattern(r'"(?:access_)?token"\s*:\s*"([^"]*)"?')
# Blanks, and what web pages and word processors put into long words without showing
# it: soft hyphen, zero-width space and joiners, byte order mark.
_INVISIBLE = LazyPattern("[\\s\u00ad\u200b-\u200d\u2060\ufeff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pasted:
    """A token without its surroundings. `notes` say what was left out, as sentences."""

    token: str
    notes: tuple[str, ...]


def find_token(text: str) -> Pasted:
    """The token in `text`, empty if there is none. Never raises."""
    notes = []
    found = text.strip("\ufeff \t\r\n")
    if found.startswith("{") and (match := _IN_JSON.search(found)):
        found = match[1].replace("\\/", "/")
        notes.append("The token was taken out of a JSON answer.")
    else:
        bare = _without_surroundings(found)
        if bare != found:
            notes.append("What stood around the token was left out.")
        found = bare
    token = _INVISIBLE.sub("", found)
    if token != found:
        notes.append("Blanks and line breaks inside the token were left out.")
    return Pasted(token=token, notes=tuple(notes))


def _without_surroundings(text: str) -> str:
    while match := _BEFORE.match(text):
        text = text[match.end() :]
    return text.rstrip().rstrip(_AFTER).rstrip()


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
    raw = encoding.decode_base64url(usable)
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
        return encoding.decode_base64url(parts[2])
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
        jws.verify_signature(key, header.get("alg"), signed, signature or b"")
    except jws.JwsError:
        made = False
    else:
        made = True
    return EmbeddedKey(
        claimed_id=claimed, computed_id=computed, matches=matches, signed=made
    )
