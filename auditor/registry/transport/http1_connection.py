"""One HTTP/1.1 connection, with one request in flight at a time.

It keeps the deadlines of the response, which `http1_parser` parses, and notices what
the server sends without a request.
"""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from time import monotonic
from typing import cast

from auditor.registry.transport.http1_parser import (
    BrokenOffError,
    NotHttpError,
    RawHeaders,
    ResponseParser,
    SilentError,
    State,
    UnansweredError,
)
from auditor.registry.transport.http_defaults import KEEPALIVE_S, MAX_ERROR_BYTES
from auditor.registry.transport.loop_turns import LoopTurns

# Looked up once (see `http1_parser`).
_COMPLETE, _TOO_LARGE = State.COMPLETE, State.TOO_LARGE
# Status, headers and body (None: too large).
_Parsed = tuple[int, RawHeaders, bytes | None]


class Connection(asyncio.Protocol):
    """One connection, with one request in flight at a time.

    `is_open`: the next request may be sent. `closed` is done once it is closed. `due`:
    when the time of its request, or of being idle, is over. `is_out_of_step`: the
    server sent a response that answers no request. `written_at` and `arrived_at`: when
    the last request was given to the system and when the last bytes of its response
    came, both on Python's monotonic clock. The loop's own time will not do: uvloop's is
    that of the start of the turn, in whole milliseconds (uv_now). `turns` are those of
    the loop, for all its connections.

    A single timer watches it. Moving the due time costs nothing: when the timer fires
    too early, it is set again.
    """

    __slots__ = (
        "_deadline",
        "_loop",
        "_parser",
        "_poll",
        "_read_s",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "arrived_at",
        "closed",
        "due",
        "is_open",
        "is_out_of_step",
        "turns",
        "written_at",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        read_s: float,
        turns: LoopTurns | None = None,
    ) -> None:
        self.turns = LoopTurns() if turns is None else turns
        self._loop = loop
        self._read_s = read_s
        self._parser = ResponseParser()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[_Parsed] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.due = self._deadline = self.written_at = self.arrived_at = 0.0
        self._timer_at = math.inf
        self.is_open = self.is_out_of_step = False
        self.closed = loop.create_future()

    @property
    def touched(self) -> bool:
        """Whether bytes came since the last request."""
        return self._parser.touched

    @property
    def has_head(self) -> bool:
        """Whether the header of the response was complete."""
        return self._parser.status > 0

    def has_input(self) -> bool:
        """Whether the system holds bytes, or the end, of what the server sent.

        The event loop reads them soon, but may not have done so yet.
        """
        return bool(self._poll.poll(0))

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, None without TLS."""
        if self._transport is None:
            return None
        session: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return session

    def request(
        self,
        request: bytes,
        *,
        head_only: bool,
        max_bytes: int,
        deadline: float,
    ) -> asyncio.Future[_Parsed]:
        """Send the request; return the future of its response.

        `deadline` is in the loop's time; the other arguments are those of
        `ResponseParser.begin`. The future raises the errors of `http1_parser`, and
        OSError; then the connection is closed. A caller that does not wait for the
        result must `abort` the connection.
        """
        waiter = self._waiter = self._loop.create_future()
        self._parser.begin(
            head_only=head_only, max_bytes=max_bytes, max_error_bytes=MAX_ERROR_BYTES
        )
        transport = self._transport
        if transport is None or not self.is_open:
            waiter.set_exception(UnansweredError())
            return waiter
        self._deadline = deadline
        self._watch(min(deadline, self._loop.time() + self._read_s))
        now = self.written_at = monotonic()
        self.turns.ran(now)
        transport.write(request)
        return waiter

    def keep_idle(self) -> None:
        """Keep the connection open for the next request, for `KEEPALIVE_S` at most."""
        self._watch(self._loop.time() + KEEPALIVE_S)

    def abort(self) -> None:
        """Close the connection now."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # -- callbacks of the event loop -------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """`asyncio.Protocol`"""
        self._transport = cast(asyncio.Transport, transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """`asyncio.Protocol`"""
        self.arrived_at = self.turns.arrived(monotonic(), self.written_at)
        waiter, parser = self._waiter, self._parser
        if waiter is None or waiter.done():
            # Bytes without a request. Some servers end idle connections with 408.
            line = data.lstrip(b"\r\n").partition(b"\n")[0]
            is_response = line.startswith(b"HTTP/") and b" 408 " not in line
            # One that was cancelled a moment ago was asked for.
            is_unasked = waiter is None or not waiter.cancelled()
            if self.is_open and is_response and is_unasked:
                self.is_out_of_step = True
            self.abort()
            return
        try:
            parser.feed(data)
        except NotHttpError as error:
            self.abort()
            waiter.set_exception(error)
            return
        if parser.state is _COMPLETE or parser.state is _TOO_LARGE:
            self._finish(waiter)
        else:
            self.due = min(self._loop.time() + self._read_s, self._deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """`asyncio.Protocol`"""
        self.is_open = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf
        if not self.closed.done():
            self.closed.set_result(None)
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if exc is None and self.touched:
            try:
                self._parser.end()
            except BrokenOffError as error:
                exc = error
        elif exc is None:
            exc = UnansweredError()
        if exc is None:
            # The end of the connection is that of the body.
            self.arrived_at = self.turns.arrived(monotonic(), self.written_at)
            self._finish(waiter)
        else:
            waiter.set_exception(exc)

    def _finish(self, waiter: asyncio.Future[_Parsed]) -> None:
        """Complete the request with the response."""
        parser = self._parser
        self.is_out_of_step = parser.has_second
        try:
            body = parser.body()
        except (BrokenOffError, NotHttpError) as error:
            self.abort()
            waiter.set_exception(error)
            return
        if parser.reusable:
            self.keep_idle()
        else:
            self.abort()
        waiter.set_result((parser.status, parser.headers, body))

    # -- timer -----------------------------------------------------------------

    def _watch(self, due: float) -> None:
        self.due = due
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        if now < self.due:
            self._watch(self.due)
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            late = now >= self._deadline
            waiter.set_exception(TimeoutError() if late else SilentError())
        self.abort()
