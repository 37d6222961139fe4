"""Bytes to one answer at a time: llhttp's callbacks, and the rules around them.

RFC 9112. No I/O and no clock: the connection feeds it and looks at `state`.
"""

from __future__ import annotations

from enum import Enum

import httptools

from auditor.registry.network.http1.coding import decoded
from auditor.registry.network.http1.errors import BrokenOffError, NotHttpError
from auditor.registry.network.http1.fields import Fields, block_of

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
