from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import FailureKind, ProtocolError
from auditor.wire.response import (
    complete_length,
    content_codings,
    content_length,
    expects_tls,
    next_page,
)
from tests.responses import HeaderFields

PAGE = "https://h.example/v2/a/tags/list?n=2"
NEXT = "https://h.example/v2/a/tags/list?last=b&n=2"


@pytest.mark.parametrize(
    ("lines", "url"),
    [
        ([], None),
        ([""], None),
        ([", ,"], None),
        # Without a relation, to the listing itself: other clients follow any link.
        (["</v2/a/tags/list?last=b&n=2>"], NEXT),
        (["<?last=b&n=2>; title=more"], NEXT),
        ([f"<{NEXT}>"], NEXT),
        (["</v2/a/tags/list?n=2>"], None),  # this page
        (["</docs>"], None),
        (['<?last=b&n=2>; rel=""'], None),
        (["<?last=b&n=2>, <?last=c&n=2>"], None),
        (["<?last=a&n=2>, <?last=b&n=2>; rel=next"], NEXT),
        (['</v2/a/tags/list?last=b&n=2>; rel="prev"'], None),
        (['</v2/a/tags/list?last=b&n=2>; rel="next"'], NEXT),
        (["</v2/a/tags/list?last=b&n=2>;rel=next"], NEXT),
        (["</v2/a/tags/list?last=b&n=2> ; ReL = NeXt ;"], NEXT),
        (
            ['</v2/a/tags/list?last=b&n=2>; title="a, b; <c>"; rel="prefetch next"'],
            NEXT,
        ),
        (['</v2/a/tags/list?last=b&n=2>;; title; rel="next"'], NEXT),
        (["<?last=b&n=2>; rel=next"], NEXT),
        (
            ["<https://h.example:443/x?c=%2f%3D>; rel=next"],
            "https://h.example:443/x?c=%2f%3D",
        ),
        (["</first>; rel=first, <?last=b&n=2>; rel=next"], NEXT),
        (["</first>; rel=first", "<?last=b&n=2>; rel=next"], NEXT),
        (["</x?q=a,b;c>; rel=next"], "https://h.example/x?q=a,b;c"),
        (["<?last=b&n=2>; rel=prev; rel=next"], None),
        (["<?last=b&n=2>; rel=next", "<?last=b&n=2>; rel=next"], NEXT),
        (['<?last=b&n=2>; rel="nextish"'], None),
    ],
)
def test_the_next_page_is_found(lines: list[str], url: str | None) -> None:
    assert next_page(lines, PAGE) == url


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["<https://evil.example/x>; rel=next"],
            "at another host: https://evil.example/x",
        ),
        (["<http://h.example/x>; rel=next"], "at another host"),
        (["<https://h.example:444/x>; rel=next"], "at another host"),
        (["<//evil.example/x>; rel=next"], "at another host"),
        (["<https://u:pw@h.example/x>; rel=next"], "user name or password"),
        (["/v2/x; rel=next"], "malformed"),
        (["</v2/x; rel=next"], "malformed"),
        (['</v2/x>; rel="next'], "malformed"),
        (["</v2/x> rel=next"], "malformed"),
        (["</v2/x>; rel="], "malformed"),
        (["<ftp://h.example/x>; rel=next"], "neither https nor http"),
        (["</a b>; rel=next"], r"U\+0020"),
        (["</a>; rel=next, </b>; rel=next"], "two different"),
    ],
)
def test_an_untrusted_next_page_makes_the_listing_incomplete(
    lines: list[str], message: str
) -> None:
    with pytest.raises(ProtocolError, match=message) as caught:
        next_page(lines, PAGE)
    assert caught.value.kind is FailureKind.INCOMPLETE_LISTING


def test_links_with_another_relation_are_ignored() -> None:
    assert next_page(["<https://[x>; rel=help, <?last=b&n=2>; rel=next"], PAGE) == NEXT


# -- sizes --


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0", 0),
        (" 1234 ", 1234),
        ("9223372036854775807", 2**63 - 1),
        (None, None),
        ("", None),
        ("-1", None),
        ("1, 1", None),
        ("\u0661", None),  # a digit, and not one of HTTP's
        ("9" * 5000, None),  # more than Python reads as a number
    ],
)
def test_a_content_length_has_only_digits(value: str | None, size: int | None) -> None:
    assert content_length(value) == size


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("bytes 0-0/1234", 1234),
        ("Bytes 0-0/1", 1),
        ("bytes */0", 0),
        ("bytes 0-0/*", None),
        ("items 0-0/3", None),
        ("bytes 0-0", None),
        (None, None),
        ("bytes 0-0/" + "9" * 5000, None),
    ],
)
def test_a_content_range_has_the_complete_length(
    value: str | None, size: int | None
) -> None:
    assert complete_length(value) == size


@pytest.mark.parametrize(
    ("lines", "codings"),
    [
        ([], ""),
        (["identity"], ""),
        (["gzip"], "gzip"),
        (["GZIP, identity"], "gzip"),
        (["aws-chunked"], ""),
        (["aws-chunked,gzip"], "gzip"),
        (["gzip , AWS-Chunked ,"], "gzip"),
        (["aws-chunked", "gzip"], "gzip"),
        (["gzip", "zstd"], "gzip,zstd"),  # applied in this order
    ],
)
def test_what_is_no_coding_of_the_content_is_left_out(
    lines: list[str], codings: str
) -> None:
    fields = HeaderFields({"Content-Encoding": lines} if lines else {})
    assert content_codings(fields) == codings


@given(st.text(), st.integers(0, 2**63 - 1))
def test_any_text_is_a_length_or_none(text: str, size: int) -> None:
    assert content_length(text) is None or text.strip().isdigit()
    assert complete_length(text) is None or "/" in text
    assert content_length(str(size)) == size
    assert complete_length(f"bytes 0-0/{size}") == size


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x46", True),
        (b"\x16\x03\x01\x00\x02", False),  # a handshake, which only clients begin
        (b"HTTP/1.1 400 \x15\x03", False),
        (b"Client sent an HTTP request to an HTTPS server.\n", True),
        (b"<title>400 The plain HTTP request was sent to HTTPS port</title>", True),
        (b"You're speaking plain HTTP to an SSL-enabled server port.<br />", True),
        (b"Bad Request\r\nThis combination of host and port requires TLS.\r\n", True),
        (b'{"errors": [{"code": "NAME_INVALID"}]}', False),
        (b"", False),
    ],
)
def test_a_server_that_expects_tls_is_recognised(data: bytes, expected: bool) -> None:
    assert expects_tls(data) is expected
