"""One connection: one request under way at a time, and the deadlines of its answer."""

from __future__ import annotations

import asyncio
import math
import ssl
from typing import cast

from auditor.registry.network.http1.errors import (
    BrokenOffError,
    NotHttpError,
    SilentError,
    UnansweredError,
)
from auditor.registry.network.http1.fields import Fields
from auditor.registry.network.http1.usual_answer import usual_answer
from auditor.registry.transport.http1_parser import AnswerReader, State

# Status, fields and content (null: too large).
Reply = tuple[int, Fields, bytes | None]


class Connection(asyncio.Protocol):
    """A connection to a server. `is_open`: the next request may be sent on it.
    `touched`: something of an answer came since the last request.

    One timer watches it, whatever it does: moving its moment on costs nothing, and
    only when it fires does it look whether its time has really come.
    """

    __slots__ = (
        "_deadline",
        "_due",
        "_head_only",
        "_keep_s",
        "_loop",
        "_max_bytes",
        "_max_error_bytes",
        "_read_s",
        "_reader",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "is_open",
        "lost",
        "touched",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, read_s: float, keep_s: float
    ) -> None:
        self._loop = loop
        self._read_s = read_s
        self._keep_s = keep_s
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._deadline = 0.0
        self._timer_at = math.inf
        self._head_only = False
        self._max_bytes = self._max_error_bytes = 0
        self.is_open = False
        self.touched = False
        self.lost = loop.create_future()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """What was agreed on with TLS; null without it."""
        if self._transport is None:
            return None
        agreed: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return agreed

    def ask(
        self,
        request: bytes,
        *,
        head_only: bool,
        max_bytes: int,
        max_error_bytes: int,
        deadline: float,
    ) -> asyncio.Future[Reply]:
        """The answer to `request`, to be awaited.

        `deadline` is the loop's time. Raises what `http1.errors` names, and OSError;
        then the connection is closed. Who does not wait for the end has to `abort` it.
        """
        waiter = self._waiter = self._loop.create_future()
        self.touched = False
        transport = self._transport
        if transport is None or not self.is_open:
            waiter.set_exception(UnansweredError())
            return waiter
        self._head_only = head_only
        self._max_bytes = max_bytes
        self._max_error_bytes = max_error_bytes
        self._deadline = deadline
        due = self._loop.time() + self._read_s
        self._watch(min(deadline, due))
        transport.write(request)
        return waiter

    def abort(self) -> None:
        """End it now."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # -- what the event loop calls ---------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """`asyncio.Protocol`"""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """`asyncio.Protocol`"""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.abort()  # words that nobody asked for
            return
        if self.touched:
            self._read(waiter, data)
            return
        self.touched = True
        usual = usual_answer(data, head_only=self._head_only, max_bytes=self._max_bytes)
        if usual is None:
            self._reader.begin(
                head_only=self._head_only,
                max_bytes=self._max_bytes,
                max_error_bytes=self._max_error_bytes,
            )
            self._read(waiter, data)
        else:
            self._watch(self._loop.time() + self._keep_s)
            waiter.set_result(usual)

    def _read(self, waiter: asyncio.Future[Reply], data: bytes) -> None:
        """A piece of an answer that is not the usual one."""
        reader = self._reader
        try:
            reader.feed(data)
        except NotHttpError as error:
            self.abort()
            waiter.set_exception(error)
            return
        if reader.state is State.WHOLE or reader.state is State.TOO_LARGE:
            self._finish(waiter)
        else:
            self._due = min(self._loop.time() + self._read_s, self._deadline)

    def _finish(self, waiter: asyncio.Future[Reply]) -> None:
        """Hand over what was read."""
        reader = self._reader
        try:
            body = reader.body()
        except (BrokenOffError, NotHttpError) as error:
            self.abort()
            waiter.set_exception(error)
            return
        if reader.reusable:
            self._watch(self._loop.time() + self._keep_s)
        else:
            self.abort()
        waiter.set_result((reader.status, reader.fields, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """`asyncio.Protocol`"""
        self.is_open = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, math.inf
        if not self.lost.done():
            self.lost.set_result(None)
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if exc is None and self.touched:
            try:
                self._reader.end()
            except BrokenOffError as error:
                exc = error
        elif exc is None:
            exc = UnansweredError()
        if exc is None:
            self._finish(waiter)
        else:
            waiter.set_exception(exc)

    # -- deadlines -------------------------------------------------------------

    def _watch(self, due: float) -> None:
        self._due = due
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time()
        if now < self._due:
            self._watch(self._due)
            return
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            late = now >= self._deadline
            waiter.set_exception(TimeoutError() if late else SilentError())
        self.abort()
