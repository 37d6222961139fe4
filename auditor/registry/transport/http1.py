"""Requests to one origin, over connections that are kept for the next one."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping

from auditor.registry.network.http1.connection import Connection
from auditor.registry.network.http1.dialer import Dialer
from auditor.registry.transport.http_defaults import MAX_ERROR_BYTES
from auditor.util.text import safe_url
from auditor.wire.response import Answer
from auditor.wire.url_policy import Origin

log = logging.getLogger("auditor.http")

# RFC 9110 section 9.2.2: may be repeated without asking anybody.
IDEMPOTENT = frozenset({"GET", "HEAD"})


class Client:
    """Asks one origin.

    Who calls bounds how many requests are under way; of the connections that they
    leave, `most_idle` are kept.
    """

    def __init__(
        self,
        origin: Origin,
        dialer: Dialer,
        *,
        request_s: float,
        most_idle: int,
        fields: Mapping[str, str],
    ) -> None:
        self._dialer = dialer
        self._request_s = request_s
        self._most_idle = most_idle
        host = str(origin).partition("://")[2]
        self._common = _lines((("Host", host), *fields.items()))
        # The same for every request of a repository, and gone with this client.
        self._lines = functools.lru_cache(maxsize=64)(_lines)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def ask(
        self,
        method: str,
        url: str,
        target: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
    ) -> Answer | None:
        """The answer, null if it is too large; `target` is path and query of `url`.

        A kept connection that ends unanswered was being closed while we wrote: the
        request is sent once more, on a new one. Raises ValueError for a target or a
        field that cannot be sent, and as `Connection.ask`.
        """
        if not target.isascii() or not target.isprintable() or " " in target:
            raise ValueError("such a target cannot be sent")
        fields = self._lines((*headers.items(),))
        request = f"{method} {target} HTTP/1.1\r\n{self._common}{fields}\r\n".encode()
        deadline = asyncio.get_running_loop().time() + self._request_s
        connection = self._kept()
        reused = connection is not None
        while True:
            if connection is None:
                connection = await self._dial(deadline)
            try:
                status, said, content = await connection.ask(
                    request,
                    head_only=method == "HEAD",
                    max_bytes=max_bytes,
                    max_error_bytes=MAX_ERROR_BYTES,
                    deadline=deadline,
                )
                break
            except BaseException as error:
                connection.abort()  # who was cancelled leaves it in doubt, too
                if not reused or connection.touched or not _may_repeat(method, error):
                    raise
                reused, connection = False, None
        if connection.is_open:
            if len(self._idle) < self._most_idle:
                self._idle.append(connection)
            else:
                connection.abort()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d", method, safe_url(url), status)
        if content is None:
            if status < 300:
                return None
            content = b""
        return Answer(status=status, headers=said, body=content, url=url)

    async def close(self) -> None:
        """End every connection."""
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.abort()
        if lost:
            await asyncio.wait(lost)

    def _kept(self) -> Connection | None:
        """The connection that was used last: it is the least likely to be closed."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _dial(self, deadline: float) -> Connection:
        async with asyncio.timeout_at(deadline):
            connection = await self._dialer.dial()
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection


def _may_repeat(method: str, error: BaseException) -> bool:
    lost = isinstance(error, OSError) and not isinstance(error, TimeoutError)
    return lost and method in IDEMPOTENT


def _lines(fields: tuple[tuple[str, str], ...]) -> str:
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if text.count("\n") != len(fields) or text.count("\r") != len(fields):
        raise ValueError("a header field holds a line break")
    return text
