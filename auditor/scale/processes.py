"""A run shared out over processes of this machine.

Each process is an `auditor audit` of one share, so it has a lock, a journal and a
resumable report of its own. One that is killed is begun again where it stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import anyio
import orjson
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from auditor.config import OPTIONS, Option, Settings
from auditor.config.settings import MAX_RUNS_AT_ONCE
from auditor.errors import ExitCode
from auditor.fast_dataclass import dataclass
from auditor.util.shard import MAX_SHARDS, Shard

# -- plan --
# How a run is cut into shares, and how many of them are audited at once.

# Where a share can be lost with its worker, or one worker is slower than others, the
# shares are smaller: a quarter of a worker's work is done again, or waited for. More
# would cost more than it saves, because every share reads the catalogs.
SHARES_A_WORKER = 4
# The shortest deadline that there is: what a share has that begins after the run's.
LEAST_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The shares of a run. `at_once` of them ask the registries at the same time, as
    `others` runs like this one may."""

    shards: Sequence[Shard]
    at_once: int
    others: int = 1

    @property
    def runs_at_once(self) -> int:
        """How many runs share the limits, as `--runs-at-once` says it to each."""
        return min(self.at_once * self.others, MAX_RUNS_AT_ONCE)


def plan(settings: Settings, *, workers: int, shares_a_worker: int = 1) -> Plan:
    """A plan for so many workers.

    No registry is ever sent more requests than its limits say, so no more shares are
    audited at once than the lowest has room for, and in all no more than --max-requests
    leaves a request each.
    """
    limits = [settings.default_registry, *settings.registries.values()]
    room = min(one.requests_at_once for one in limits)
    most = [one.max_requests for one in limits if one.max_requests is not None]
    at_once = max(1, min(workers, room, *most))
    of = min(at_once * shares_a_worker, MAX_SHARDS, *most)
    shards = tuple(Shard(number=number, of=of) for number in range(1, of + 1))
    return Plan(shards=shards, at_once=at_once, others=settings.runs_at_once)


# -- share --
# How the audit of one share ended, and who audits shares.


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One share whose audit has ended. `code` is the exit code of `auditor audit`;
    `last_words` are the sentences that explain a bad one, and `summary` is what it came
    to, if it said so without a whole report."""

    shard: Shard
    code: int
    last_words: Sequence[str] = ()
    summary: Mapping[str, Any] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether there is a whole report of it."""
        return self.code in {ExitCode.OK, ExitCode.FAILED}


class Engine(Protocol):
    """Audits shares, each into its part."""

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        """Audit the shares of a plan; `ended` is told of each as it ends."""

    def stop(self, number: signal.Signals) -> None:
        """End early: a signal has come. `run` returns soon after."""


# -- words --
# What a command line gave, as a command line again: for the runs that share a run.

# What is said of the whole run and not of a share, or said of each share anew.
_OF_THE_WHOLE = frozenset(
    {"output", "summary", "metrics", "progress", "resume", "dry_run"}
    | {"shard", "runs_at_once", "processes", "engine", "scheduler", "shard_dir"}
)


def flags_of_shares(flags: Mapping[str, object]) -> dict[str, object]:
    """Those of the flags that hold for every share, by option name."""
    return {
        name: value
        for name, value in flags.items()
        if name not in _OF_THE_WHOLE and value not in (None, ())
    }


def words_of(flags: Mapping[str, object]) -> list[str]:
    """The words that say so, for `auditor audit`."""
    words: list[str] = []
    behind: list[str] = []
    for option in OPTIONS:
        value = flags.get(option.name)
        if value is None:
            continue
        values = value if isinstance(value, tuple | list) else (value,)
        if option.positional:
            behind.extend(map(str, values))
        elif isinstance(value, bool):
            words.append(_switch(option, value))
        else:
            # One word each: a value may begin with a dash.
            words.extend(f"{option.flag}={one}" for one in values)
    return [*words, "--", *behind] if behind else words


def _switch(option: Option, value: bool) -> str:
    yes, _, no = option.flags[-1].partition("/")
    if not value and not no:
        raise ValueError(f"{option.name} cannot be switched off by a flag")
    return yes if value else no


# A share whose process is killed (by the kernel, for its memory) is begun again so
# often: what kills it each time is not an accident.
RESTARTS = 2
# A process that lost its run ends at once, or as soon as the machine lets it.
_LOCKED_TRIES = 10
_LOCKED_S = 1.0
# Last words of a process that failed: a sentence for each mistake.
_LAST_WORDS = 20

# Whatever signal has come: Python that is still starting answers SIGINT with a
# traceback, and the exit code of the run is its own.
_PASSED_ON = signal.SIGTERM

_OURS = "auditor: "
# Who says it, in the log as JSON (cli/logs.py).
_LOGGER = "auditor"


