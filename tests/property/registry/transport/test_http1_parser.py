"""An answer means the same however its bytes are cut, and what follows it is seen."""

from __future__ import annotations

import gzip
import itertools
import zlib
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.registry.transport.http1_parser import (
    MAX_HEAD_BYTES,
    AnswerReader,
    BrokenOffError,
    NotHttpError,
    State,
)

CAP = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer as bytes, and what must be read from them."""

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
def answers(draw: st.DrawFn) -> Said:
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
    raw = interim + f"HTTP/{version} {status} Said\r\n{head}\r\n".encode()
    ends = framing == "end" and not without_body
    return Said(
        raw=raw if without_body else raw + body,
        status=status,
        content=b"" if without_body else content,
        reusable=not close and not ends and version == "1.1",
        head_only=head_only,
        ends_with_connection=ends,
    )


def read(said: Said, pieces: list[bytes], reader: AnswerReader) -> None:
    reader.begin(head_only=said.head_only, max_bytes=CAP, max_error_bytes=CAP)
    for number, piece in enumerate(pieces):
        assert reader.state in {State.HEAD, State.BODY}, number
        reader.feed(piece)
    if said.ends_with_connection:
        assert reader.state is State.BODY
        reader.end()


def check(said: Said, reader: AnswerReader) -> None:
    assert reader.state is State.WHOLE
    assert (reader.status, reader.body()) == (said.status, said.content)
    assert reader.reusable == said.reusable
    assert list(reader.fields.getall("X-TWO", ())) == ["a", "b"]
    assert reader.fields.get("content-type") == "application/json"


@settings(max_examples=150, deadline=None)
@given(st.lists(answers(), min_size=1, max_size=3), st.data())
def test_answers_are_read_whole_however_their_bytes_are_cut(
    many: list[Said], data: st.DataObject
) -> None:
    reader = AnswerReader()
    for said in many:
        places = st.lists(st.integers(0, 10_000), max_size=6)
        read(said, _cut(said.raw, data.draw(places)), reader)
        check(said, reader)
        if not reader.reusable:
            reader = AnswerReader()
    byte_by_byte = AnswerReader()
    read(many[0], [bytes([byte]) for byte in many[0].raw], byte_by_byte)
    check(many[0], byte_by_byte)


@settings(max_examples=150, deadline=None)
@given(answers(), st.binary(min_size=1, max_size=20), st.booleans())
def test_what_follows_an_answer_ends_the_use_of_its_connection(
    said: Said, more: bytes, second: bool
) -> None:
    if said.ends_with_connection:
        return
    # Line ends between answers say nothing (RFC 9112 section 2.2).
    more = said.raw if second else b"x" + more
    reader = AnswerReader()
    read(said, [said.raw + more], reader)
    assert reader.state is State.WHOLE
    assert not reader.reusable
    assert (reader.status, reader.body()) == (said.status, said.content)


@settings(max_examples=100, deadline=None)
@given(answers(), st.data())
def test_an_answer_that_is_cut_is_not_taken_for_a_whole_one(
    said: Said, data: st.DataObject
) -> None:
    if said.ends_with_connection:
        return
    reader = AnswerReader()
    read(said, [said.raw[: data.draw(st.integers(0, len(said.raw) - 1))]], reader)
    try:
        reader.end()
    except BrokenOffError:
        return
    raise AssertionError("it was taken for a whole one")


@settings(max_examples=300, deadline=None)
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
def test_no_bytes_raise_anything_but_what_is_named(
    pieces: list[bytes], head_only: bool
) -> None:
    reader = AnswerReader()
    reader.begin(head_only=head_only, max_bytes=CAP, max_error_bytes=CAP)
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.end()
        content = reader.body()
    except (NotHttpError, BrokenOffError):
        return
    assert content is None or len(content) <= CAP
    assert sum(len(name) for name, _ in reader._lines) <= MAX_HEAD_BYTES
