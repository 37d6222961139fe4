"""The jobs that wait for the workers of a lane: the next ones in memory, the rest in a
file.

The reader puts the whole input into the lanes, so that no lane has to wait for the jobs
of another one to be done. A lane has few jobs in memory however many wait for it.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Generic, TypeVar

from auditor.util.spill_file import SpilledValue, SpillFile

log = logging.getLogger("auditor.audit")

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
