"""The `auditor` command in a process of its own.

done = await auditor("audit", here.ref("team/app:1"))
assert (done.code, done.said) == (0, [...])
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import orjson
from anyio.abc import ByteReceiveStream, Process

from tests.flow.harness import PATIENCE_S

# Warnings are errors there, too.
PROGRAM = (sys.executable, "-W", "error", "-m", "auditor")
# The project is found from any folder; nothing else of the caller's is.
BARE = {
    "AUDITOR_NO_CACHE": "1",
    "HOME": "/nonexistent",
    "PATH": os.defpath,
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An exit code, what went to standard output, and the lines on standard error."""

    code: int
    out: bytes
    said: Sequence[str]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def mistakes(self) -> list[str]:
        """What was said, without the program's name; nothing else may be said."""
        assert all(line.startswith("auditor: ") for line in self.said), self.said
        return [line.removeprefix("auditor: ") for line in self.said]


@asynccontextmanager
async def running(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    place: Path | None = None,
    stdin: int | None = PIPE,
    stdout: Any = PIPE,
    stderr: Any = PIPE,
    program: Sequence[str] = PROGRAM,
    **more: Any,
) -> AsyncIterator[Process]:
    """The command, running; killed at the end if it still does."""
    with anyio.fail_after(PATIENCE_S):
        process = await anyio.open_process(
            [*program, *arguments],
            env={**BARE, **(environment or {})},
            cwd=place,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            **more,
        )
        async with process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()


async def finish(process: Process, stdin: bytes = b"") -> Finished:
    """Everything that a running command writes, to its end."""
    pieces: dict[str, list[bytes]] = {"out": [], "err": []}

    async def collect(stream: ByteReceiveStream | None, name: str) -> None:
        if stream is not None:
            async for piece in stream:
                pieces[name].append(piece)

    async with anyio.create_task_group() as group:
        group.start_soon(collect, process.stdout, "out")
        group.start_soon(collect, process.stderr, "err")
        if process.stdin is not None:
            if stdin:
                await process.stdin.send(stdin)
            await process.stdin.aclose()
    said = b"".join(pieces["err"]).decode()
    assert "Traceback" not in said, said
    assert "\x1b" not in said, said
    code = await process.wait()
    return Finished(code=code, out=b"".join(pieces["out"]), said=said.splitlines())


async def auditor(*arguments: str, stdin: bytes = b"", **more: Any) -> Finished:
    """The command, run to its end; `more` as for `running`."""
    async with running(*arguments, **more) as process:
        return await finish(process, stdin)
