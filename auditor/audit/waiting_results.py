"""Results that are finished and wait for their turn, in memory or in a file.

A silent host holds up the results of all other hosts that come after it in the input.
Up to a limit they wait in memory; then they are moved to a temporary file as a run, a
sequence of results in the order of their numbers. Runs are merged when they are read,
as in an external merge sort. A result in the file takes 16 bytes of memory.
"""

from __future__ import annotations

import heapq
import logging
from array import array
from collections.abc import Iterator
from typing import Generic, TypeVar

from auditor.util.spill_file import SpilledValue, SpillFile

log = logging.getLogger("auditor.audit")

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

    `bytes` is the sum of the sizes that `put` was given, of the results in memory.
    """

    def __init__(self, file: SpillFile) -> None:
        self._file = file
        self.bytes = 0
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
        self._in_memory[number] = result, size
        self.bytes += size

    def has(self, number: int) -> bool:
        """Whether the result of this number waits, which must be the lowest."""
        return number in self._in_memory or (
            bool(self._runs) and self._runs[0][0] == number
        )

    def take(self, number: int) -> Result:
        """Remove the result with this number, for which `has` is true."""
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
