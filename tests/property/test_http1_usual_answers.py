"""What is taken for a usual answer, llhttp would have read just so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.registry.transport.http1_parser import AnswerReader, State, usual_answer

CAP = 64
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
    usual = usual_answer(raw, head_only=head_only, max_bytes=CAP)
    if usual is None:
        return
    reader = AnswerReader()
    reader.begin(head_only=head_only, max_bytes=CAP, max_error_bytes=0)
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
