"""JSON that parsers read differently is refused; base64url is strict."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.oci import strict_json
from auditor.oci.strict_json import (
    STRUCTURAL_KEYS,
    check_key_case,
    parse_json,
    parse_json_object,
)


def _nested(depth: int, opening: bytes = b'{"a":', closing: bytes = b"}") -> bytes:
    return opening * depth + b"1" + closing * depth


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{}", {}),
        (b' \t\r\n{ "a" : [ 1 , 2 ] }\n', {"a": [1, 2]}),
        (b'{"a b":"c d"}', {"a b": "c d"}),
        (b'{"a\\tb":"\\u0041\\/\\ud83d\\ude00"}', {"a\tb": "A/\U0001f600"}),
        ('{"é":"ü\u2028"}'.encode(), {"é": "ü\u2028"}),
        (b'{"a":18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a":-0,"b":1e2,"c":1.50}', {"a": 0, "b": 100.0, "c": 1.5}),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
        (b'{"note":1,"note":2}', {"note": 2}),
        (
            b'{"a":{"digest":1},"b":{"digest":2}}',
            {"a": {"digest": 1}, "b": {"digest": 2}},
        ),
        (b'{"a":"\\"digest\\":1,\\"digest\\":2"}', {"a": '"digest":1,"digest":2'}),
        (b'{"digest ":1,"digest":2}', {"digest ": 1, "digest": 2}),
        (_nested(200), json.loads(_nested(200))),
    ],
)  # fmt: skip
def test_a_json_object_is_parsed(raw: bytes, expected: dict[str, Any]) -> None:
    assert parse_json_object(raw, "manifest") == expected


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"true",
        b"{",
        b"{}x",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":1} // note',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"\x1f\x8b\x08",
    ],
)
def test_other_json_is_a_protocol_violation(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json_object(raw, "manifest")
    assert caught.value.kind is FailureKind.PROTOCOL_VIOLATION
    assert caught.value.detail.startswith("the manifest is ")
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("depth", [255, 300, 900, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b'{"a":[', b"]}")])
def test_a_document_nested_too_deeply_is_a_protocol_violation(
    depth: int, opening: bytes, closing: bytes
) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json_object(_nested(depth, opening, closing), "manifest")
    assert caught.value.kind is FailureKind.PROTOCOL_VIOLATION


def test_a_deeply_nested_document_is_not_indented() -> None:
    raw = b'{\n  "a":' + b"[" * 245 + b"1,         " * 30_000 + b"1" + b"]" * 245 + b"}"
    tracemalloc.start()
    try:
        parse_json_object(raw, "manifest")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # orjson's own buffer for a list of 30,000 is 25 times this; indented, 100 times.
    assert most < 40 * len(raw)


def test_a_deeply_nested_duplicate_key_is_found() -> None:
    raw = b'{"a":' * 200 + b'{"digest":1,"digest":1}' + b"}" * 200
    with pytest.raises(ProtocolError) as caught:
        parse_json_object(raw, "manifest")
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


@pytest.mark.parametrize("key", sorted(STRUCTURAL_KEYS))
@pytest.mark.parametrize(
    "frame",
    [
        "%s",
        '{"a":%s}',
        '{"a":[1,[%s]]}',
        '{"a":{"b":{"c":[{"d":%s}]}}}',
        ' \n{ "a" : %s }\t',
    ],
)
def test_a_duplicate_structural_key_is_ambiguous(key: str, frame: str) -> None:
    twice = f'{{"{key}":1,"x":2,"{key}":1}}'
    with pytest.raises(ProtocolError) as caught:
        parse_json_object((frame % twice).encode(), "manifest")
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT
    assert (
        caught.value.detail == f'the manifest has the key "{key}" twice in one object'
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{"layers":[],"layer\\u0073":[]}',
        b'{"\\u006cayers":[],"layers":[]}',
        b'{"layers":[],"layers":[]}',
        b'{"layers" :[] , "layers": []}',
        b'{"layers":[],"layers":null}',
        b'{"x":{"x":1},"config":{},"config":{}}',
    ],
)
def test_escapes_and_whitespace_do_not_hide_a_duplicate_key(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json_object(raw, "manifest")
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("Layers", "layers"),
        ("MANIFESTS", "manifests"),
        ("mediatype", "mediaType"),
        ("schemaversion", "schemaVersion"),
        ("OS.Version", "os.version"),
        ("Annotations", "annotations"),
        ("v1compatibility", "v1Compatibility"),
        # Go's encoding/json folds these two into s and k.
        ("layer\u017f", "layers"),
        ("manife\u017fts", "manifests"),
    ],
)
def test_a_key_in_another_case_is_ambiguous(key: str, meant: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_key_case([{"a": 1}, {key: 1}], "manifest")
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT
    assert f'"{key}"' in caught.value.detail
    assert f'"{meant}"' in caught.value.detail


def test_exact_structural_keys_and_other_keys_are_accepted() -> None:
    check_key_case(
        [dict.fromkeys(STRUCTURAL_KEYS, 1), {"Author": 1, "": 2}], "manifest"
    )


def test_a_structural_key_in_two_cases_is_ambiguous() -> None:
    document = parse_json_object(b'{"layers":[],"Layers":[]}', "manifest")
    with pytest.raises(ProtocolError):
        check_key_case([document], "manifest")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tags":[],"tags":[]}',
        b'[{"name":"a"},{"name":"b","nam\\u0065":"c"}]',
        b'{"results":[{"x":{"y":1, "y":1}}]}',
    ],
)
def test_any_duplicate_key_of_a_listing_is_ambiguous(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json(raw, "list")
    assert caught.value.kind is FailureKind.AMBIGUOUS_DOCUMENT


def test_a_listing_can_be_any_json() -> None:
    for raw in (b"[]", b'[{"name":"a"},{"name":"b"}]', b"null", b'{"a":{"a":1}}\n'):
        assert parse_json(raw, "list") == json.loads(raw)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", b""),
        ("Cn0", b"\n}"),
        ("-_-_", b"\xfb\xff\xbf"),
    ],
)
def test_base64url_is_decoded(text: str, data: bytes) -> None:
    assert strict_json.decode_base64url(text) == data


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        ("Cn0\n", "not base64url"),
        ("Cn 0", "not base64url"),
        ("+/+/", "not base64url"),
        ("Cn0=", "not base64url"),
        ("C=n0", "not base64url"),
        ("Ã¤Ã¤", "not base64url"),
        ("C", "1 base64url characters are not whole bytes"),
        ("CnABC", "5 base64url characters are not whole bytes"),
    ],
)
def test_characters_outside_the_alphabet_are_refused(text: str, clause: str) -> None:
    with pytest.raises(ValueError, match=clause):
        strict_json.decode_base64url(text)


def test_base64url_is_encoded_without_padding() -> None:
    assert strict_json.encode_base64url(b"\n}") == "Cn0"
