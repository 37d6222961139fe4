"""An answer means the same however its bytes are cut, and what follows it is seen."""

from __future__ import annotations

import gzip
import itertools
import zlib
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.registry.transport.http1_parser import (
    MAX_HEAD_BYTES,
    AnswerReader,
    BrokenOffError,
    NotHttpError,
    State,
    usual_answer,
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


# -- test_http1_usual_answers --
# What is taken for a usual answer, llhttp would have read just so.

TEST_HTTP1_USUAL_ANSWERS_CAP = 64
_PLAIN_NAMES = ("content-type", "X-Two", "x-two", "Content", "X!#$%&'*+.^_`|~-")
_TELLING = (
    "Content-Length: 5", "content-length: 05", "Connection: close",
    "connection: keep-alive", "Connection: Keep-Alive, x", "Upgrade: x",
    "Proxy-Connection: close", "Content-Encoding: gzip", "content-encoding: identity",
    "Transfer-Encoding: chunked", "transfer-encoding: identity", "Trailer: X-Two",
)  # fmt: skip
_ODD_NAMES = ("", "X Y", " Content-Length", "X\t", "X\x00", "\xe9")
_PLAIN_VALUES = ("", "5", "a:b", " a b ", "\tb\t", "\xe9", "\xff")
_ODD_VALUES = ("a\x01b", "a\x7fb", "a\x00b", "a\rb", "a\nb", "a\r\n b", "a\r\n\tb")


def _lines(names: tuple[str, ...], values: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.builds(
        "{}: {}\r\n".format, st.sampled_from(names), st.sampled_from(values)
    )


_PLAIN = st.lists(_lines(_PLAIN_NAMES, _PLAIN_VALUES), max_size=2)
_LENGTH = "Content-Length: 5\r\n"
_START = "HTTP/1.1 200 OK\r\n"
# What may be odd about an answer, and is then in its place or added.
_ODD = {
    "nothing": st.just(""),
    "a telling field": st.sampled_from([f"{line}\r\n" for line in _TELLING]),
    "an odd name": _lines(_ODD_NAMES, _PLAIN_VALUES),
    "an odd value": _lines(_PLAIN_NAMES, _ODD_VALUES),
    "an odd line": st.sampled_from(
        ["X:a\r\n", "X: a\n", "X : a\r\n", "X\r\n", " X: a\r\n"]
    ),
    "start": st.sampled_from(
        [
            "HTTP/1.1 200 \r\n", "HTTP/1.1 200\r\n", "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 204 x\r\n", "HTTP/1.1 200 a\x01\r\n", "HTTP/1.1 200 OK\n",
            "HTTP/1.1 2000 OK\r\n", "\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 404 x\r\n",
            "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\n",
        ]
    ),
    "length": st.sampled_from(["content-length:5\r\n", "Content-Length: +5\r\n", ""]),
    "rest": st.sampled_from(["", "hell", "hello", "hello!", f"hello{_START}\r\n"]),
}  # fmt: skip


@st.composite
def _answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """An answer, with one thing that is odd about it, and whether it is to HEAD."""
    what = draw(st.sampled_from([*_ODD, "a telling field"]))
    odd, head_only = draw(_ODD[what]), draw(st.booleans())
    length = odd if what == "length" else _LENGTH
    rest = odd if what == "rest" else "" if head_only else "hello"
    lines = [*draw(_PLAIN), length, *draw(_PLAIN)]
    if what not in {"start", "length", "rest"}:
        lines.insert(draw(st.integers(0, len(lines))), odd)
    start = odd if what == "start" else _START
    return "".join([start, *lines, "\r\n", rest]).encode("latin-1"), head_only


@settings(max_examples=800, deadline=None)
@given(_answers())
def test_llhttp_reads_a_usual_answer_just_so(said: tuple[bytes, bool]) -> None:
    raw, head_only = said
    usual = usual_answer(
        raw, head_only=head_only, max_bytes=TEST_HTTP1_USUAL_ANSWERS_CAP
    )
    if usual is None:
        return
    reader = AnswerReader()
    reader.begin(
        head_only=head_only, max_bytes=TEST_HTTP1_USUAL_ANSWERS_CAP, max_error_bytes=0
    )
    reader.feed(raw)
    assert reader.state is State.WHOLE
    assert reader.reusable
    status, fields, content = usual
    assert (status, content) == (reader.status, reader.body())
    for name in ("Content-Length", "Connection", *_PLAIN_NAMES):
        assert fields.get(name) == reader.fields.get(name)
        assert fields.getall(name, ()) == reader.fields.getall(name, ())


@pytest.mark.parametrize(
    "lines",
    [
        # distribution; behind nginx; Docker Hub
        'Content-Length: 5\r\nContent-Type: a/b\r\nEtag: "x"\r\nDate: now\r\n',
        "Server: nginx\r\nContent-Length: 5\r\nConnection: keep-alive\r\nA: \xff\r\n",
        "content-type: a/b\r\ncontent-length: 5\r\nratelimit-limit: 100;w=21600\r\n",
    ],
)  # fmt: skip
def test_what_registries_say_is_usual(lines: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1")
    found = usual_answer(head + b"hello", head_only=False, max_bytes=5)
    assert found is not None
    assert (found[0], found[2]) == (200, b"hello")
    assert found[1].get("CONTENT-LENGTH") == "5"
    assert usual_answer(head, head_only=True, max_bytes=0) is not None


@pytest.mark.parametrize(
    "raw",
    [
        "HTTP/1.1 404 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!",  # more than the cap
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n X: folded\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: " + "y" * 9000 + "\r\n\r\nhello",
    ],
)
def test_everything_else_is_left_to_llhttp(raw: str) -> None:
    assert usual_answer(raw.encode(), head_only=False, max_bytes=5) is None