@dataclass(slots=True)
class Processes:
    """The processes of a run: an `Engine`.

    `report` says where the report of a share goes; `tell` is given what the processes
    log, a line at a time; `stdin` is the file that each reads as standard input.
    `deadline_s` is the time that the run has, and `metrics` whether it writes some.
    """

    flags: Mapping[str, object]
    report: Callable[[Shard], Path]
    tell: Callable[[str], None]
    stdin: Path | None = None
    deadline_s: float | None = None
    metrics: bool = False
    program: Sequence[str] = (sys.executable, "-m", "auditor.cli.worker_main")
    running: set[Process] = field(default_factory=set)
    _stopped: bool = False
    _lifeline: int = -1
    _began_s: float = field(default_factory=time.monotonic)

    async def run(self, plan: Plan, ended: Callable[[Share], None]) -> None:
        """Audit the shares of a plan; `ended` is told of each as it ends."""
        todo = iter(plan.shards)

        async def worker() -> None:
            for shard in todo:
                if self._stopped:
                    return
                ended(await self._share(shard, plan.runs_at_once))

        # Each process has the reading end, and ends when nobody has the other one.
        self._lifeline, ours = os.pipe()
        try:
            async with anyio.create_task_group() as group:
                for _ in range(plan.at_once):
                    group.start_soon(worker)
        finally:
            os.close(ours)
            os.close(self._lifeline)

    def stop(self, number: signal.Signals) -> None:
        """Have each process end in good order, or, the second time, at once."""
        del number
        self._stopped = True
        for process in self.running:
            if process.returncode is None:
                process.send_signal(_PASSED_ON)

    async def _share(self, shard: Shard, runs: int) -> Share:
        for again in range(1 + RESTARTS):
            share = await self._unlocked(shard, runs, resume=again > 0)
            # A negative code is the signal that killed it.
            if share.code >= 0 or self._stopped:
                break
            self.tell(f"share {shard}: killed by signal {-share.code}")
        return share

    async def _unlocked(self, shard: Shard, runs: int, *, resume: bool) -> Share:
        """Audit a share, a little later where its report is locked: by a process that
        a killed run left, and that is about to end, because the output is ours."""
        for _ in range(_LOCKED_TRIES):
            share = await self._audit(shard, runs, resume=resume)
            if share.code != ExitCode.LOCKED or self._stopped:
                break
            await anyio.sleep(_LOCKED_S)
        return share

    async def _audit(self, shard: Shard, runs: int, *, resume: bool) -> Share:
        report = self.report(shard)
        summary = report.with_suffix(".summary")
        summary.unlink(missing_ok=True)  # that of an earlier run
        flags = {
            **self.flags,
            "shard": str(shard),
            "runs_at_once": runs,
            "output": str(report),
            # Whatever file and environment say is said of the whole run.
            "summary": str(summary),
            "progress": "never",
            "processes": 1,
            "engine": "local",
        }
        if self.metrics:
            flags["metrics"] = str(report.with_suffix(".metrics"))
        if self.deadline_s is not None:
            gone_s = time.monotonic() - self._began_s
            flags["deadline"] = max(LEAST_S, self.deadline_s - gone_s)
        if resume or report.with_name(report.name + ".journal").exists():
            flags["resume"] = True
        with _opened(self.stdin or Path(os.devnull)) as stdin:
            process = await anyio.open_process(
                [*self.program, str(self._lifeline), "audit", *words_of(flags)],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # A terminal's Ctrl-C is for us to pass on, once.
                start_new_session=True,
                pass_fds=(self._lifeline,),
            )
        self.running.add(process)
        if self._stopped:  # while it was being started
            process.send_signal(_PASSED_ON)
        try:
            async with process:
                last_words = await self._listen(process, shard)
                code = await process.wait()
        finally:
            self.running.discard(process)
        return Share(
            shard=shard, code=code, last_words=last_words, summary=_read(summary)
        )

    async def _listen(self, process: Process, shard: Shard) -> Sequence[str]:
        """Pass on what it logs; what it says of itself is kept for a failure."""
        assert process.stderr is not None
        said: deque[str] = deque(maxlen=_LAST_WORDS)
        rest = ""
        async for piece in TextReceiveStream(process.stderr, errors="replace"):
            *lines, rest = (rest + piece).split("\n")
            for line in lines:
                own, words = _heard(line)
                if own:
                    said.append(words)
                else:
                    self.tell(f"{shard}: {words}")
        return tuple(said)


def _heard(line: str) -> tuple[bool, str]:
    """Whether a process says a line of itself, and what it says, in either format."""
    if line.startswith(_OURS):
        return True, line.removeprefix(_OURS)
    if line.startswith('{"at": '):
        try:
            told = orjson.loads(line)
            own = told["logger"] == _LOGGER
            level = "" if own else f"{told['level'].upper()} {told['logger']}: "
            return own, f"{level}{told['message']}"
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            pass
    return False, line


def _read(summary: Path) -> Mapping[str, Any] | None:
    """What a process says that it came to; null if it was ended before it could."""
    try:
        found: Mapping[str, Any] = orjson.loads(summary.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return found


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")
