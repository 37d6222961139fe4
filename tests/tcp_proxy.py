"""A TCP proxy that cuts, delays and throttles the connections through it.

with tcp_proxy("127.0.0.1:5000", ConnectionFaults(refuses=True), seed=1) as proxy:
    audit(proxy.host, ...)
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.patience import HANG_S

_PIECE_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFaults:
    """What happens to the responses of a share (0 to 1) of all connections.

    Each piece is delayed by up to `late_s`; `bytes_per_s` get through; the connection
    is reset after at most `cut_after_bytes`, or at once (`refuses`).
    """

    share: float = 1.0
    late_s: float = 0.0
    bytes_per_s: float = 0.0
    cut_after_bytes: int = 0
    refuses: bool = False


@dataclass(slots=True)
class TcpProxy:
    """`host` is where it listens. `target`, where it leads, can be changed."""

    target: str
    faults: ConnectionFaults
    random: random.Random
    host: str = ""
    connections: int = 0
    cut: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Forward one connection in both directions."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        hit = self.random.random() < self.faults.share
        host, _, port = self.target.rpartition(":")
        try:
            if hit and self.faults.refuses:
                raise ConnectionResetError
            back, there = await asyncio.open_connection(host, int(port))
        except OSError:
            self._reset(writer)
            return
        with suppress(OSError, asyncio.CancelledError):
            up = asyncio.create_task(_pump(reader, there))
            try:
                await self._forward_responses(back, writer, hit=hit)
            finally:
                up.cancel()
                there.close()
                writer.close()

    async def _forward_responses(
        self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hit: bool
    ) -> None:
        faults = self.faults
        room = 0
        if hit and faults.cut_after_bytes:
            room = self.random.randint(1, faults.cut_after_bytes)
        while piece := await back.read(_PIECE_BYTES):
            if hit and faults.late_s:
                await asyncio.sleep(self.random.random() * faults.late_s)
            if hit and faults.bytes_per_s:
                await asyncio.sleep(len(piece) / faults.bytes_per_s)
            if room and len(piece) >= room:
                writer.write(piece[:room])
                await writer.drain()
                self._reset(writer)
                return
            room -= len(piece) if room else 0
            writer.write(piece)
            await writer.drain()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self.cut += 1
        # Closing with a linger time of 0 sends RST (socket(7)).
        connection = writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def end(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


@contextmanager
def tcp_proxy(
    target: str, faults: ConnectionFaults, *, seed: int
) -> Iterator[TcpProxy]:
    """A proxy to `host:port` on a free port, in a thread of its own."""
    proxy = TcpProxy(target, faults, random.Random(seed))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await ending.wait()
        server.close()
        await proxy.end()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(HANG_S)
        yield proxy
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(HANG_S)
        loop.close()
