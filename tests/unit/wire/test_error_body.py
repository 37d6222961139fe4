from __future__ import annotations

import pytest

from auditor.wire.error_body import error_sentence


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (b"", None, ""),
        (b" \n ", "text/plain", ""),
        (
            b'{"errors":[{"code":"DENIED","message":"no","detail":{"a":1}}]}',
            "application/json",
            "DENIED: no",
        ),
        (
            b'{"errors":[{"code":"A","message":"b"},{"code":"C"},{"message":"d"},{"code":"E"}]}',
            None,
            "A: b; C; d",
        ),
        (b'{"errors":[{"code":404,"message":"gone"}]}', None, "404: gone"),
        (b'{"errors":[null,1,{"code":null,"detail":"x"}]}', None, "x"),
        (b'{"errors":[]}', None, ""),
        (b'{"errors":"x"}', None, ""),
        (b'{"errors":null,"message":"m"}', None, "m"),
        (
            b'{"details":"incorrect username or password"}',
            None,
            "incorrect username or password",
        ),
        (
            b'{"error":"invalid_scope","error_description":"bad scope"}',
            None,
            "bad scope",
        ),
        (b'{"error":{"message":"deep"}}', None, "deep"),
        (b'{"error":"invalid_scope"}', None, "invalid_scope"),
        (b'"text"', None, "text"),
        (b"[]", None, ""),
        (b'{"message":' * 900 + b'"x"' + b"}" * 900, None, ""),
        (
            b"<html><head><title>502 Bad\n Gateway</title>",
            "text/html",
            'an HTML page (title "502 Bad Gateway")',
        ),
        (b"<!DOCTYPE html><p>x", None, "an HTML page"),
        (b"<html><title>&lt;b&gt;</title>", None, 'an HTML page (title "<b>")'),
        (
            b"<?xml?><Error><Code>AccessDenied</Code><Message>No</Message></Error>",
            "application/xml",
            "AccessDenied: No",
        ),
        (b"<Error/>", "application/xml", "an XML document"),
        (b"404 page not found\n", "text/plain", "404 page not found"),
        (b"\xef\xbb\xbftwo\nlines", "text/plain", "two lines"),
        (b"\x1b[31mred", "text/plain", r"\x1b[31mred"),
        (b"\x1f\x8b\x08\x00\x00", "application/json", "a response that is not text"),
        (b"\xff\xfe\xfd\xfc", None, "a response that is not text"),
        (b"Forbidden", "text/plain", ""),
        (b'{"message":"Forbidden."}', None, ""),
    ],
)
def test_every_kind_of_body_becomes_one_sentence(
    body: bytes, content_type: str | None, sentence: str
) -> None:
    assert error_sentence(body, content_type=content_type, status=403) == sentence


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"404: Not Found", ""),
        (b"404 Not Found", ""),
        (b"404", ""),
        (b"404 page not found\n", "page not found"),
        (b'{"errors":[{"code":"404","message":"Not Found"}]}', ""),
        (b'{"errors":[{"code":404,"message":"404: gone"}]}', "gone"),
        (b'{"error":"404 Tag Not Found"}', "Tag Not Found"),
        (b"4040 things", "4040 things"),
        (b"404.1 sub-status", "404.1 sub-status"),
        (b"403: no", "403: no"),
    ],
)
def test_the_status_is_not_repeated(body: bytes, sentence: str) -> None:
    assert error_sentence(body, content_type="text/plain", status=404) == sentence


def test_a_long_body_is_truncated() -> None:
    sentence = error_sentence(b"no " * 100_000, content_type=None, status=500)
    assert len(sentence) == 200
    assert sentence.endswith("…")


@pytest.mark.parametrize("unit", [b"token", b"<title", b"a", b"ftp:", b"Bearer ", b"="])
def test_a_hostile_body_is_parsed_in_linear_time(unit: bytes) -> None:
    body = unit * (64 * 1024 // len(unit))
    for content_type in ("text/html", "text/plain"):
        assert len(error_sentence(body, content_type=content_type, status=500)) <= 200


def test_an_unknown_status_is_accepted() -> None:
    assert error_sentence(b"x", content_type=None, status=799) == "x"
