"""Audits shards with processes of this machine.

Each process is an `auditor audit --shard` with a lock, a journal and a resumable report
of its own. A process that was killed is started again and resumes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any

import anyio
import orjson
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from auditor.config import OPTIONS
from auditor.config.file_names import escaped
from auditor.errors import ExitCode
from auditor.fast_dataclass import dataclass
from auditor.scale.sharded_run import MIN_DEADLINE_S, ShardPlan, ShardResult
from auditor.util.shard import Shard

# Restarts of a killed process (by the kernel, for its memory): what kills it every time
# is no accident.
MAX_RESTARTS = 2
# A process that lost its parent ends at once, or as soon as the machine lets it.
_LOCK_ATTEMPTS = 10
_LOCK_WAIT_S = 1.0
# Messages to keep of a failed process: one for each error of its configuration.
_MAX_MESSAGES = 20

# For every signal: Python answers SIGINT with a traceback while it starts, and the exit
# code of the run does not depend on its processes.
_FORWARDED_SIGNAL = signal.SIGTERM

_MESSAGE_PREFIX = "auditor: "
# The logger of messages in the log as JSON (cli/logs.py).
_MESSAGE_LOGGER = "auditor"


@dataclass(slots=True)
class ProcessEngine:
    """A `ShardEngine` that starts a process for each shard.

    `report_path` returns the report of a shard; `notify` gets the log lines of the
    processes; `stdin` is the file that each reads as standard input. `deadline_s` is
    the time limit of the run, and `metrics` whether the shards write metrics.
    """

    flags: Mapping[str, object]
    report_path: Callable[[Shard], Path]
    notify: Callable[[str], None]
    stdin: Path | None = None
    deadline_s: float | None = None
    metrics: bool = False
    program: Sequence[str] = (sys.executable, "-m", "auditor.cli.worker_main")
    running: set[Process] = field(default_factory=set)
    _stopped: bool = False
    _pipe: int = -1
    _started_s: float = field(default_factory=time.monotonic)

    async def run(
        self, plan: ShardPlan, on_result: Callable[[ShardResult], None]
    ) -> None:
        """Audit the shards of a plan; call `on_result` for each as it ends."""
        shards = iter(plan.shards)

        async def worker() -> None:
            for shard in shards:
                if self._stopped:
                    return
                on_result(await self._with_restarts(shard, plan.runs_at_once))

        # Processes end when the writing end is closed, so they never outlive this one.
        self._pipe, writing_end = os.pipe()
        try:
            async with anyio.create_task_group() as group:
                for _ in range(plan.at_once):
                    group.start_soon(worker)
        finally:
            os.close(writing_end)
            os.close(self._pipe)

    def stop(self, number: signal.Signals) -> None:
        """Stop each process gracefully, or, at the second call, at once."""
        del number
        self._stopped = True
        for process in self.running:
            _end(process)

    async def _with_restarts(self, shard: Shard, runs_at_once: int) -> ShardResult:
        for restart in range(1 + MAX_RESTARTS):
            result = await self._when_unlocked(shard, runs_at_once, resume=restart > 0)
            # A negative code is the signal that killed the process.
            if result.code >= 0 or self._stopped:
                break
            self.notify(f"shard {shard}: killed by signal {-result.code}")
        return result

    async def _when_unlocked(
        self, shard: Shard, runs_at_once: int, *, resume: bool
    ) -> ShardResult:
        """Audit a shard, again if a process of a killed run still locks its report."""
        for _ in range(_LOCK_ATTEMPTS):
            result = await self._audit(shard, runs_at_once, resume=resume)
            if result.code != ExitCode.LOCKED or self._stopped:
                break
            await anyio.sleep(_LOCK_WAIT_S)
        return result

    async def _audit(
        self, shard: Shard, runs_at_once: int, *, resume: bool
    ) -> ShardResult:
        report = self.report_path(shard)
        summary = report.with_suffix(".summary")
        summary.unlink(missing_ok=True)  # of an earlier run
        with (self.stdin or Path(os.devnull)).open("rb") as stdin:
            process = await anyio.open_process(
                [
                    *(*self.program, str(self._pipe), "audit"),
                    *command_line(self._flags(shard, report, runs_at_once, resume)),
                ],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # Ctrl-C in a terminal goes to this process, which forwards it once.
                start_new_session=True,
                pass_fds=(self._pipe,),
            )
        self.running.add(process)
        if self._stopped:  # while the process was being started
            _end(process)
        try:
            async with process:
                messages = await self._read_stderr(process, shard)
                code = await process.wait()
        finally:
            self.running.discard(process)
        return ShardResult(
            shard=shard, code=code, messages=messages, summary=_read_summary(summary)
        )

    def _flags(
        self, shard: Shard, report: Path, runs_at_once: int, resume: bool
    ) -> Mapping[str, object]:
        flags = {
            **self.flags,
            "shard": str(shard),
            "runs_at_once": runs_at_once,
            "output": escaped(str(report)),
            # Those of the file and the environment apply to the whole run.
            "summary": escaped(str(report.with_suffix(".summary"))),
            "progress": "never",
            "processes": 1,
            "engine": "local",
        }
        if self.metrics:
            flags["metrics"] = escaped(str(report.with_suffix(".metrics")))
        if self.deadline_s is not None:
            elapsed_s = time.monotonic() - self._started_s
            flags["deadline"] = max(MIN_DEADLINE_S, self.deadline_s - elapsed_s)
        if resume or report.with_name(report.name + ".journal").exists():
            flags["resume"] = True
        return flags

    async def _read_stderr(self, process: Process, shard: Shard) -> Sequence[str]:
        """Pass on log lines; return the last messages."""
        assert process.stderr is not None
        messages: deque[str] = deque(maxlen=_MAX_MESSAGES)
        rest = ""
        async for piece in TextReceiveStream(process.stderr, errors="replace"):
            *lines, rest = (rest + piece).split("\n")
            for line in lines:
                is_message, text = _parse_line(line)
                if is_message:
                    messages.append(text)
                else:
                    self.notify(f"{shard}: {text}")
        return tuple(messages)


def _end(process: Process) -> None:
    """Ask a process to end.

    Not by `send_signal`: asyncio's takes away the exit code of a process that has just
    ended, so that 255 is reported for it.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, _FORWARDED_SIGNAL)


