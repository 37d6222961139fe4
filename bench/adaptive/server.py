"""A simulated registry over loopback, in a process of its own.

Each tag is an index of its own; its two platforms are those of all tags of the
repository, so that an audit sends one request per tag and two per repository. Another
client asks every `PROBE_S` seconds; its latency is what others notice of the audit.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import multiprocessing
import random
import selectors
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import cast

from bench.adaptive.hosts import KINDS, OK, RESET, Host, Kind, Reply
from bench.template_registry import OCI_INDEX, OCI_MANIFEST, manifest

REPOSITORIES = 40
PROBE_S = 0.05
SEED = 20
_IDLE_PROBES = 400
_REASONS = {200: "OK", 429: "Too Many Requests", 503: "Service Unavailable"}


def references(count: int) -> list[str]:
    """`repository:tag` of as many tags, in an order without meaning."""
    names = [
        f"bench/app-{number % REPOSITORIES}:{number // REPOSITORIES}"
        for number in range(count)
    ]
    random.Random(SEED).shuffle(names)
    return names


def requests_for(count: int) -> int:
    """The fewest requests for as many references: tags, platforms and a ping."""
    return count + 2 * min(count, REPOSITORIES) + 1


@dataclass(slots=True)
class Seen:
    """What the registry saw of one audit.

    `statuses` counts replies, `most_at_once` is the greatest number of requests in
    progress, `others` has the latencies of the other client in seconds, by part of the
    host. `last_s` is the time from the first request to the last reply.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    most_at_once: int = 0
    at_once: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    others: dict[str, list[float]] = field(
        default_factory=lambda: defaultdict(list[float])
    )

    @property
    def last_s(self) -> float:
        """Seconds from the first request to the last reply."""
        return self.last_at - self.first_at

    @property
    def refused(self) -> float:
        """The share of requests that were refused."""
        return 1 - self.statuses[OK] / max(1, self.statuses.total())


def idle_latencies(kind: Kind, requests: int) -> dict[str, float]:
    """The median latency of the other client alone, in seconds, by part of the host."""
    found: dict[str, list[float]] = defaultdict(list)
    host = kind.new(random.Random(SEED), requests)
    now = 0.0
    for number in range(2 * _IDLE_PROBES):
        if number == _IDLE_PROBES and host.part("bench/app-0") == "before":
            for _ in range(requests):  # the host changes
                host.arrive(now, "bench/app-0")
            now += 3600
        repository = f"bench/app-{number % REPOSITORIES}"
        now += PROBE_S
        part = host.part(repository)
        found[part].append(host.arrive(now, repository, is_other=True).at - now)
    return {part: statistics.median(times) for part, times in found.items()}


class SimulatedHost:
    """A registry in a process of its own, one audit after another."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=_serve, args=(theirs,), daemon=True
        )
        self._process.start()
        self.name = f"127.0.0.1:{self._pipe.recv()}"

    def begin(self, kind: Kind, requests: int) -> None:
        """Become a new host of that kind, for `requests` in all."""
        self._pipe.send((kind.name, requests))
        self._pipe.recv()

    def end(self) -> Seen:
        """What was seen since `begin`."""
        self._pipe.send(None)
        return cast(Seen, self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


@contextmanager
def simulated_host() -> Iterator[SimulatedHost]:
    """A registry, until the end of the context."""
    host = SimulatedHost()
    try:
        yield host
    finally:
        host.close()


class _Registry:
    """The host that is simulated now, and what it saw."""

    def __init__(self) -> None:
        self.host: Host | None = None
        self.seen = Seen()
        self._probes: asyncio.Task[None] | None = None

    def begin(self, name: str, requests: int) -> None:
        kind = next(kind for kind in KINDS if kind.name == name)
        self.host = kind.new(random.Random(SEED), requests)
        self.seen = Seen()
        self._probes = asyncio.get_running_loop().create_task(self._probe(self.host))

    def end(self) -> Seen:
        assert self._probes is not None
        self._probes.cancel()
        return self.seen

    async def _probe(self, host: Host) -> None:
        rng = random.Random(SEED)
        for number in range(10**9):
            await asyncio.sleep(PROBE_S * rng.uniform(0.5, 1.5))
            if self.seen.statuses and self.seen.at_once:
                repository = f"bench/app-{number % REPOSITORIES}"
                part, now = host.part(repository), time.monotonic()
                reply = host.arrive(now, repository, is_other=True)
                self.seen.others[part].append(reply.at - now)


class _Served(asyncio.Protocol):
    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            self._answer(method, target.split("/"))

    def _answer(self, method: str, path: list[str]) -> None:
        host, seen = self._registry.host, self._registry.seen
        assert host is not None
        now = time.monotonic()
        if len(path) < 4:  # the ping
            self._transport.write(_response(OK, b"{}", "application/json"))
            return
        repository, reference = "/".join(path[2:-2]), path[-1]
        reply = host.arrive(now, repository)
        seen.at_once += 1
        seen.most_at_once = max(seen.most_at_once, seen.at_once)
        seen.first_at = seen.first_at or now
        asyncio.get_running_loop().call_at(
            reply.at, self._reply, method, (repository, reference), reply, seen
        )

    def _reply(
        self,
        method: str,
        wanted: tuple[str, str],
        reply: Reply,
        seen: Seen,
    ) -> None:
        seen.at_once -= 1
        seen.statuses[reply.status] += 1
        seen.last_at = time.monotonic()
        if reply.status == RESET:
            self._transport.abort()
            return
        if reply.status == OK:
            body, media_type = content(*wanted)
            whole = _response(OK, body, media_type)
        else:
            error = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"too many"}]}'
            whole = _response(
                reply.status, error, "application/json", reply.retry_after_s
            )
        head, separator, _ = whole.partition(b"\r\n\r\n")
        self._transport.write(head + separator if method == "HEAD" else whole)


def content(repository: str, reference: str) -> tuple[bytes, str]:
    """The bytes and media type of a tag or digest."""
    platforms = _platforms(repository)
    if reference in platforms:
        return platforms[reference], OCI_MANIFEST
    children = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(body),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for (digest, body), architecture in zip(
            platforms.items(), ("amd64", "arm64"), strict=True
        )
    ]
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": children,
        "annotations": {"org.opencontainers.image.version": reference},
    }
    return json.dumps(index).encode(), OCI_INDEX


@functools.lru_cache(maxsize=2 * REPOSITORIES)
def _platforms(repository: str) -> dict[str, bytes]:
    bodies = [manifest(repository, f"platform-{number}") for number in range(2)]
    return {f"sha256:{hashlib.sha256(body).hexdigest()}": body for body in bodies}


def _response(
    status: int, body: bytes, media_type: str, retry_after_s: int | None = None
) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    more = "" if retry_after_s is None else f"Retry-After: {retry_after_s}\r\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n{more}"
        f"Docker-Content-Digest: sha256:{digest}\r\n\r\n"
    )
    return head.encode() + body


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        registry = _Registry()
        server = await loop.create_server(lambda: _Served(registry), "127.0.0.1", 0)

        def command() -> None:
            received = pipe.recv()
            if received is None:
                pipe.send(registry.end())
            else:
                registry.begin(*received)
                pipe.send(None)

        loop.add_reader(pipe.fileno(), command)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    # epoll waits for whole milliseconds, select for microseconds.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve())
