"""A bad line: a TCP proxy that cuts, delays and throttles whatever goes through it.

with bad_line("127.0.0.1:5000", Trouble(cut_every_bytes=3000), seed=1) as line:
    audit(line.host, ...)
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

_PIECE_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What happens to the answers of a part (0 to 1) of all connections.

    Each piece is late by up to so many seconds; so many bytes a second get through;
    after so many bytes, at the most, the connection is reset; or nobody answers.
    """

    share: float = 1.0
    late_s: float = 0.0
    bytes_per_s: float = 0.0
    cut_after_bytes: int = 0
    refuses: bool = False


@dataclass(slots=True)
class BadLine:
    """`host` is where it listens; `target`, where it leads, may be changed."""

    target: str
    trouble: Trouble
    chance: random.Random
    host: str = ""
    connections: int = 0
    cut: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection, there and back."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        hit = self.chance.random() < self.trouble.share
        host, _, port = self.target.rpartition(":")
        try:
            if hit and self.trouble.refuses:
                raise ConnectionResetError
            back, there = await asyncio.open_connection(host, int(port))
        except OSError:
            self._reset(writer)
            return
        with suppress(OSError, asyncio.CancelledError):
            up = asyncio.create_task(_pump(reader, there))
            try:
                await self._answers(back, writer, hit=hit)
            finally:
                up.cancel()
                there.close()
                writer.close()

    async def _answers(
        self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, *, hit: bool
    ) -> None:
        trouble = self.trouble
        room = 0
        if hit and trouble.cut_after_bytes:
            room = self.chance.randint(1, trouble.cut_after_bytes)
        while piece := await back.read(_PIECE_BYTES):
            if hit and trouble.late_s:
                await asyncio.sleep(self.chance.random() * trouble.late_s)
            if hit and trouble.bytes_per_s:
                await asyncio.sleep(len(piece) / trouble.bytes_per_s)
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
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()


@contextmanager
def bad_line(target: str, trouble: Trouble, *, seed: int) -> Iterator[BadLine]:
    """A line to `host:port`, in a thread of its own, on a free port."""
    line = BadLine(target, trouble, random.Random(seed))
    started = threading.Event()
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
        line.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await ending.wait()
        server.close()
        await line.end()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert started.wait(20)
        yield line
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(20)
        loop.close()
