"""The way to a registry gone a step at a time, for who wants to see where it ends.

The steps are those that every connection is made of (`http1.dialer`); what goes wrong
is told in the words that a report has for it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import aiohappyeyeballs

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.transport.failures import failure_of
from auditor.registry.transport.http1 import Dialer
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.wire.proxy import Proxy
from auditor.wire.url_policy import Origin

Result = TypeVar("Result")

_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One of the addresses of a name. `family` is IPv4 or IPv6."""

    text: str
    family: str
    info: aiohappyeyeballs.AddrInfoType


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """What a handshake agreed on. `certificate` is the server's, DER."""

    version: str
    cipher: str
    certificate: bytes


class ConnectionProbe:
    """The way to `origin`: to the registry's, or to that of the `proxy` before it."""

    def __init__(
        self,
        origin: Origin,
        *,
        proxy: Proxy | None,
        dialer: Callable[[Origin, ssl.SSLContext | None], Dialer],
        tls: TlsFiles,
        timeouts: Timeouts,
    ) -> None:
        self.origin = origin
        self.proxy = proxy
        self.tls = tls
        self._make = dialer
        self._plain = dialer(origin, None)
        self._timeouts = timeouts

    async def addresses(self) -> list[Address] | Failure:
        """What the name resolves to, in the system's order."""
        found = await self._step(self._plain, self._plain.addresses())
        if isinstance(found, Failure):
            return found
        return [
            Address(
                text=str(info[4][0]),
                family=_FAMILIES.get(socket.AddressFamily(info[0]), str(info[0])),
                info=info,
            )
            for info in found
        ]

    async def connect(self, address: Address) -> socket.socket | Failure:
        """TCP with this address and no other."""
        return await self._step(self._plain, self._plain.connect([address.info]))

    async def secure(
        self, address: Address, *, system_only: bool = False
    ) -> Secured | Failure:
        """TLS with this address, as an audit has it.

        With `system_only` it trusts the system's CAs and no file.
        """
        files = replace(self.tls, ca_files=()) if system_only else self.tls
        return await self._handshake(address, tls_context(files))

    async def look(self, address: Address) -> bytes | None:
        """The certificate that is shown there, trusted or not; null if none is.

        Nothing is sent over this connection but what a handshake needs.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        found = await self._handshake(address, context)
        return None if isinstance(found, Failure) else found.certificate

    async def _handshake(
        self, address: Address, context: ssl.SSLContext
    ) -> Secured | Failure:
        connected = await self.connect(address)
        if isinstance(connected, Failure):
            return connected
        dialer = self._make(self.origin, context)
        connection = await self._step(dialer, dialer.secure(connected))
        if isinstance(connection, Failure):
            connected.close()
            return connection
        agreed = connection.tls
        assert agreed is not None, "there was a handshake"
        cipher = agreed.cipher()
        try:
            return Secured(
                version=agreed.version() or "",
                cipher=cipher[0] if cipher else "",
                certificate=agreed.getpeercert(binary_form=True) or b"",
            )
        finally:
            connection.abort()
            await connection.lost

    async def _step(self, dialer: Dialer, step: Awaitable[Result]) -> Result | Failure:
        try:
            async with dialer.within_time():
                return await step
        except (OSError, ValueError) as error:
            return failure_of(error, str(self.origin), self._timeouts)
