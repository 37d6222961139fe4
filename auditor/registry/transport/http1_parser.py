"""Parses HTTP/1.1 responses, one at a time (RFC 9112). No I/O and no clock.

llhttp (httptools) reads the bytes; `ResponseParser` holds its callbacks and the rules
around them: caps, framing, content codings, and whether the connection can be reused.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from enum import Enum

import httptools

from auditor.wire.response import content_codings, expects_tls

# Status line and header fields together, interim responses included. aiohttp takes
# 8 KiB per line and 128 lines; registries send some 0.5 KiB.
MAX_HEAD_BYTES = 64 * 1024
_LONG_HEAD = "its header fields are too long"
# As aiohttp sets them for responses. They do not change where a response ends.
_LENIENCIES = {
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}
# The fields that decide where a response ends and what its content is.
_FRAMING_FIELDS = frozenset(
    {b"connection", b"content-encoding", b"content-length", b"transfer-encoding"}
)
# RFC 9112 section 6.1. Other transfer codings need a TE field, which is never sent.
_TRANSFER_CODINGS = frozenset({b"chunked", b"identity"})
# Content codings that cannot be decoded here, nor by aiohttp without more libraries.
_UNSUPPORTED_CODINGS = frozenset({"br", "zstd", "compress", "x-compress"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZLIB_METHOD = 8  # RFC 1950: the low four bits of the first byte


# Errors between a request and its whole response. `failures.failure_of` maps them to
# failures. `OSError`, `ssl.SSLError` and `socket.gaierror` are raised as they are.


class NotHttpError(ValueError):
    """The bytes are not an HTTP/1 response, or break its framing rules.

    The message never quotes them: they may hold a secret.
    """


class TlsExpectedError(NotHttpError):
    """The server expects TLS and was sent plain HTTP."""


class NoConnectionError(OSError):
    """No connection could be made. `strerror` is the system's message."""


class UnansweredError(ConnectionError):
    """The connection ended before the first byte of the response."""


class BrokenOffError(ConnectionError):
    """The connection ended within the response, or its content is damaged."""


class NoConnectionInTimeError(TimeoutError):
    """No connection within `connect_s`."""


class SilentError(TimeoutError):
    """No byte within `read_s`."""


class RawHeaders:
    """Header fields as received (see `auditor.wire.response.Headers`).

    Only a few fields of a response are ever read, so values are decoded on access: as
    UTF-8, other bytes escaped, as aiohttp does. `first` has the first value of each
    name, in lower case; `others` has the further values in order.
    """

    __slots__ = ("_first", "_others")

    def __init__(
        self, first: dict[bytes, bytes], others: list[tuple[bytes, bytes]]
    ) -> None:
        self._first = first
        self._others = others

    def get(self, name: str, /) -> str | None:
        """The value of the first field of that name."""
        value = self._first.get(_key(name))
        return None if value is None else _text(value)

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """The values of all fields of that name, in order."""
        key = _key(name)
        value = self._first.get(key)
        if value is None:
            return default
        others = [_text(other) for one, other in self._others if one == key]
        return [_text(value), *others]


@functools.lru_cache(maxsize=64)  # the names that this program asks for
def _key(name: str) -> bytes:
    return name.lower().encode("ascii")


def _text(value: bytes) -> str:
    return value.strip(b" \t").decode("utf-8", "surrogateescape")


class State(Enum):
    """How far the parser has come in the response."""

    HEAD = "head"
    BODY = "body"
    COMPLETE = "complete"
    TOO_LARGE = "too large"


# Not looked up on the class for every header field: that takes 900 instructions each
# on Python 3.11.
_HEAD, _BODY, _COMPLETE, _TOO_LARGE = State


