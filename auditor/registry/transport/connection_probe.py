"""Connects to a registry one step at a time: DNS, TCP, TLS.

For `auditor doctor`, which reports where a connection fails. The steps are those of
`http1.Dialer`, which makes the connections of an audit; failures have the same messages
as in a report.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import aiohappyeyeballs

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.transport.failures import failure_of
from auditor.registry.transport.http1 import Dialer
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import Lookup, NameLookups
from auditor.registry.transport.tls import TlsFiles, tls_context
from auditor.wire.proxy import Proxy
from auditor.wire.url_policy import Origin

StepResult = TypeVar("StepResult")

_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address of a host. `family` is IPv4 or IPv6."""

    text: str
    family: str
    info: aiohappyeyeballs.AddrInfoType


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSession:
    """The result of a handshake. `certificate` is the server's, in DER."""

    version: str
    cipher: str
    certificate: bytes


class ConnectionProbe:
    """Runs the steps of a connection to `origin`.

    `origin` is that of the registry, or of the `proxy` before it.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        proxy: Proxy | None,
        tls: TlsFiles,
        timeouts: Timeouts,
        names: NameLookups,
    ) -> None:
        self.origin = origin
        self.proxy = proxy
        self.tls = tls
        self._timeouts = timeouts
        self._new_dialer = partial(Dialer, origin, names=names, timeouts=timeouts)
        self._tcp_dialer = self._new_dialer(tls=None)

    async def addresses(self) -> list[Address] | Failure:
        """The addresses of the host, in the system's order."""
        dialer = self._tcp_dialer
        lookup = await dialer.start_lookup()
        infos = await self._step(dialer, dialer.addresses(lookup), lookup)
        if isinstance(infos, Failure):
            return infos
        return [
            Address(
                text=str(info[4][0]),
                family=_FAMILIES.get(socket.AddressFamily(info[0]), str(info[0])),
                info=info,
            )
            for info in infos
        ]

    async def connect(self, address: Address) -> socket.socket | Failure:
        """A TCP connection to this address only."""
        return await self._step(
            self._tcp_dialer, self._tcp_dialer.connect([address.info])
        )

    async def secure(
        self, address: Address, *, system_only: bool = False
    ) -> TlsSession | Failure:
        """A TLS handshake with this address, as an audit makes it.

        `system_only`: trust only the system's CAs, not `ca_files`.
        """
        files = replace(self.tls, ca_files=()) if system_only else self.tls
        return await self._handshake(address, tls_context(files))

    async def peer_certificate(self, address: Address) -> bytes | None:
        """The certificate of the server in DER, trusted or not; None without one.

        Nothing but the handshake is sent over this connection.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        session = await self._handshake(address, context)
        return None if isinstance(session, Failure) else session.certificate

    async def _handshake(
        self, address: Address, context: ssl.SSLContext
    ) -> TlsSession | Failure:
        connected = await self.connect(address)
        if isinstance(connected, Failure):
            return connected
        dialer = self._new_dialer(tls=context)
        connection = await self._step(dialer, dialer.secure(connected))
        if isinstance(connection, Failure):
            connected.close()
            return connection
        session = connection.tls
        assert session is not None, "the handshake has succeeded"
        cipher = session.cipher()
        try:
            return TlsSession(
                version=session.version() or "",
                cipher=cipher[0] if cipher else "",
                certificate=session.getpeercert(binary_form=True) or b"",
            )
        finally:
            connection.abort()
            await connection.closed

    async def _step(
        self,
        dialer: Dialer,
        step: Awaitable[StepResult],
        lookup: Lookup | None = None,
    ) -> StepResult | Failure:
        try:
            async with dialer.connect_timeout(lookup):
                return await step
        except (OSError, ValueError) as error:
            return failure_of(error, str(self.origin), self._timeouts)
