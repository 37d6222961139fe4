"""A JSON object read as far as it can be (RFC 8259), to find its damage."""

from __future__ import annotations

import json
from typing import Any

from auditor.fast_dataclass import dataclass

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
