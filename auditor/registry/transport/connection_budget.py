"""The connections of a run: all its hosts share the descriptors of the process.

A request holds one permit of `ConnectionBudget.requests` while it is sent, and has at
most one connection then. There are as many permits as connections may be open, so for a
new connection there is always room, or an idle one that can be closed instead: the one
of any host that has been idle longest. What waits is a request, before it is sent. The
time counts neither as a request's nor against its host. While the look-up of its name
waits for a turn, a request lends its permit to others.

Descriptors can be short all the same: other programs use up the system's, or files
those of the process. Then a connection waits, and is never made the host's failure.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable
from contextlib import suppress
from errno import EMFILE
from typing import Protocol, TypeVar

import aiohappyeyeballs

from auditor.registry.transport.loop_turns import LoopTurns
from auditor.util.open_files import free_descriptors, is_out_of_descriptors
from auditor.util.tasks import ResizableSemaphore

Value = TypeVar("Value")

# A host that answers slowly holds its permits for long: four such hosts at a time
# before others have to wait for them. A run with fewer hosts divides them all.
HOSTS_AT_ONCE = 4
# How often a descriptor is tried again if no connection was closed meanwhile.
RETRY_S = 0.5
# Other programs mostly need their descriptors for seconds. After this the request
# fails; the run goes on.
PATIENCE_S = 60.0


class NoDescriptorError(OSError):
    """No descriptor was free for a connection within `PATIENCE_S`."""


class SocketFactory:
    """Makes sockets for aiohappyeyeballs; `shortage` is the last lack of descriptors.

    The error of a connection does not show it: with several addresses it can be that of
    another one, or one for all of them without a number.
    """

    def __init__(self) -> None:
        self.shortage: OSError | None = None

    def __call__(self, info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        """A socket for an address."""
        try:
            return socket.socket(*info[:3])
        except OSError as error:
            if is_out_of_descriptors(error):
                self.shortage = error
            raise


class ConnectionHolder(Protocol):
    """A client whose idle connections can be closed to make room."""

    def idle_expiry(self) -> float:
        """When its longest idle connection expires, loop time; inf without one."""

    async def close_idle(self) -> None:
        """Close its longest idle connection."""


class ConnectionBudget:
    """Permits for requests, and the number of open connections.

    `descriptors` may be used for connections: half of them at a time, as others are
    needed for look-ups and for the second address of a host. `max_lookups` is the part
    of look-ups. `turns` are those of the event loop that all connections share.
    """

    def __init__(self, descriptors: int | None = None) -> None:
        if descriptors is None:
            descriptors = free_descriptors()
        self._max_open = max(1, descriptors // 2)
        self.requests = ResizableSemaphore(self._max_open)
        self.max_lookups = max(1, descriptors // 4)
        self.turns = LoopTurns()
        self.open = 0
        self.holders: set[ConnectionHolder] = set()
        self._closed = asyncio.Event()

    def max_per_host(self, hosts: int) -> int:
        """The connections of each host, if this is the number of hosts."""
        return max(1, self._max_open // min(max(hosts, 1), HOSTS_AT_ONCE))

    @property
    def is_short(self) -> bool:
        """Whether a new connection takes the place of an idle one."""
        return self.open >= self._max_open

    @property
    def has_room_ahead(self) -> bool:
        """Whether a connection may be opened that no request waits for yet."""
        return 2 * self.open < self._max_open

    async def lend(self, wait: Awaitable[Value]) -> Value:
        """The result of a wait of a request that needs no connection meanwhile: others
        use its permit. The request has it again afterwards, also after an exception."""
        self.requests.release()
        try:
            value = await wait
            await self.requests.acquire()
        except BaseException:
            self.requests.retake()
            raise
        return value

    async def reserve(self) -> None:
        """Count a connection that is about to be made; make room for it."""
        self.open += 1
        try:
            while self.open > self._max_open and await self._close_longest_idle():
                pass
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Count a connection that is closed, or was not made."""
        self.open -= 1
        self._closed.set()

    async def wait_for_descriptor(self, error: OSError, *, since: float) -> None:
        """Return when a descriptor may be free, after `error` said that none was.

        Raises `NoDescriptorError` if that is so since `since`, `PATIENCE_S` ago.
        """
        if asyncio.get_running_loop().time() - since >= PATIENCE_S:
            raise NoDescriptorError(error.errno or EMFILE, error.strerror) from None
        if await self._close_longest_idle():
            return
        self._closed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), RETRY_S)

    async def _close_longest_idle(self) -> bool:
        """Close the connection that has been idle longest; false if none is idle."""
        holder = min(self.holders, key=lambda one: one.idle_expiry(), default=None)
        if holder is None or holder.idle_expiry() == math.inf:
            return False
        await holder.close_idle()
        return True
