"""`getaddrinfo` as it behaves while no DNS server answers: some names block."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class SilentResolver:
    """Blocks on every name that begins with `silent`; resolves the others.

    `asked` lists the names looked up, `daemons` whether each was in a daemon thread.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.daemons: list[bool] = []
        self.release = threading.Event()
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        self.asked.append(host)
        self.daemons.append(threading.current_thread().daemon)
        if host.startswith("silent"):
            self.release.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no DNS server answered")
        return list(self._real("127.0.0.1", port, *args, **more))


@contextmanager
def silent_resolver() -> Iterator[SilentResolver]:
    """Replaces the system's resolver; its threads end with the block."""
    resolver = SilentResolver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
        try:
            yield resolver
        finally:
            resolver.release.set()
