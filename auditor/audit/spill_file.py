"""What waits for a host, in memory or in an unnamed temporary file.

The file is created with the first value, and its space is used again when no value is
left. It has no name (`O_TMPFILE`, or unlinked at once), so that nothing remains of a
run that is killed and no other process can put values into it: they are pickled.

The reader puts the whole input into the lanes, so that no lane has to wait for the jobs
of another one to be done. A `LaneQueue` has few jobs in memory however many wait for
it: the next ones; the rest is in the file.

A silent host holds up the results of all other hosts that come after it in the input.
Up to a limit they wait in memory; then `WaitingResults` moves them to the file as a
run, a sequence of results in the order of their numbers. Runs are merged when they are
read, as in an external merge sort. A result in the file takes 16 bytes of memory.
"""

from __future__ import annotations

import heapq
import logging
import os
from array import array
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from auditor.fast_dataclass import dataclass

log = logging.getLogger("auditor.audit")


@dataclass(frozen=True, slots=True)
class SpilledValue:
    """Where a value is in the file: `size` bytes from `offset`."""

    offset: int
    size: int


class SpillFile:
    """Values in a temporary file in `folder`, or where `TMPDIR` says.

    `count`: values in the file.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = 0
        self.count = 0

    @property
    def is_open(self) -> bool:
        """Whether values can be read."""
        return self._file is not None

    def put(self, value: object) -> SpilledValue:
        """Write a value. Raises `OSError`, and leaves no part of the value then."""
        import pickle  # noqa: PLC0415  (few runs need the file)

        if self._file is None:
            import tempfile  # noqa: PLC0415

            self._file = tempfile.TemporaryFile(  # noqa: SIM115  (closed by `close`)
                dir=self._folder, buffering=0
            )
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        view, offset = memoryview(data), self._end
        while view:
            written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written
        spilled = SpilledValue(self._end, len(data))
        self._end = offset
        self.count += 1
        return spilled

    def get(self, spilled: SpilledValue) -> Any:
        """Read a value, which stays in the file."""
        import pickle  # noqa: PLC0415

        assert self._file is not None
        data = bytearray()
        while len(data) < spilled.size:
            missing = spilled.size - len(data)
            piece = os.pread(self._file.fileno(), missing, spilled.offset + len(data))
            if not piece:
                raise OSError("a temporary file is shorter than it was")
            data += piece
        return pickle.loads(data)  # noqa: S301  (only this process can write it)

    def take(self, spilled: SpilledValue) -> Any:
        """Read a value and remove it from the file."""
        value = self.get(spilled)
        self.count -= 1
        if self.count == 0:
            assert self._file is not None
            os.ftruncate(self._file.fileno(), 0)
            self._end = 0
        return value

    def close(self) -> None:
        """Remove the file with all values."""
        if self._file is not None:
            self._file.close()
            self._file = None


# -- references that wait --------------------------------------------------------------

Job = TypeVar("Job")

# Jobs that are written together. An entry has some 150 bytes: a chunk has 10 KB.
CHUNK_JOBS = 64


class LaneQueue(Generic[Job]):
    """Jobs in the order in which they were put, each with its number.

    At least the first `in_memory` jobs, and at most `2 * CHUNK_JOBS` more, are in
    memory; the others are in `file`.
    """

    def __init__(self, file: SpillFile, *, in_memory: int) -> None:
        self._file = file
        self._in_memory = in_memory
        self._head: deque[tuple[int, Job]] = deque()
        self._chunks: deque[SpilledValue] = deque()
        self._tail: list[tuple[int, Job]] = []
        self._file_works = True

    def __len__(self) -> int:
        waiting = len(self._head) + len(self._tail)
        return waiting + CHUNK_JOBS * len(self._chunks)

    def put(self, number: int, job: Job) -> None:
        """Add a job at the end."""
        is_behind = bool(self._chunks or self._tail)
        if not is_behind and len(self._head) < self._in_memory + CHUNK_JOBS:
            self._head.append((number, job))
            return
        self._tail.append((number, job))
        if len(self._tail) == CHUNK_JOBS and self._file_works:
            try:
                self._chunks.append(self._file.put(self._tail))
            except OSError as error:
                self._file_works = False
                log.warning(
                    "no temporary space for references that wait (%s): continuing with"
                    " more memory; set TMPDIR to a folder with free space",
                    error.strerror,
                )
            else:
                self._tail = []

    def get(self) -> tuple[int, Job]:
        """Remove the first job and return it with its number."""
        first = self._head.popleft()
        if len(self._head) < self._in_memory:
            if self._chunks:
                self._head.extend(self._file.take(self._chunks.popleft()))
            elif self._tail:
                self._head.extend(self._tail)
                self._tail = []
        return first

    def peek(self, index: int) -> Job | None:
        """The job at this index, below `in_memory`; None if there are fewer jobs."""
        return self._head[index][1] if index < len(self._head) else None


# -- results that wait -----------------------------------------------------------------

Result = TypeVar("Result")


class _Run:
    """Results in the file: `numbers` ascend; `at` is the index of the next one."""

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.offsets = array("Q")
        self.end = 0
        self.at = 0
        self.is_new = True  # not yet returned by `new_results`

    def spilled(self, index: int) -> SpilledValue:
        start = self.offsets[index]
        is_last = index + 1 == len(self.offsets)
        end = self.end if is_last else self.offsets[index + 1]
        return SpilledValue(start, end - start)


class WaitingResults(Generic[Result]):
    """Results by number, taken in the order of their numbers.

    `bytes` is the sum of the sizes that `put` was given, of the results in memory;
    `count` is the number of results, those in the file included.
    """

    def __init__(self, file: SpillFile) -> None:
        self._file = file
        self.bytes = self.count = 0
        self._in_memory: dict[int, tuple[Result, int]] = {}
        self._returned: set[int] = set()
        # The next number of each run.
        self._runs: list[tuple[int, int, _Run]] = []
        self._run_count = 0
        self._file_works = True

    def __len__(self) -> int:
        """Number of results in memory."""
        return len(self._in_memory)

    def __bool__(self) -> bool:
        return bool(self._in_memory or self._runs)

    def put(self, number: int, result: Result, size: int = 0) -> None:
        """Add a finished result of `size` bytes."""
        self.count += 1
        self._in_memory[number] = result, size
        self.bytes += size

    def has(self, number: int) -> bool:
        """Whether the result of this number waits, which must be the lowest."""
        return number in self._in_memory or (
            bool(self._runs) and self._runs[0][0] == number
        )

    def take(self, number: int) -> Result:
        """Remove the result with this number, for which `has` is true."""
        self.count -= 1
        if number in self._in_memory:
            self._returned.discard(number)
            return self._remove(number)
        return self._take_from_file()

    def take_all(self) -> Iterator[Result]:
        """Remove all results, in the order of their numbers."""
        while self:
            numbers = [*self._in_memory, *(run[0] for run in self._runs[:1])]
            yield self.take(min(numbers))

    def new_results(self) -> Iterator[Result]:
        """The results that no earlier call returned."""
        for _, _, run in self._runs:
            if run.is_new and self._file.is_open:
                run.is_new = False
                for index in range(run.at, len(run.numbers)):
                    if run.numbers[index] not in self._returned:
                        yield self._file.get(run.spilled(index))
        new = sorted(self._in_memory.keys() - self._returned)
        self._returned = set(self._in_memory)
        yield from (self._in_memory[number][0] for number in new)

    def move_to_file(self) -> bool:
        """Move all results in memory to the file; False if that is impossible."""
        if not self._file_works:
            return False
        run = _Run()
        try:
            for number in sorted(self._in_memory):
                spilled = self._file.put(self._in_memory[number][0])
                run.numbers.append(number)
                run.offsets.append(spilled.offset)
                run.end = spilled.offset + spilled.size
        except OSError as error:
            self._file_works = False
            log.warning(
                "no temporary space for records that wait for their position (%s):"
                " continuing with more memory; set TMPDIR to a folder with free space",
                error.strerror,
            )
        for number in run.numbers:
            self._remove(number)
        if run.numbers:
            self._run_count += 1
            entry = (run.numbers[0], self._run_count, run)
            heapq.heappush(self._runs, entry)
        return self._file_works

    def _remove(self, number: int) -> Result:
        result, size = self._in_memory.pop(number)
        self.bytes -= size
        return result

    def _take_from_file(self) -> Result:
        _, order, run = self._runs[0]
        result: Result = self._file.take(run.spilled(run.at))
        self._returned.discard(run.numbers[run.at])
        run.at += 1
        if run.at == len(run.numbers):
            heapq.heappop(self._runs)
        else:
            heapq.heapreplace(self._runs, (run.numbers[run.at], order, run))
        return result
