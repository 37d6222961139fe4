"""Toxiproxy in front of a registry: delays, limits and broken connections."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.patience import HANG_S
from tests.ports import held_port
from tests.real.access_log import wait_until


@contextmanager
def behind_toxiproxy(
    program: str, host: str, toxics: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """The name of a host that leads to `host` through these toxics."""
    with _toxiproxy(program) as api:
        proxy = {"name": "registry", "listen": "127.0.0.1:0", "upstream": host}
        listens_at: str = _post(f"{api}/proxies", proxy)["listen"]
        for toxic in toxics:
            _post(f"{api}/proxies/registry/toxics", toxic)
        yield listens_at


@contextmanager
def _toxiproxy(program: str) -> Iterator[str]:
    with (
        held_port() as port,
        subprocess.Popen(
            [program, "-host", "127.0.0.1", "-port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            wait_until(lambda: _listens(port), "toxiproxy listens")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _post(url: str, document: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=HANG_S) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found
