"""A command that the fork server runs, as an `anyio.abc.Process`."""

from __future__ import annotations

import functools
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from tests.flow.fork_server import ForkServer, read_exit_code, start_server

_READ_BYTES = 65_536


class _Reader(ByteReceiveStream):
    """The end of a pipe from which a command's output is read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    async def receive(self, max_bytes: int = _READ_BYTES) -> bytes:
        while True:
            if self._descriptor < 0:
                raise anyio.ClosedResourceError
            try:
                data = os.read(self._descriptor, max_bytes)
            except BlockingIOError:
                await anyio.wait_readable(self._descriptor)
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def aclose(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            anyio.notify_closing(descriptor)
            os.close(descriptor)


class _Writer(ByteSendStream):
    """The end of a pipe into which a command's input is written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    async def send(self, item: bytes) -> None:
        while item:
            if self._descriptor < 0:
                raise anyio.ClosedResourceError
            try:
                item = item[os.write(self._descriptor, item) :]
            except BlockingIOError:
                await anyio.wait_writable(self._descriptor)
            except BrokenPipeError as error:
                raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            anyio.notify_closing(descriptor)
            os.close(descriptor)


class _Forked(Process):
    """A process that is a child of the fork server."""

    def __init__(
        self,
        pid: int,
        reply: socket.socket,
        stdin: _Writer | None,
        stdout: _Reader | None,
        stderr: _Reader | None,
    ) -> None:
        self._pid = pid
        self._reply = reply
        self._code: int | None = None
        self._streams = (stdin, stdout, stderr)

    async def wait(self) -> int:
        while self.returncode is None:
            await anyio.wait_readable(self._reply)
        return self.returncode

    async def aclose(self) -> None:
        for stream in self._streams:
            if stream is not None:
                await stream.aclose()
        try:
            await self.wait()
        except BaseException:
            self.kill()
            with anyio.CancelScope(shield=True):
                await self.wait()
            raise
        finally:
            self._reply.close()

    def send_signal(self, signal: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def returncode(self) -> int | None:
        if self._code is None:
            self._code = read_exit_code(self._reply)
        return self._code

    @property
    def stdin(self) -> ByteSendStream | None:
        return self._streams[0]

    @property
    def stdout(self) -> ByteReceiveStream | None:
        return self._streams[1]

    @property
    def stderr(self) -> ByteReceiveStream | None:
        return self._streams[2]


@functools.cache
def _server(flags: tuple[str, ...], *environment: tuple[str, str]) -> ForkServer:
    return start_server(dict(environment), flags)


def fork(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None,
    *,
    stdin: Any,
    stdout: Any,
    stderr: Any,
) -> Process:
    """Start a command; streams are as `subprocess.Popen` takes them."""
    base = {name: environment[name] for name in ("PATH", "PYTHONPATH")}
    server = _server(("-W", "error"), *base.items())
    with ExitStack() as theirs:
        ours: list[int | None] = []
        descriptors = []
        for number, stream in enumerate((stdin, stdout, stderr)):
            mine, given = _open(number, stream, theirs)
            ours.append(mine)
            descriptors.append(given)
        first, second, third = descriptors
        pid, reply = server.start(
            arguments,
            environment=environment,
            folder=folder,
            streams=(first, second, third),
        )
    written, out, err = ours
    return _Forked(
        pid,
        reply,
        None if written is None else _Writer(written),
        None if out is None else _Reader(out),
        None if err is None else _Reader(err),
    )


def _open(number: int, stream: Any, theirs: ExitStack) -> tuple[int | None, int]:
    """Our end of a pipe, if there is one, and the descriptor of the command."""
    if stream is None:
        return None, number
    if stream == DEVNULL:
        null = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, null)
        return None, null
    if stream != PIPE:
        return None, stream if isinstance(stream, int) else stream.fileno()
    reading, writing = os.pipe()
    mine, given = (reading, writing) if number else (writing, reading)
    theirs.callback(os.close, given)
    return mine, given
