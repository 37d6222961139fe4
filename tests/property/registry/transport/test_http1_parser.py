"""Responses are parsed the same however they are cut, and extra bytes are noticed."""

from __future__ import annotations

import gzip
import itertools
import zlib
from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from auditor.registry.transport.http1_parser import (
    MAX_HEAD_BYTES,
    BrokenOffError,
    NotHttpError,
    ResponseParser,
    State,
)
from tests.examples import examples

CAP = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """A response as bytes, and what must be parsed from them."""

    raw: bytes
    status: int
    content: bytes
    reusable: bool
    head_only: bool
    ends_with_connection: bool


def _cut(raw: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(raw) + 1) for place in places}), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]


@st.composite
def responses(draw: st.DrawFn) -> RawResponse:
    status = draw(st.sampled_from([200, 200, 200, 204, 304, 401, 404, 500]))
    head_only = draw(st.booleans())
    content = draw(st.binary(max_size=CAP))
    coding = draw(st.sampled_from([None, "gzip", "deflate", "x-odd"]))
    framing = draw(st.sampled_from(["length", "chunked", "end"]))
    close = draw(st.booleans())
    version = draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    without_body = head_only or status in {204, 304}
    sent = {
        "gzip": lambda: gzip.compress(content),
        "deflate": lambda: zlib.compress(content),
    }.get(coding or "", lambda: content)()
    fields = ["Content-Type: application/json", "X-Two: a", "x-two:  b "]
    if coding:
        fields.append(f"Content-Encoding: {coding}")
    if close:
        fields.append("Connection: close")
    if framing == "length":
        fields.append(f"Content-Length: {len(sent)}")
        body = sent
    elif framing == "chunked":
        fields.append("Transfer-Encoding: chunked")
        pieces = _cut(sent, draw(st.lists(st.integers(0, CAP), max_size=4)))
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"X-Two: trailer\r\n"])) + b"\r\n"
    else:
        body = sent
    interim = draw(st.integers(0, 2)) * b"HTTP/1.1 103 Early\r\nX-Two: no\r\n\r\n"
    head = "".join(f"{field}\r\n" for field in fields)
    raw = interim + f"HTTP/{version} {status} Reason\r\n{head}\r\n".encode()
    ends = framing == "end" and not without_body
    return RawResponse(
        raw=raw if without_body else raw + body,
        status=status,
        content=b"" if without_body else content,
        reusable=not close and not ends and version == "1.1",
        head_only=head_only,
        ends_with_connection=ends,
    )


def read(
    raw_response: RawResponse, pieces: list[bytes], parser: ResponseParser
) -> None:
    parser.begin(head_only=raw_response.head_only, max_bytes=CAP, max_error_bytes=CAP)
    for number, piece in enumerate(pieces):
        assert parser.state in {State.HEAD, State.BODY}, number
        parser.feed(piece)
    if raw_response.ends_with_connection:
        assert parser.state is State.BODY
        parser.end()


def check(raw_response: RawResponse, parser: ResponseParser) -> None:
    assert parser.state is State.COMPLETE
    assert (parser.status, parser.body()) == (raw_response.status, raw_response.content)
    assert parser.reusable == raw_response.reusable
    assert not parser.has_second
    assert list(parser.headers.getall("X-TWO", ())) == ["a", "b"]
    assert parser.headers.get("content-type") == "application/json"


@examples(150)
@given(st.lists(responses(), min_size=1, max_size=3), st.data())
def test_responses_are_parsed_the_same_however_their_bytes_are_cut(
    raw_responses: list[RawResponse], data: st.DataObject
) -> None:
    parser = ResponseParser()
    for raw_response in raw_responses:
        places = st.lists(st.integers(0, 10_000), max_size=6)
        read(raw_response, _cut(raw_response.raw, data.draw(places)), parser)
        check(raw_response, parser)
        if not parser.reusable:
            parser = ResponseParser()
    byte_by_byte = ResponseParser()
    read(
        raw_responses[0], [bytes([byte]) for byte in raw_responses[0].raw], byte_by_byte
    )
    check(raw_responses[0], byte_by_byte)


@examples(150)
@given(responses(), st.binary(min_size=1, max_size=20), st.booleans())
def test_bytes_after_a_response_end_the_reuse_of_the_connection(
    raw_response: RawResponse, more: bytes, second: bool
) -> None:
    if raw_response.ends_with_connection:
        return
    # Line ends between responses say nothing (RFC 9112 section 2.2).
    more = raw_response.raw if second else b"x" + more
    parser = ResponseParser()
    read(raw_response, [raw_response.raw + more], parser)
    assert parser.state is State.COMPLETE
    assert not parser.reusable
    # Nothing says where the second one begins if the first has no body of its length.
    if raw_response.status not in {204, 304} and not raw_response.head_only:
        assert parser.has_second == (second and raw_response.reusable)
    assert (parser.status, parser.body()) == (raw_response.status, raw_response.content)


@examples(100)
@given(responses(), st.data())
def test_an_incomplete_response_is_an_error(
    raw_response: RawResponse, data: st.DataObject
) -> None:
    if raw_response.ends_with_connection:
        return
    parser = ResponseParser()
    read(
        raw_response,
        [raw_response.raw[: data.draw(st.integers(0, len(raw_response.raw) - 1))]],
        parser,
    )
    try:
        parser.end()
    except BrokenOffError:
        return
    raise AssertionError("the parser took it for a complete response")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@examples(300)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"Upgrade: x\r\n",
                    b"Connection: upgrade\r\n", b"Content-Length: 5\r\n", b"\r\n",
                    b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
                    b"Content-Encoding: gzip\r\n", b"hello", b"X: " + b"y" * 70_000,
                ]
            ),
        ),
        max_size=8,
    ),
    st.booleans(),
)  # fmt: skip
@example([HEAD, b"hello"], False)
@example([HEAD], True)
def test_only_the_documented_errors_are_raised(
    pieces: list[bytes], head_only: bool
) -> None:
    parser = ResponseParser()
    parser.begin(head_only=head_only, max_bytes=CAP, max_error_bytes=CAP)
    try:
        for piece in pieces:
            parser.feed(piece)
        parser.end()
        content = parser.body()
    except (NotHttpError, BrokenOffError):
        return
    assert content is None or len(content) <= CAP
    assert sum(map(len, parser._fields)) <= MAX_HEAD_BYTES
