"""A port of this machine that no other program gets.

A port that was free a moment ago may be that of another program, or of a connection,
when it is used.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1, held until the end of the block.

    It is bound, and connections to it are refused. A program that sets `SO_REUSEADDR`,
    as those in Go do, can listen there, also several times in turn (socket(7)).
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        # After that: two that have it before could hold the same port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port: int = holder.getsockname()[1]
        yield port
