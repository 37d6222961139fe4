"""The cost of one run of one program."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.throughput.servers import Server

_HIGH_WATER = re.compile(r"VmHWM:\s+(\d+) kB")
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds, bytes, and requests as the registry counted them.

    `resident` is the peak of the program itself, without its child processes. CPU
    includes the child processes; `registry_s` is the CPU of the registry during the
    run. `refused` counts responses with 401.
    """

    wall_s: float
    cpu_s: float
    registry_s: float
    resident: int
    requests: int
    refused: int

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.wall_s


class _Peak(threading.Thread):
    """Polls the resident set of a running process for its peak, in bytes.

    getrusage would include the memory of the benchmark when it forked.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{process}/status")
        self._ended = threading.Event()
        self._most = 0
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            with suppress(OSError):
                found = _HIGH_WATER.search(self._status.read_text())
                self._most = max(self._most, int(found[1]) * 1024 if found else 0)

    def stop(self) -> int:
        """The peak."""
        self._ended.set()
        self.join()
        return self._most


def measure(
    command: Sequence[str],
    server: Server,
    *,
    stdin: Path | None = None,
    environment: Mapping[str, str] | None = None,
    wall: IO[bytes] | None = None,
) -> Measured:
    """Run a command against a registry. RuntimeError if it fails.

    A command that measures its own time prints `replayed COUNT SECONDS BAD`, which
    replaces `wall`.
    """
    before, registry_s = server.requests(), server.cpu_s()
    began = time.perf_counter()
    with stdin.open("rb") if stdin else open(os.devnull, "rb") as source:  # noqa: PTH123
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=wall or subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        assert process.stderr is not None
        peak = _Peak(process.pid)
        messages = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if wall is not None:
        wall_s = _own_time(wall)
    elif process.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {messages.decode()[-500:]}")
    after = server.requests() - before
    return Measured(
        wall_s=wall_s,
        cpu_s=used.ru_utime + used.ru_stime,
        registry_s=server.cpu_s() - registry_s,
        resident=peak.stop(),
        requests=after.total(),
        refused=after["401"],
    )


def _own_time(wall: IO[bytes]) -> float:
    wall.seek(0)
    for line in wall.read().decode().splitlines():
        if line.startswith("replayed "):
            _, _, seconds, bad = line.split()
            if int(bad):
                raise RuntimeError(f"{bad} answers of the replay were not 200")
            return float(seconds)
    raise RuntimeError("the replay did not come to its end")
