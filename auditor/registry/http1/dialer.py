"""New connections to one origin: its addresses, TCP, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohappyeyeballs

from auditor.protocol.url import Origin
from auditor.registry.http1.connection import Connection
from auditor.registry.http1.errors import NoConnectionError, NoConnectionInTimeError

# A second address is tried beside the first after so long (RFC 8305 section 5).
_NEXT_ADDRESS_S = 0.25


class Dialer:
    """Makes connections, over TLS if there is a context for it.

    What the name resolves to is kept for `dns_s` seconds.
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
    ) -> None:
        self._origin = origin
        self._tls = tls
        self._connect_s = connect_s
        self._read_s = read_s
        self._keep_s = keep_s
        self._dns_s = dns_s
        self._resolving = asyncio.Lock()
        self._addresses: list[aiohappyeyeballs.AddrInfoType] = []
        self._resolved_at = float("-inf")

    async def dial(self) -> Connection:
        """A new connection.

        Raises `NoConnectionInTimeError`, `NoConnectionError`, `socket.gaierror` or
        `ssl.SSLError`.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                addresses = await self._resolve(loop)
                connected = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
                )
                host = self._origin.host.rstrip(".")
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, read_s=self._read_s, keep_s=self._keep_s),
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=host if self._tls else None,
                )
        except TimeoutError:
            raise NoConnectionInTimeError from None
        except (ssl.SSLError, socket.gaierror):
            raise
        except OSError as error:
            self._resolved_at = float("-inf")  # it may have moved
            raise NoConnectionError(error.errno, error.strerror) from error
        return connection

    async def _resolve(
        self, loop: asyncio.AbstractEventLoop
    ) -> list[aiohappyeyeballs.AddrInfoType]:
        async with self._resolving:  # one question for all who need a connection
            if loop.time() - self._resolved_at > self._dns_s:
                self._addresses[:] = await loop.getaddrinfo(
                    self._origin.host,
                    self._origin.port,
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_ADDRCONFIG,
                )
                self._resolved_at = loop.time()
            return self._addresses
