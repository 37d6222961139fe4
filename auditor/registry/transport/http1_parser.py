"""Bytes to one answer at a time: llhttp's callbacks, and the rules around them.

RFC 9112. No I/O and no clock: the connection feeds it and looks at `state`.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Sequence
from enum import Enum

import httptools

# -- errors --
# What can go wrong between a request and its whole answer.
#
# `transport.failure_of_exception` says what each means for a reference. Besides these,
# `OSError`, `ssl.SSLError` and `socket.gaierror` come out as the system raises them.


class NotHttpError(ValueError):
    """What came is not an HTTP/1 answer, or breaks the rules of its framing.

    The text never quotes what came: that may hold a secret.
    """


class NoConnectionError(OSError):
    """No connection could be made. `strerror` is the system's word."""


class UnansweredError(ConnectionError):
    """The connection ended before the answer's first byte."""


class BrokenOffError(ConnectionError):
    """The connection ended within the answer, or its content is damaged."""


class NoConnectionInTimeError(TimeoutError):
    """No connection within `connect_s`."""


class SilentError(TimeoutError):
    """Nothing came for `read_s`."""


# -- coding --
# Content that came compressed though nobody asked for that (RFC 9110 section 8.4).

# Codings that aiohttp would refuse as well without a library for them.
_UNKNOWN = frozenset({"br", "zstd", "compress", "x-compress"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8  # RFC 1950: the low four bits of the first byte


def decoded(content: bytes, coding: str, max_bytes: int) -> bytes | None:
    """The decompressed content; null as soon as it is more than `max_bytes`.

    What is no coding at all says nothing and changes nothing. Raises `BrokenOffError`
    for damaged or cut content, `NotHttpError` for a coding that cannot be undone.
    """
    coding = coding.lower()
    if coding in _UNKNOWN or "," in coding:
        raise NotHttpError("its content coding was not asked for and is not known")
    if not content:
        return content
    if coding in {"gzip", "x-gzip"}:
        window = _GZIP_WINDOW
    elif coding == "deflate":
        # Some servers leave out zlib's wrapping (RFC 9110 section 8.4.1.2).
        wrapped = content[0] & 0x0F == _ZLIB_METHOD
        window = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
    else:
        return content
    inflate = zlib.decompressobj(window)
    try:
        found = inflate.decompress(content, max_bytes + 1)
    except zlib.error:
        raise BrokenOffError from None
    if len(found) > max_bytes:
        return None
    if not inflate.eof:
        raise BrokenOffError
    return found


# -- fields --
# Header fields as they came: looked for when they are asked for.


class Fields:
    """Header fields (see `auditor.protocol.answer.Headers`).

    Only a few of an answer's fields are ever looked at, so they stay the bytes that
    came: a line break before each `Name: value`, and one at the end. Values are text
    as aiohttp has it: UTF-8, what is none escaped.
    """

    __slots__ = ("_as_sent", "_small")

    def __init__(self, block: bytes) -> None:
        self._as_sent = block
        self._small: bytes | None = None  # in small letters, made once

    def get(self, name: str, /) -> str | None:
        """The value of the first line of that name."""
        small = self._small
        if small is None:
            small = self._small = self._as_sent.lower()
        wanted = _key(name)
        at = small.find(wanted)
        if at < 0:
            return None
        return self._value(at + len(wanted))

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """The values of every line of that name, in order."""
        small, wanted, found = self._as_sent.lower(), _key(name), []
        at = small.find(wanted)
        while at >= 0:
            at += len(wanted)
            found.append(self._value(at))
            at = small.find(wanted, at)
        return found or default

    def _value(self, start: int) -> str:
        value = self._as_sent[start : self._as_sent.index(b"\r\n", start)]
        return value.strip(b" \t").decode("utf-8", "surrogateescape")


def block_of(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Names and values as `Fields` takes them."""
    return b"".join(b"\r\n%b:%b" % line for line in lines) + b"\r\n"


@functools.lru_cache(maxsize=64)  # the names that this program asks for
def _key(name: str) -> bytes:
    return f"\r\n{name.lower()}:".encode("ascii")


# Status line and fields together, interim answers included. aiohttp takes 8 KiB for a
# line and 128 lines; real registries send some 0.5 KiB.
MAX_HEAD_BYTES = 64 * 1024
_LONG_HEAD = "its header fields are too long"
# llhttp's own leniencies, as aiohttp sets them for answers: they change nothing of
# where an answer ends.
_LENIENT = {
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}
# What decides where an answer ends and what its content is.
_TELLING = frozenset(
    {b"connection", b"content-encoding", b"content-length", b"transfer-encoding"}
)
# RFC 9112 section 6.1: what else stands there is a coding that nobody asked for.
_TRANSFER_CODINGS = frozenset({b"chunked", b"identity"})


class State(Enum):
    """Where the reader is in the answer."""

    HEAD = "head"
    BODY = "body"
    WHOLE = "whole"
    TOO_LARGE = "too large"


class AnswerReader:
    """Reads answers one after the other: `begin`, `feed` until it is whole, again.

    After `WHOLE`, `reusable` says whether the next answer may come on the same
    connection: it is false as soon as there is any doubt where this one ended.
    `touched`: something came since `begin`. `status` and `fields` are the answer's.
    """

    __slots__ = (
        "_body",
        "_cap",
        "_error_cap",
        "_head_bytes",
        "_head_only",
        "_is_coded",
        "_left",
        "_length",
        "_lines",
        "_parser",
        "_transfer_coding",
        "_until_end",
        "on_body",
        "on_header",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "reusable",
        "state",
        "status",
        "touched",
    )

    def __init__(self) -> None:
        # httptools looks its callbacks up by these names.
        self.on_message_begin = self._message_begin
        self.on_header = self._header
        self.on_headers_complete = self._headers_complete
        self.on_body = self._data
        self.on_message_complete = self._message_complete
        self._parser: httptools.HttpResponseParser | None = None
        self.begin(head_only=False, max_bytes=0, max_error_bytes=0)

    def begin(self, *, head_only: bool, max_bytes: int, max_error_bytes: int) -> None:
        """Expect an answer; `head_only`: to HEAD, which never has a body.

        `max_bytes` caps the body of a good answer (below 300), the other an error's.
        """
        self.state = State.HEAD
        self.status = 0
        self.reusable = True
        self.touched = False
        self._head_only = head_only
        self._cap = max_bytes
        self._error_cap = max_error_bytes
        self._head_bytes = 0
        self._left = 0
        self._until_end = False
        self._body: list[bytes] = []
        self._forget_fields()

    def _forget_fields(self) -> None:
        self._lines: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._is_coded = False
        self._transfer_coding: bytes | None = None

    @property
    def fields(self) -> Fields:
        """The header fields, without trailers."""
        return Fields(block_of(self._lines))

    def body(self) -> bytes | None:
        """The content, decompressed; null where it is more than its cap.

        Raises `BrokenOffError` and `NotHttpError` as `decoded`.
        """
        if self.state is State.TOO_LARGE:
            return None
        pieces = self._body
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._is_coded:
            return content
        coding = self.fields.get("Content-Encoding") or ""
        return decoded(content, coding, self._cap)

    def feed(self, data: bytes) -> None:
        """Take what came. Raises `NotHttpError`; then the connection is of no use."""
        self.touched = True
        if self.state is State.HEAD:
            self._head_bytes += len(data)
        elif self.state is not State.BODY:
            self.reusable = False
            return
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
            parser.set_dangerous_leniencies(**_LENIENT)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._parser = None
            self.reusable = False
            if self._is_decided():
                return  # what follows the answer is no second one
            raise NotHttpError(_reason(error)) from None
        if self.state is State.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            raise NotHttpError(_LONG_HEAD)

    def _is_decided(self) -> bool:
        return self.state in {State.WHOLE, State.TOO_LARGE}

    def end(self) -> None:
        """The connection ended in good order. Raises `BrokenOffError` if too early."""
        self.reusable = False
        if self.state is State.BODY and self._until_end:
            self.state = State.WHOLE
        elif self.state is State.HEAD or self.state is State.BODY:
            raise BrokenOffError

    # -- what llhttp calls -----------------------------------------------------

    def _message_begin(self) -> None:
        if self.state is not State.HEAD:
            self.reusable = False  # nobody asked for a second answer

    def _header(self, name: bytes, value: bytes) -> None:
        if self.state is not State.HEAD:
            return  # a trailer
        name = name.lower()
        self._lines.append((name, value))
        if name in _TELLING:
            self._heed(name, value)

    def _heed(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            before = self._transfer_coding
            coding = value.strip(b" \t").lower()
            self._transfer_coding = coding if before is None else before + b"," + coding
        elif name == b"content-encoding":
            self._is_coded = True
        elif b"close" in value.lower():
            self.reusable = False

    def _headers_complete(self) -> None:
        parser = self._parser
        if self.state is not State.HEAD or parser is None:
            return  # of an answer that nobody asked for
        # The rest of a large piece may be body: then the fields themselves count.
        if self._head_bytes > MAX_HEAD_BYTES and self._size() > MAX_HEAD_BYTES:
            raise NotHttpError(_LONG_HEAD)
        status = parser.get_status_code()
        if status < 200:
            return  # RFC 9110 section 15.2: the final answer is still to come
        self.status = status
        if parser.get_http_version() == "1.0" and not self._keeps_alive():
            self.reusable = False
        if self._head_only or status in {204, 304}:
            # llhttp would wait for a body of the length that the fields tell.
            self._parser = None
            self.state = State.WHOLE
            return
        coding = self._transfer_coding
        if coding is not None and coding not in _TRANSFER_CODINGS:
            raise NotHttpError("its transfer coding is not known")
        if coding != b"chunked" and self._length is None:
            self._until_end = True
            self.reusable = False
        self.state = State.BODY
        self._left = self._cap if status < 300 else self._error_cap
        if self._length is not None and self._length > self._left:
            self.state = State.TOO_LARGE
            self.reusable = False

    def _size(self) -> int:
        return sum(len(name) + len(value) for name, value in self._lines)

    def _keeps_alive(self) -> bool:
        return any(
            name == b"connection" and b"keep-alive" in value.lower()
            for name, value in self._lines
        )

    def _data(self, data: bytes) -> None:
        if self.state is not State.BODY:
            self.reusable = False  # such as the body that an answer to HEAD has not
            return
        self._left -= len(data)
        if self._left < 0:
            self.state = State.TOO_LARGE
            self.reusable = False
            self._body.clear()
        else:
            self._body.append(data)

    def _message_complete(self) -> None:
        if self.state is State.BODY:
            self.state = State.WHOLE
        elif self.state is State.HEAD:
            self._forget_fields()  # those of an interim answer


def _reason(error: Exception) -> str:
    cause = error.__context__ or error.__cause__
    return str(cause if isinstance(cause, NotHttpError) else error)


# -- usual_answer --
# The usual answer, known at a glance; every other one is llhttp's to read.
#
# Nearly all that an audit is answered is alike: a 200 with its length, whole in the
# first piece that comes. llhttp calls back for each of its fields, which costs three
# times what this does. What is taken here, llhttp takes for the same
# (`tests/property/test_http1_usual_answers.py`), and of what is not, nothing is said.

# A longer head is left to `answer_reader.MAX_HEAD_BYTES`.
_MOST_HEAD_BYTES = 8 * 1024
# RFC 9110 section 5: a field's name is a token, and its value has no control
# characters but tabs. No two ways lead through a field (`*+`), so that a strange head
# costs two passes at most. The fields together are without `+`: before 3.11.5 Python
# takes groups that are possessive for shorter than they are (CPython issue 106052).
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+"
# Fields that say nothing of where the answer ends, what coding its content has, or
# whether the connection stays.
_OTHERS = (
    rb"(?:\r\n(?!(?i:con(?:nection|tent-(?:length|encoding))|proxy-connection"
    rb"|transfer-encoding|upgrade):)" + _FIELD + rb"|\r\n(?i:connection: keep-alive)"
    rb"(?=\r\n))*"
)
_USUAL = re.compile(
    rb"HTTP/1\.1 200 [ -~]*+(?P<fields>"
    + _OTHERS
    + rb"\r\n(?i:content-length): (?P<length>[0-9]{1,9})(?=\r\n)"
    + _OTHERS
    + rb"\r\n)\r\n"
)


def usual_answer(
    piece: bytes, *, head_only: bool, max_bytes: int
) -> tuple[int, Fields, bytes] | None:
    """Status, fields and content, if this piece is a usual answer and nothing else.

    `head_only` and `max_bytes` as in `AnswerReader.begin`. Null says nothing: it may
    be a good answer all the same.
    """
    found = _USUAL.match(piece)
    if found is None:
        return None
    fields, length = found.groups()
    start, size = found.end(), 0 if head_only else int(length)
    if start + size != len(piece) or size > max_bytes or start > _MOST_HEAD_BYTES:
        return None
    return 200, Fields(fields), piece[start:]
