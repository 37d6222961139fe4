"""The program `auditor` for shell scripts, without a new interpreter for each call.

    with shell_program(folder) as bin_folder:
        subprocess.run(["sh", "-c", "auditor --version | cat"], env={"PATH": ...})

It is a short script that hands its arguments, environment, folder and standard streams
(`SCM_RIGHTS`) to this process, which has them forked (`fork_server.py`), and ends with
the exit code: pipes, redirections and exit codes are those of a program.
"""

from __future__ import annotations

import marshal
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.flow.commands import BASE_ENVIRONMENT
from tests.flow.fork_server import ForkServer, read_exit_code, start_server

# Only modules that are part of the interpreter: `json`, `os` and `socket` would take
# twice its own start, of every command.
_CLIENT = """\
#!{python} -IS
import _socket, marshal, posix, sys
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
call = marshal.dumps((sys.argv[1:], posix.environ, posix.getcwd()))
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)]
sent = server.sendmsg([call], rights)
if sent < len(call):
    server.sendall(call[sent:])
server.shutdown(_socket.SHUT_WR)
sys.exit(int(server.recv(16)))
"""


@contextmanager
def shell_program(folder: Path) -> Iterator[Path]:
    """A folder with the program, which works until the end of the block."""
    address = str(folder / "socket")
    programs = folder / "bin"
    programs.mkdir()
    client = programs / "auditor"
    client.write_text(_CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    server = start_server(BASE_ENVIRONMENT, ("-W", "error"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        thread = threading.Thread(target=_accept, args=(listener, server))
        thread.start()
        try:
            yield programs
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listener: socket.socket, server: ForkServer) -> None:
    starting = threading.Lock()
    calls = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # shut down
            break
        call = threading.Thread(target=_run, args=(connection, server, starting))
        call.start()
        calls.append(call)
    for call in calls:
        call.join()


def _run(
    connection: socket.socket, server: ForkServer, starting: threading.Lock
) -> None:
    """Run one command, and send its exit code."""
    with connection:
        call, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        while piece := connection.recv(1 << 20):
            call += piece
        arguments, variables, folder = marshal.loads(call)  # noqa: S302 - our own
        environment = {
            os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()
        }
        with starting:
            _, reply = server.start(
                arguments,
                environment=environment,
                folder=Path(folder),
                streams=(streams[0], streams[1], streams[2]),
            )
        for stream in streams:
            os.close(stream)
        with reply:
            reply.recv(1, socket.MSG_PEEK)  # until it ends
            code = read_exit_code(reply)
        assert code is not None
        connection.sendall(str(code if code >= 0 else 128 - code).encode())
