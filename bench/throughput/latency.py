"""The throughput of an audit at a slow registry, compared with the maximum.

python -m bench.throughput.latency

A registry that takes 50 ms for each response, regardless of concurrency, allows
slots / 50 ms requests per second. It responds from memory, so that the machine is idle.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import selectors
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.throughput import programs
from bench.throughput.clients import REPLAY
from bench.throughput.workload import Workload, workload

DELAY_S = 0.05
SLOTS = (16, 64)


def main() -> None:
    """Measure and print."""
    todo = workload()
    ours, theirs = multiprocessing.Pipe()
    registry = multiprocessing.Process(
        target=_serve, args=(_answers(todo), theirs), daemon=True
    )
    registry.start()
    host = f"127.0.0.1:{ours.recv()}"
    print(
        f"\na registry that takes {DELAY_S * 1000:.0f} ms for each answer,"
        f" {len(todo.paths)} requests at the fewest\n"
    )
    print("| slots | requests | ideal s | wrk s | audit s | share of the ideal |")
    print("|---|---|---|---|---|---|")
    for slots in SLOTS:
        with tempfile.TemporaryDirectory() as place:
            limit = _replay(todo, host, slots, Path(place))
            wall_s, requests = _audit(todo, host, slots, Path(place))
        ideal_s = requests * DELAY_S / slots
        print(
            f"| {slots} | {requests} | {ideal_s:.2f} | {limit} | {wall_s:.2f}"
            f" | {ideal_s / wall_s:.3f} |"
        )
    registry.terminate()


def _replay(todo: Workload, host: str, slots: int, place: Path) -> str:
    """Seconds that wrk takes for the same requests: the registry runs on the same
    machine, and its 50 ms can become more."""
    wrk = programs.WRK.path()
    if wrk is None:
        return "-"
    requests = place / "requests"
    requests.write_text("".join(f"{path}\n" for path in todo.paths))
    done = subprocess.run(
        [
            *(wrk, "-t1", f"-c{slots}", "-d300s", "-s", str(REPLAY)),
            f"http://{host}",
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "BENCH_REQUESTS": str(requests), "BENCH_ACCEPT": "*/*"},
    )
    return f"{float(done.stdout.partition('replayed ')[2].split()[1]):.2f}"


def _audit(todo: Workload, host: str, slots: int, place: Path) -> tuple[float, int]:
    """Seconds of the run without the start of Python, and its number of requests."""
    config, names, summary = (place / name for name in ("a.toml", "names", "summary"))
    config.write_text(f'[registry."{host}"]\nrequests_at_once = {slots}\n')
    names.write_text("".join(f"{host}/{name}\n" for name in todo.names))
    subprocess.run(
        [
            *(sys.executable, "-m", "auditor", "audit", "--config", str(config)),
            *("-f", str(names), "--output", str(place / "report.jsonl")),
            *("--summary", str(summary), "--cache", str(place / "store")),
        ],
        check=True,
        capture_output=True,
    )
    told = json.loads(summary.read_bytes())
    return told["duration_s"], sum(told["requests"].values())


def _answers(todo: Workload) -> dict[bytes, bytes]:
    found = {b"/v2/": _answer(b"{}", "application/json", "")}
    for one in todo.images:
        for manifest in one.image.manifests:
            manifest_response = _answer(
                manifest.payload, manifest.media_type, manifest.digest
            )
            places = [manifest.digest]
            if manifest.digest == one.image.root.digest:
                places += one.tags
            for place in places:
                found[f"/v2/{one.repository}/manifests/{place}".encode()] = (
                    manifest_response
                )
    return found


def _answer(content: bytes, media_type: str, digest: str) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(content)}\r\nDocker-Content-Digest: {digest}\r\n\r\n"
    )
    return head.encode() + content


class _Delayed(asyncio.Protocol):
    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        due = time.monotonic() + DELAY_S
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            response = self._answers[head.split(b" ", 2)[1]]
            asyncio.get_running_loop().call_at(due, self._transport.write, response)


def _serve(answers: dict[bytes, bytes], started: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Delayed(answers), "127.0.0.1", 0)
        started.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    # epoll waits for whole milliseconds, select for microseconds: 50 ms are 50 ms.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve())


if __name__ == "__main__":
    main()
