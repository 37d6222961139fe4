"""A Dask cluster of this machine: a scheduler and worker processes that can be killed.

with cluster(workers=2) as here:
    here.scheduler  # its address
    here.kill_one()
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.flow.commands import BASE_ENVIRONMENT

# Without -W error: the warnings of these programs are not ours.
_SCHEDULER = (sys.executable, "-m", "distributed.cli.dask_scheduler")
_WORKER = (sys.executable, "-m", "distributed.cli.dask_worker")
_AT = "Scheduler at:"
_REGISTERED = "Registered to:"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The scheduler's address and the processes of the workers."""

    scheduler: str
    workers: list[subprocess.Popen[str]]

    def kill_one(self) -> None:
        """Kill a worker, as if its machine lost power."""
        self.workers.pop().send_signal(signal.SIGKILL)


@contextmanager
def cluster(folder: Path, *, workers: int, **environment: str) -> Iterator[Cluster]:
    """A cluster of workers with one thread and without nannies, which restart them.

    `environment` is added to that of the processes.
    """
    with ExitStack() as stack:
        scheduler = _start(
            stack, folder, *_SCHEDULER, "--host", "127.0.0.1", "--port", "0",
            "--no-dashboard", **environment,
        )  # fmt: skip
        address = _wait_for_line(scheduler, _AT)
        started = [
            _start(
                stack, folder, *_WORKER, address, "--no-nanny", "--no-dashboard",
                "--nthreads", "1", "--host", "127.0.0.1", "--memory-limit", "0",
                "--local-directory", str(folder / f"worker-{number}"), **environment,
            )
            for number in range(workers)
        ]  # fmt: skip
        for worker in started:
            _wait_for_line(worker, _REGISTERED)
        yield Cluster(address, started)


def _start(
    stack: ExitStack, folder: Path, *words: str, **environment: str
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        words,
        cwd=folder,
        env={
            **BASE_ENVIRONMENT,
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            **environment,
        },
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    stack.callback(_end, process)
    return process


def _wait_for_line(process: subprocess.Popen[str], what: str) -> str:
    """The text after `what` in the first log line that contains it."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if what in line:
            return line.partition(what)[2].strip()
    raise AssertionError("".join(lines))


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
