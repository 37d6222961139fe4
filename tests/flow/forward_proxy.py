"""A forward proxy (RFC 9110 sections 3.7 and 9.3.6) with its own host names.

async with forward_proxy({"registry.test": "127.0.0.1:40123"}) as proxy:
    ...
    assert proxy.seen == ["CONNECT registry.test:443"]
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener

_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_MAX_HEAD_BYTES = 65536


@dataclass(slots=True, kw_only=True)
class ForwardProxy:
    """A proxy that maps host names to `host:port`; other names get a 502.

    With `authorization` it requires that Proxy-Authorization; `refuses` is a status
    for every request. `seen` has the method and target of each request, `heads` the
    request lines with all header fields.
    """

    names: Mapping[str, str]
    authorization: str | None = None
    refuses: int | None = None
    address: str = ""
    seen: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, client: ByteStream) -> None:
        """Serve one connection: one request and its response."""
        async with client:
            with suppress(*_GONE, anyio.IncompleteRead):
                await self._serve(client)

    async def _serve(self, client: ByteStream) -> None:
        buffered = BufferedByteReceiveStream(client)
        raw = await buffered.receive_until(b"\r\n\r\n", _MAX_HEAD_BYTES)
        head = raw.decode("latin-1")
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        self.seen.append(f"{method} {target}")
        self.heads.append(head)
        sent = dict(one.split(": ", 1) for one in fields)
        authorization = sent.pop("Proxy-Authorization", None)
        tunnel = method == "CONNECT"
        host = urlsplit(f"//{target}" if tunnel else target).hostname or ""
        status = self.refuses
        if self.authorization not in {None, authorization}:
            status = 407
        elif host not in self.names:
            status = 502
        if status is not None:
            await client.send(
                f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            return
        address, _, port = self.names[host].rpartition(":")
        async with await anyio.connect_tcp(address, int(port)) as server:
            if tunnel:
                await client.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                path = target.partition("://")[2].partition("/")[2]
                sent["Connection"] = "close"
                lines = [f"{method} /{path} HTTP/1.1"]
                lines += [f"{name}: {value}" for name, value in sent.items()]
                await server.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            if buffered.buffer:
                await server.send(buffered.buffer)
            async with anyio.create_task_group() as group:
                group.start_soon(_pipe, client, server)
                await _pipe(server, client)
                group.cancel_scope.cancel()


async def _pipe(source: ByteStream, sink: ByteStream) -> None:
    with suppress(*_GONE):
        async for data in source:
            await sink.send(data)


@asynccontextmanager
async def forward_proxy(
    names: Mapping[str, str],
    *,
    authorization: str | None = None,
    refuses: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ForwardProxy]:
    """A proxy on a free port of the loopback interface, with `tls` over https."""
    proxy = ForwardProxy(names=names, authorization=authorization, refuses=refuses)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610
    proxy.address = f"127.0.0.1:{port}"
    serving: Listener[Any] = listener
    if tls is not None:
        serving = TLSListener(listener, tls, standard_compatible=False)
    async with serving, anyio.create_task_group() as group:
        group.start_soon(serving.serve, proxy.serve)
        yield proxy
        group.cancel_scope.cancel()
