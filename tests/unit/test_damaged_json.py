from __future__ import annotations

from typing import Any

import pytest

from auditor.diagnose.token_explain import read_object


@pytest.mark.parametrize(
    ("raw", "members"),
    [
        (b"{}", {}),
        (b" { } \n", {}),
        (b'{"a":1}', {"a": 1}),
        (b'{ "a" : [1, {"b": null}] , "c" : "d" }', {"a": [1, {"b": None}], "c": "d"}),
        (b'{"a":' + b"9" * 5000 + b"}", {"a": float("inf")}),
        (b'{"a":123456789012345678,"b":-1}', {"a": 123456789012345678, "b": -1}),
        ('{"\u00e4":"\u20ac"}'.encode(), {"\u00e4": "\u20ac"}),
    ],
)
def test_an_intact_object_has_no_error(raw: bytes, members: Any) -> None:
    found = read_object(raw)
    assert (found.members, found.error, found.error_at) == (members, None, None)


@pytest.mark.parametrize(
    ("raw", "members", "error", "error_at"),
    [
        (b'{"a":1P"b":2}', {}, "byte 6 ('P' stands where ',' or '}' should)", 6),
        (b'{"a":1,"b":2P"c":3}', {"a": 1}, "'P' stands where ',' or '}'", 12),
        (b'{"a":1,b:2}', {"a": 1}, "'b' stands where '\"' should", 7),
        (b'{"a":1,}', {"a": 1}, "'}' stands where '\"' should", 7),
        (b'{"a":1,"b"=2}', {"a": 1}, "'=' stands where ':' should", 10),
        (b'{"a":1,"b":x}', {"a": 1}, "Expecting value", 11),
        (b'{"a":1}x', {"a": 1}, "nothing should stand after the object", 7),
        (b"[1]", {}, "'[' stands where '{' should", 0),
        (b"", {}, "it is cut off after 0 bytes", 0),
        (b'{"a":1,"b":"cd', {"a": 1}, "it is cut off after 14 bytes", 14),
        (b'{"a":1,"b":', {"a": 1}, "it is cut off after 11 bytes", 11),
        (b'{"a":1', {}, "it is cut off after 6 bytes", 6),
        ('{"\u00e4":1x'.encode(), {}, "at byte 7", 7),
        (b'{"a":1,"b":"\xff"}', {"a": 1}, "it stops being UTF-8 at byte 12", 12),
        (b"\xff", {}, "it stops being UTF-8 at byte 0", 0),
        (b'{"a":x\xff', {}, "it stops being JSON at byte 5", 5),
        (b'{"a":' + b"[" * 100_000, {}, "it nests too deeply", None),
    ],
)
def test_what_stands_before_a_damage_is_read(
    raw: bytes, members: Any, error: str, error_at: int | None
) -> None:
    found = read_object(raw)
    assert found.members == members
    assert found.error is not None
    assert error in found.error
    assert found.error_at == error_at
