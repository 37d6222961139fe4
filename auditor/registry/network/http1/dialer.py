"""New connections to one origin: its addresses, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohappyeyeballs

from auditor.registry.network.http1.connection import Connection
from auditor.registry.network.http1.errors import (
    NoConnectionError,
    NoConnectionInTimeError,
)
from auditor.registry.transport.ssrf_guard import Guard, RefusedAddressError
from auditor.wire.url_policy import Origin

# A second address is tried beside the first after so long (RFC 8305 section 5).
_NEXT_ADDRESS_S = 0.25


class Dialer:
    """Makes connections, over TLS if there is a context for it.

    What the name resolves to is kept for `dns_s` seconds, once the `guard` has let it
    pass; without one, the user named the host.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None,
        connect_s: float,
        read_s: float,
        keep_s: float,
        dns_s: float,
        guard: Guard | None = None,
    ) -> None:
        self._origin = origin
        self._tls = tls
        self._connect_s = connect_s
        self._read_s = read_s
        self._keep_s = keep_s
        self._dns_s = dns_s
        self._guard = guard
        self._resolving = asyncio.Lock()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._resolved_at = float("-inf")

    async def dial(self) -> Connection:
        """A new connection. Raises what `within_time` does."""
        async with self.within_time():
            return await self.secure(await self.connect(await self.addresses()))

    @asynccontextmanager
    async def within_time(self) -> AsyncIterator[None]:
        """The time that a connection has, and the errors of its steps.

        Raises `NoConnectionInTimeError`, `NoConnectionError`, `socket.gaierror`,
        `RefusedAddressError` or `ssl.SSLError`.
        """
        try:
            async with asyncio.timeout(self._connect_s):
                yield
        except TimeoutError:
            raise NoConnectionInTimeError from None
        except (ssl.SSLError, socket.gaierror, RefusedAddressError):
            raise
        except OSError as error:
            self._resolved_at = float("-inf")  # it may have moved
            raise NoConnectionError(error.errno, error.strerror) from error

    async def connect(
        self, addresses: list[aiohappyeyeballs.AddrInfoType]
    ) -> socket.socket:
        """TCP with the first of these addresses that takes it."""
        return await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
        )

    async def secure(self, connected: socket.socket) -> Connection:
        """A connection over a socket, after the handshake of TLS if there is one."""
        loop = asyncio.get_running_loop()
        host = self._origin.host.rstrip(".")
        _, connection = await loop.create_connection(
            lambda: Connection(loop, read_s=self._read_s, keep_s=self._keep_s),
            sock=connected,
            ssl=self._tls,
            server_hostname=host if self._tls else None,
        )
        return connection

    async def addresses(self) -> list[aiohappyeyeballs.AddrInfoType]:
        """What the name resolves to."""
        loop = asyncio.get_running_loop()
        async with self._resolving:  # one question for all who need a connection
            if loop.time() - self._resolved_at > self._dns_s:
                found = await loop.getaddrinfo(
                    self._origin.host,
                    self._origin.port,
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_ADDRCONFIG,
                )
                if self._guard is not None:
                    self._guard.check(
                        self._origin.host, [str(info[4][0]) for info in found]
                    )
                self._addresses[:] = found
                self._resolved_at = loop.time()
            return self._addresses
