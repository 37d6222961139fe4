"""Arbitrary bytes are parsed as an object or raise `ProtocolError`."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.strict_json import STRUCTURAL_KEYS, parse_json_object
from tests.examples import examples
from tests.property.random_json import OBJECTS, outcome


@examples(300)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_protocol_error(raw: bytes) -> None:
    found = outcome(lambda: parse_json_object(raw, "manifest"))
    assert isinstance(found, dict | ProtocolError)


@examples(200)
@given(OBJECTS, st.sampled_from([None, 1, 3]), st.booleans())
def test_a_serialised_object_is_parsed_unchanged(
    document: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert parse_json_object(raw, "manifest") == document


@examples(200)
@given(OBJECTS, st.data())
def test_mutated_json_is_an_object_or_a_protocol_error(
    document: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(json.dumps(document, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        if raw:
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at : at + data.draw(st.integers(0, 2))] = data.draw(
                st.binary(max_size=2)
            )
    found = outcome(lambda: parse_json_object(bytes(raw), "manifest"))
    assert isinstance(found, dict | ProtocolError)


def _pairs(text: str) -> list[list[str]]:
    """The keys of all objects in a JSON text, with duplicates."""
    found: list[list[str]] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        found.append([key for key, _ in pairs])

    json.loads(text, object_pairs_hook=note)
    return found


_KEY = st.sampled_from(["digest", "layers", "x"])


@st.composite
def _texts(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON objects with duplicate keys, escapes and whitespace."""
    blank = st.sampled_from(["", " ", "\n\t"])
    members = []
    for _ in range(draw(st.integers(0, 4))):
        key = draw(_KEY)
        if draw(st.booleans()):
            key = f"\\u{ord(key[0]):04x}{key[1:]}"
        value = draw(_texts(depth - 1)) if depth and draw(st.booleans()) else "1"
        value = f"[{value}]" if draw(st.booleans()) else value
        members.append(f'{draw(blank)}"{key}"{draw(blank)}:{draw(blank)}{value}')
    return "{" + ",".join(members) + "}"


@examples(300)
@given(_texts())
def test_exactly_duplicate_structural_keys_are_refused(
    text: str,
) -> None:
    ambiguous = any(
        keys.count(key) > 1 for keys in _pairs(text) for key in STRUCTURAL_KEYS
    )
    found = outcome(lambda: parse_json_object(text.encode(), "manifest"))
    assert isinstance(found, ProtocolError) is ambiguous
    if isinstance(found, ProtocolError):
        assert found.kind is FailureKind.AMBIGUOUS_DOCUMENT
