"""Starts `auditor` commands by forking a process that has imported everything.

A new interpreter needs 0.2 to 0.5 seconds of processor time, most of it for imports; a
copy needs 0.01, and the tests run a thousand commands. The process that forks is
started once for each process of pytest, with the flags and the environment of
`PROGRAM`; it has one thread, no event loop, and runs nothing itself. Each command is
its copy: a process of its own, with its own environment, folder, streams, signals and
exit code.

Commands that another program starts (`sh`, `env`, `prlimit`), or whose environment
changes how Python starts, are started as new interpreters.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import auditor

# A message: its length, then JSON. The first byte carries the file descriptors.
_LENGTH = struct.Struct("!I")
# Standard input, output and error, and the socket that hears of the process.
_DESCRIPTORS = 4
# Its process ID, and its exit code; negative: the signal that ended it.
_NUMBER = struct.Struct("!i")

# Variables that Python or the C library read when a process starts.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "MALLOC_", "LD_")
# Python's exit code if standard output cannot be written at the end.
_FLUSH_FAILED = 120

# What commands import when they run, besides the modules of `auditor`.
_LIBRARIES = (
    "anyio._backends._asyncio", "anyio.streams.tls", "duckdb", "jinja2",
    "prometheus_client", "sqlite3", "uvloop", "zstandard",
)  # fmt: skip


def can_run(environment: Mapping[str, str]) -> bool:
    """Whether a copy behaves like a new interpreter with this environment."""
    return not any(name.startswith(_READ_AT_START) for name in environment)


@dataclass(frozen=True, slots=True)
class ForkServer:
    """The process that forks, and the socket to it."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def start(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None,
        streams: tuple[int, int, int],
    ) -> tuple[int, socket.socket]:
        """The process ID of a new command, and the socket that gets its exit code."""
        ours, theirs = socket.socketpair()
        with theirs:
            message = json.dumps(
                {
                    "arguments": arguments,
                    "environment": dict(environment),
                    "folder": str(folder or Path.cwd()),
                }
            ).encode()
            length = _LENGTH.pack(len(message))
            socket.send_fds(self.control, [length], [*streams, theirs.fileno()])
            self.control.sendall(message)
        try:
            return _receive_number(ours), ours
        except EOFError:
            ours.close()
            raise

    def close(self) -> None:
        self.control.close()
        self.process.wait()


def start_server(environment: Mapping[str, str], flags: Sequence[str]) -> ForkServer:
    """Start the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, *flags, "-m", __name__, str(theirs.fileno())],
            env=dict(environment),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    server = ForkServer(process, ours)
    atexit.register(server.close)
    return server


def read_exit_code(reply: socket.socket) -> int | None:
    """The exit code of a process, or None while it runs."""
    reply.setblocking(False)
    try:
        code: int = _NUMBER.unpack(reply.recv(_NUMBER.size))[0]
    except BlockingIOError:
        return None
    else:
        return code
    finally:
        reply.setblocking(True)


def _receive_number(reply: socket.socket) -> int:
    number: int = _NUMBER.unpack(_receive(reply, _NUMBER.size))[0]
    return number


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError("the fork server has ended")
        data += piece
    return data


# -- the process that forks ---------------------------------------------------------


def _serve(control: socket.socket) -> None:
    """Fork for each request; returns in each copy, after its preparation."""
    children: dict[int, socket.socket] = {}
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = _ready(control, woken)
        if woken in ready:
            with suppress(BlockingIOError):
                while woken.recv(4096):
                    pass
            _report_ends(children)
        if control in ready:
            length, descriptors, *_ = socket.recv_fds(
                control, _LENGTH.size, _DESCRIPTORS
            )
            if not length:
                os._exit(0)
            request = json.loads(_receive(control, *_LENGTH.unpack(length)))
            child = os.fork()
            if not child:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for connection in (control, woken, wake, *children.values()):
                    connection.close()
                _become(request, descriptors)
                return
            *streams, reply = descriptors
            for stream in streams:
                os.close(stream)
            children[child] = socket.socket(fileno=reply)
            children[child].sendall(_NUMBER.pack(child))


def _ready(*connections: socket.socket) -> set[socket.socket]:
    return set(select.select(connections, [], [])[0])


def _report_ends(children: dict[int, socket.socket]) -> None:
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            return
        with children.pop(child) as reply, suppress(OSError):
            reply.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Take over what a new process is started with."""
    arguments, environment, folder = request.values()
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(folder))
    sys.argv[1:] = arguments


def _main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[1]))
    program = importlib.import_module("auditor.__main__")
    for module in pkgutil.walk_packages(auditor.__path__, "auditor."):
        importlib.import_module(module.name)
    for library in _LIBRARIES:
        importlib.import_module(library)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    gc.unfreeze = lambda: None  # what is loaded is not examined at the end either
    _serve(control)
    sys.argv[0] = str(program.__file__)
    code: object = 0
    try:
        program.main()
    except SystemExit as exit_:
        code = exit_.code
    _end(code)


def _end(code: object) -> NoReturn:
    """End as Python does, but leave the memory to the system: freeing it is slow."""
    assert isinstance(code, int), code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()  # a file that was not closed is a warning, which is an error
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"Exception ignored in: {sys.stdout!r}\n{error!r}\n")
        code = _FLUSH_FAILED
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _main()
