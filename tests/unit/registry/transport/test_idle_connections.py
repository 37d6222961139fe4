"""When a connection without a request is closed, by a loop with a clock of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditor.registry.transport.http1_connection import Connection
from auditor.registry.transport.http_defaults import KEEPALIVE_S

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
READ_S = 5.0


class _Timer:
    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at, self.call = at, call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Loop:
    """What a connection needs of an event loop."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[_Timer] = []
        self._real = asyncio.new_event_loop()
        self.create_future = self._real.create_future

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], object]) -> _Timer:
        self.timers.append(_Timer(at, call))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [one for one in self.timers if one.at <= until]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            if not timer.is_cancelled:
                timer.call()
        self.now = until

    def close(self) -> None:
        self._real.close()


class _Transport:
    """A transport over a socket that nothing comes from."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.socket, self._peer = socket.socketpair()
        self.is_aborted = False

    def get_extra_info(self, _: str) -> socket.socket:
        return self.socket

    def write(self, _: bytes) -> None: ...

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.socket.close()
        self._peer.close()


class _Connected:
    def __init__(self) -> None:
        self.loop = _Loop()
        loop: Any = self.loop
        self.connection = Connection(loop, read_s=READ_S)
        self.transport = _Transport(self.connection)
        transport: Any = self.transport
        self.connection.connection_made(transport)

    def ask(self) -> asyncio.Future[Any]:
        return self.connection.request(
            b"GET / HTTP/1.1\r\n\r\n",
            head_only=False,
            max_bytes=9,
            deadline=self.loop.now + 1000,
        )


@pytest.fixture
def connected() -> Iterator[_Connected]:
    found = _Connected()
    yield found
    found.transport.close()
    found.loop.close()


def test_a_connection_is_closed_after_so_long_without_a_request(
    connected: _Connected,
) -> None:
    connection, loop = connected.connection, connected.loop
    connection.keep_idle()
    loop.advance(KEEPALIVE_S - 1)
    was_open = [connection.is_open]
    # Another request: the time begins anew with its response.
    response = connected.ask()
    loop.advance(READ_S - 1)
    connection.data_received(OK)
    assert response.result()[0] == 200
    loop.advance(KEEPALIVE_S - 1)
    was_open.append(connection.is_open)
    loop.advance(1)
    was_open.append(connection.is_open)
    assert was_open == [True, True, False]
    assert connected.transport.is_aborted


def test_a_connection_with_a_request_has_the_time_of_the_request(
    connected: _Connected,
) -> None:
    connection, loop = connected.connection, connected.loop
    connection.keep_idle()
    loop.advance(1)
    response = connected.ask()
    loop.advance(READ_S - 1)
    assert not response.done()
    loop.advance(1)
    assert isinstance(response.exception(), TimeoutError)
    assert connected.transport.is_aborted