def command_line(flags: Mapping[str, object]) -> list[str]:
    """The arguments of `auditor audit` for flags by option name."""
    words: list[str] = []
    positional: list[str] = []
    for option in OPTIONS:
        value = flags.get(option.name)
        if value is None:
            continue
        values = value if isinstance(value, tuple | list) else (value,)
        if option.positional:
            positional.extend(map(str, values))
        elif isinstance(value, bool):  # false for a negatable switch only
            words.append(option.flag if value else f"--no-{option.flag[2:]}")
        else:
            # In one word, because a value may begin with a dash.
            words.extend(f"{option.flag}={text}" for text in values)
    return [*words, "--", *positional] if positional else words


def _parse_line(line: str) -> tuple[bool, str]:
    """Whether a line in either log format is a message rather than a log entry, and
    its text."""
    if line.startswith(_MESSAGE_PREFIX):
        return True, line.removeprefix(_MESSAGE_PREFIX)
    if line.startswith('{"at": '):
        try:
            entry = orjson.loads(line)
            is_message = entry["logger"] == _MESSAGE_LOGGER
            source = f"{entry['level'].upper()} {entry['logger']}: "
            return is_message, ("" if is_message else source) + entry["message"]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            pass
    return False, line


def _read_summary(path: Path) -> Mapping[str, Any] | None:
    """The summary of a process; None if the process ended before it was written."""
    try:
        summary: Mapping[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return summary