class ResponseParser:
    """Parses responses one after the other: `begin`, then `feed` until `state` is
    `COMPLETE` or `TOO_LARGE`, and again.

    `status`, `headers` and `body` are those of the response. `reusable`: the next
    response may come on the same connection; false if the end of this response is
    uncertain. `has_second`: another response followed it, so that it may be the one to
    an earlier request. `touched`: bytes came since `begin`.
    """

    __slots__ = (
        "_body",
        "_error_cap",
        "_fields",
        "_head_bytes",
        "_head_only",
        "_is_coded",
        "_left",
        "_length",
        "_max_bytes",
        "_other_fields",
        "_parser",
        "_transfer_coding",
        "_until_end",
        "has_second",
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
        """Expect a response. `head_only`: to a HEAD request, so without a body.

        `max_bytes` caps the body of a status below 300, `max_error_bytes` that of any
        other.
        """
        self.state = _HEAD
        self.status = 0
        self.reusable = True
        self.has_second = self.touched = False
        self._head_only = head_only
        self._max_bytes = max_bytes
        self._error_cap = max_error_bytes
        self._head_bytes = 0
        self._left = 0
        self._until_end = False
        self._body: list[bytes] = []
        self._reset_fields()

    def _reset_fields(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._other_fields: list[tuple[bytes, bytes]] = []
        self._length: int | None = None
        self._is_coded = False
        self._transfer_coding: bytes | None = None

    @property
    def headers(self) -> RawHeaders:
        """The header fields, without trailers."""
        return RawHeaders(self._fields, self._other_fields)

    def body(self) -> bytes | None:
        """The decoded content; None if it is larger than its cap.

        Raises `BrokenOffError` and `NotHttpError` as `decode_content` does.
        """
        if self.state is _TOO_LARGE:
            return None
        pieces = self._body
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not self._is_coded:
            return content
        return decode_content(content, content_codings(self.headers), self._max_bytes)

    def feed(self, data: bytes) -> None:
        """Parse the bytes. After `NotHttpError` the connection must be closed."""
        self.touched = True
        if self.state is _HEAD:
            self._head_bytes += len(data)
        elif self.state is not _BODY:
            self.reusable = False
            return
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
            parser.set_dangerous_leniencies(**_LENIENCIES)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._parser = None
            self.reusable = False
            if self.state is _COMPLETE or self.state is _TOO_LARGE:
                return  # the error is in what follows the response
            if self._head_bytes == len(data) and expects_tls(data):
                raise TlsExpectedError from None
            cause = error.__context__ or error.__cause__
            is_own = isinstance(cause, NotHttpError)  # raised by a callback
            raise NotHttpError(str(cause if is_own else error)) from None
        if self.state is _HEAD and self._head_bytes > MAX_HEAD_BYTES:
            raise NotHttpError(_LONG_HEAD)

    def end(self) -> None:
        """The server closed the connection. Raises `BrokenOffError` if too early."""
        self.reusable = False
        if self.state is _BODY and self._until_end:
            self.state = _COMPLETE
        elif self.state is _HEAD or self.state is _BODY:
            raise BrokenOffError

    # -- callbacks of llhttp ---------------------------------------------------

    def _message_begin(self) -> None:
        if self.state is not _HEAD:
            self.reusable = False  # more than one response to one request

    def _header(self, name: bytes, value: bytes) -> None:
        if self.state is not _HEAD:
            return  # a trailer
        name = name.lower()
        if name in self._fields:
            self._other_fields.append((name, value))
        else:
            self._fields[name] = value
        if name in _FRAMING_FIELDS:
            self._framing_field(name, value)

    def _framing_field(self, name: bytes, value: bytes) -> None:
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
        if self.state is not _HEAD or parser is None:
            self.has_second = True
            return
        # The end of a large piece may be body: then only the fields are counted.
        if self._head_bytes > MAX_HEAD_BYTES and self._size() > MAX_HEAD_BYTES:
            raise NotHttpError(_LONG_HEAD)
        status = parser.get_status_code()
        if status < 200:
            return  # an interim response (RFC 9110 section 15.2)
        self.status = status
        if parser.get_http_version() == "1.0" and not any(
            "keep-alive" in value.lower()
            for value in self.headers.getall("Connection", ())
        ):
            self.reusable = False
        if self._head_only or status in {204, 304}:
            # llhttp would wait for a body of the announced length.
            self._parser = None
            self.state = _COMPLETE
            return
        coding = self._transfer_coding
        if coding is not None and coding not in _TRANSFER_CODINGS:
            raise NotHttpError("its transfer coding is not supported")
        if coding != b"chunked" and self._length is None:
            self._until_end = True
            self.reusable = False
        self.state = _BODY
        self._left = self._max_bytes if status < 300 else self._error_cap
        if self._length is not None and self._length > self._left:
            self.state = _TOO_LARGE
            self.reusable = False

    def _size(self) -> int:
        fields = (*self._fields.items(), *self._other_fields)
        return sum(len(name) + len(value) for name, value in fields)

    def _data(self, data: bytes) -> None:
        if self.state is not _BODY:
            self.reusable = False  # such as a body in the response to HEAD
            return
        self._left -= len(data)
        if self._left < 0:
            self.state = _TOO_LARGE
            self.reusable = False
            self._body.clear()
        else:
            self._body.append(data)

    def _message_complete(self) -> None:
        if self.state is _BODY:
            self.state = _COMPLETE
        elif self.state is _HEAD:
            self._reset_fields()  # those of an interim response


def decode_content(content: bytes, coding: str, max_bytes: int) -> bytes | None:
    """The content without its coding (RFC 9110 section 8.4); None above `max_bytes`.

    `coding` is what `content_codings` returns. Some servers compress although no
    request accepts that. Content with an unknown coding is returned unchanged. Raises
    `BrokenOffError` for damaged or incomplete content, `NotHttpError` for a coding that
    is known and not supported.
    """
    if not content:
        return content  # such as that of HEAD
    if coding in _UNSUPPORTED_CODINGS or "," in coding:
        raise NotHttpError("its content coding is not supported")
    if coding in {"gzip", "x-gzip"}:
        window = _GZIP_WINDOW
    elif coding == "deflate":
        # Some servers send deflate without zlib's header (RFC 9110 section 8.4.1.2).
        wrapped = content[0] & 0x0F == _ZLIB_METHOD
        window = zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
    else:
        return content
    inflate = zlib.decompressobj(window)
    try:
        decoded = inflate.decompress(content, max_bytes + 1)
    except zlib.error:
        raise BrokenOffError from None
    if len(decoded) > max_bytes:
        return None
    if not inflate.eof:
        raise BrokenOffError
    return decoded
