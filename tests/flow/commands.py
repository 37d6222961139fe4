"""Runs the `auditor` command in a process.

done = await auditor("audit", here.ref("team/app:1"))
assert (done.code, done.stderr) == (0, [...])

The process is a copy of one that has imported everything (`fork_server.py`), unless a
`program` is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import orjson
from anyio.abc import ByteReceiveStream, Process

from tests.flow.fork_server import can_run
from tests.flow.forked_process import fork
from tests.flow.harness import PATIENCE_S

# Warnings are errors in the process, too.
PROGRAM = (sys.executable, "-W", "error", "-m", "auditor")
# The project is found from any folder; the rest of the environment is not inherited.
BASE_ENVIRONMENT = {
    "AUDITOR_NO_CACHE": "1",
    "HOME": "/nonexistent",
    "PATH": os.defpath,
    "PYTHONPATH": str(Path(__file__).parents[2]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The exit code, standard output, and the lines of standard error."""

    code: int
    out: bytes
    stderr: Sequence[str]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def messages(self) -> list[str]:
        """Messages on standard error without the prefix; no other lines are allowed."""
        assert all(line.startswith("auditor: ") for line in self.stderr), self.stderr
        return [line.removeprefix("auditor: ") for line in self.stderr]


@asynccontextmanager
async def running(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    place: Path | None = None,
    stdin: int | None = PIPE,
    stdout: Any = PIPE,
    stderr: Any = PIPE,
    program: Sequence[str] | None = None,
) -> AsyncIterator[Process]:
    """Run the command; kill it at the end if it still runs.

    With a `program`, such as `PROGRAM`, it is a new interpreter.
    """
    variables = {**BASE_ENVIRONMENT, **(environment or {})}
    with anyio.fail_after(PATIENCE_S):
        if program is None and can_run(environment or {}):
            process: Process = fork(
                arguments, variables, place, stdin=stdin, stdout=stdout, stderr=stderr
            )
        else:
            process = await anyio.open_process(
                [*(program or PROGRAM), *arguments],
                env=variables,
                cwd=place,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        async with process:
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.kill()


async def finish(process: Process, stdin: bytes = b"") -> Finished:
    """The output of a running command, after its end."""
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
                # A command that does not read it may have ended.
                with suppress(anyio.BrokenResourceError):
                    await process.stdin.send(stdin)
            await process.stdin.aclose()
    stderr = b"".join(pieces["err"]).decode()
    assert "Traceback" not in stderr, stderr
    assert "\x1b" not in stderr, stderr
    code = await process.wait()
    return Finished(code=code, out=b"".join(pieces["out"]), stderr=stderr.splitlines())


async def auditor(*arguments: str, stdin: bytes = b"", **more: Any) -> Finished:
    """Run the command to its end; `more` is for `running`."""
    async with running(*arguments, **more) as process:
        return await finish(process, stdin)
