"""Memory and time of `auditor ls` for very large listings.

python -m bench.listing [--quick]

A registry in another process makes up the names of each page. The memory is the peak
resident set of the command (getrusage(2), ru_maxrss) with the interpreter and its
libraries, which the first row shows alone.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import anyio
import orjson
from aiohttp import web

from auditor.demo.demo_registry import serve

REPOSITORIES = 100_000
TAGS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row of the table. `lines` is the expected number of names."""

    what: str
    arguments: Sequence[str]
    lines: int
    quick: bool = True


def cases(host: str) -> tuple[Case, ...]:
    """The rows, for the repositories `few`, `many` and `whole`."""
    return (
        Case(what="10 tags", arguments=[f"{host}/few"], lines=10),
        Case(
            what=f"{REPOSITORIES:,} repositories, pages of 1,000",
            arguments=[host],
            lines=REPOSITORIES,
        ),
        Case(
            what=f"{TAGS:,} tags, pages of 1,000",
            arguments=[f"{host}/many"],
            lines=TAGS,
        ),
        Case(
            what=f"{TAGS:,} tags, pages of 100",
            arguments=[f"{host}/many", "--page-size", "100"],
            lines=TAGS,
            quick=False,
        ),
        Case(
            what=f"{TAGS:,} tags in one answer, n ignored",
            arguments=[f"{host}/whole"],
            lines=TAGS,
        ),
        Case(
            what=f"{TAGS:,} tags, --latest 5",
            arguments=[f"{host}/many", "--latest", "5"],
            lines=5,
        ),
        Case(
            what=f"{REPOSITORIES:,} repositories and the tag of each",
            arguments=[f"{host}/r*:*"],
            lines=REPOSITORIES,
            quick=False,
        ),
    )


# -- the registry ------------------------------------------------------------------


async def _catalog(request: web.Request) -> web.Response:
    return _page(request, "repositories", "r{:06}", REPOSITORIES)


async def _tags(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    counts = {"few": 10, "many": TAGS, "whole": TAGS}
    count = counts.get(name, 1)
    whole = count if name == "whole" else None
    return _page(request, "tags", "1.{}.0", count, size=whole)


def _page(
    request: web.Request, key: str, form: str, count: int, *, size: int | None = None
) -> web.Response:
    first = int(request.query.get("from", "0"))
    size = size or int(request.query["n"])
    last = min(first + size, count)
    names = [form.format(number) for number in range(first, last)]
    link = f'<{request.path}?n={size}&from={last}>; rel="next"'
    return web.Response(
        body=orjson.dumps({key: names}),
        content_type="application/json",
        headers={"Link": link} if last < count else {},
    )


async def _ping(request: web.Request) -> web.Response:
    del request
    return web.json_response({})


def _serve(sender: Connection) -> None:
    async def run() -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v2/", _ping),
                web.get("/v2/_catalog", _catalog),
                web.get("/v2/{name}/tags/list", _tags),
            ]
        )
        async with serve(app) as url:
            sender.send(url.removeprefix("http://"))
            await anyio.sleep_forever()

    anyio.run(run)


# -- the measurement ---------------------------------------------------------------


def _measured(case: Case) -> tuple[float, float]:
    """Seconds and peak memory in MiB; exits if names are missing."""
    began = time.perf_counter()
    reader, writer = os.pipe()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "auditor", "ls", *case.arguments],
        {**os.environ, "DOCKER_CONFIG": "/nonexistent"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, writer, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    os.close(writer)
    lines = 0
    while block := os.read(reader, 1 << 16):
        lines += block.count(b"\n")
    os.close(reader)
    _, status, usage = os.wait4(child, 0)
    if status or lines != case.lines:
        sys.exit(f"{case.what}: status {status}, {lines} lines, {case.lines} wanted")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main() -> None:
    """Measure every case once, and print a table."""
    quick = "--quick" in sys.argv[1:]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=_serve, args=(sender,), daemon=True)
    server.start()
    host = receiver.recv()
    print(f"Python {sys.version.split()[0]}")
    print(f"{'auditor ls':46} {'memory':>9} {'time':>9}")
    for case in cases(host):
        if case.quick or not quick:
            seconds, mebibytes = _measured(case)
            print(f"{case.what:46} {mebibytes:5.0f} MiB {seconds:7.1f} s", flush=True)
    server.terminate()


if __name__ == "__main__":
    main()
