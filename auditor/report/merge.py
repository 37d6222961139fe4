"""The reports of all shares, put together in the order of the whole input.

Nothing is held but a line of each: every report is in order already, and its shard
file says where its records stand between those of the others.
"""

from __future__ import annotations

import heapq
import os
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, Order, Shape
from auditor.util.shard import Shard
from auditor.version import __version__

# -- shard_file --
# `OUT.shard`: what the report of one share needs to be put together with the others.
#
# A JSON line says which share it is and of what; a line `ITEM REPOSITORY COUNT` for each
# run of records says where in the whole input they stand; a last JSON line, which is
# there when the report is whole, says how long it is and holds the summary. Without all
# the shares of one audit there is no whole, so nothing here is ever guessed.

SHARD_SUFFIX = ".shard"

InputPosition = tuple[int, int]

# Runs are written in pieces of some hundred lines.
_PIECE_BYTES = 16 * 1024
# A first line holds some dozen settings, a last one a summary with at most 2,000
# listings of some 600 bytes.
_MAX_LINE_BYTES = 16 * 1024 * 1024


class ShardFile:
    """Written beside a report while it is made. `position` is called for each record."""

    def __init__(
        self,
        report: Path,
        shard: Shard,
        *,
        settings: Mapping[str, object],
        order: Order,
    ) -> None:
        self._report = report
        self._path = report.with_name(report.name + SHARD_SUFFIX)
        self._partial = report.with_name(report.name + SHARD_SUFFIX + ".partial")
        self._buffer = bytearray()
        self._turn: InputPosition = (0, 0)
        self._count = 0
        try:
            # One of an earlier report says nothing of the one that is coming.
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            self._file = self._partial.open("xb", buffering=0)
        except OSError as error:
            raise self._error(error) from None
        self._say(
            {
                "schema": SCHEMA,
                "kind": "shard",
                "auditor": __version__,
                "shard": shard.number,
                "of": shard.of,
                "order": order,
                "settings": dict(settings),
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def position(self, turn: InputPosition) -> None:
        """Say where in the whole input the next record stands."""
        if turn == self._turn:
            self._count += 1
            return
        self._end_run()
        self._turn, self._count = turn, 1

    def commit(
        self, summary: Mapping[str, Any], *, input_digest: str | None = None
    ) -> None:
        """Finish it, now that the report is whole, and give it its name.

        `input_digest` is over the whole input; null if it was not read to its end.
        """
        self._end_run()
        try:
            size = self._report.stat().st_size
            self._say(
                {
                    "kind": "end",
                    "bytes": size,
                    "input": input_digest,
                    "summary": dict(summary),
                }
            )
            self._write()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            raise self._error(error) from None

    def _say(self, line: Mapping[str, Any]) -> None:
        self._buffer += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _end_run(self) -> None:
        if self._count:
            self._buffer += b"%d %d %d\n" % (*self._turn, self._count)
        if len(self._buffer) >= _PIECE_BYTES:
            try:
                self._write()
            except OSError as error:
                raise self._error(error) from None

    def _write(self) -> None:
        view = memoryview(bytes(self._buffer))
        self._buffer.clear()
        while view:
            view = view[self._file.write(view) :]

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written: {error.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """The first and the last line. `bytes` is the length of the report, `input` the
    digest of the whole input (null: it was not read to its end)."""

    shard: Shard
    version: str
    order: Order
    settings: Mapping[str, Any]
    bytes: int
    input: str | None
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, stream: BinaryIO, name: str) -> Self:
        """Read both; `UsageError` where it is no whole shard file."""
        first = _line(stream.readline(_MAX_LINE_BYTES), "shard")
        last: Mapping[str, Any] | None = None
        if first is not None:
            for line in stream:
                if line.startswith(b"{"):
                    last = _line(line, "end")
                    break
        try:
            assert first is not None
            assert last is not None
            return cls(
                shard=Shard(number=int(first["shard"]), of=int(first["of"])),
                version=str(first["auditor"]),
                order=Order(first["order"]),
                settings=dict(first["settings"]),
                bytes=int(last["bytes"]),
                input=last["input"],
                summary=dict(last["summary"]),
            )
        except (AssertionError, KeyError, TypeError, ValueError):
            raise UsageError(
                f"{name}: not a whole shard file: the audit of this share did not end"
            ) from None


def _line(line: bytes, kind: str) -> Mapping[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == kind else None


def record_runs(stream: BinaryIO, name: str) -> Iterator[tuple[InputPosition, int]]:
    """The runs of a shard file: where they stand, and how many records each has."""
    stream.readline(_MAX_LINE_BYTES)
    for line in stream:
        if line.startswith(b"{"):
            return
        try:
            item, repository, count = map(int, line.split())
        except ValueError:
            raise UsageError(f"{name}: a line of it is damaged") from None
        yield (item, repository), count


# As many missing shares as are named one by one.
_SHOWN = 10

# Standard streams, the report, what libraries hold open.
_OTHER_FILES = 64

# Opens a part or its shard file by name; raises `UsageError`.
Opener = Callable[[str], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """The report of one share, by name, and what its shard file says."""

    name: str
    head: ShardInfo


def read_shard_reports(names: Sequence[str], open_file: Opener) -> list[ShardReport]:
    """The parts of one audit, by number.

    Raises `UsageError` where one is missing, is there twice or is of another audit.
    """
    parts = []
    for name in names:
        with open_file(name + SHARD_SUFFIX) as stream:
            parts.append(
                ShardReport(name=name, head=ShardInfo.read(stream, name + SHARD_SUFFIX))
            )
    parts.sort(key=lambda part: part.head.shard.number or 0)
    _check_one_audit(parts)
    _check_complete(parts)
    return parts


def _check_one_audit(parts: Sequence[ShardReport]) -> None:
    first = parts[0]
    asked = first
    for part in parts[1:]:
        if part.head.shard.of != first.head.shard.of:
            raise UsageError(
                f"{part.name} is a share of {part.head.shard.of}, {first.name} of"
                f" {first.head.shard.of}: these are not the shares of one audit"
            )
        if part.head.version != first.head.version:
            raise UsageError(
                f"{part.name} was made by auditor {part.head.version}, {first.name} by"
                f" {first.head.version}: make all shares with one version"
            )
        differs = [
            key
            for key, value in first.head.settings.items()
            if part.head.settings.get(key) != value
        ]
        if differs:
            raise UsageError(
                f"{part.name} and {first.name} were made with other settings"
                f" ({', '.join(differs)}): these are not the shares of one audit"
            )
        # At a deadline an input is not read to its end.
        if asked.head.input is None:
            asked = part
        elif part.head.input not in {None, asked.head.input}:
            raise UsageError(
                f"{part.name} and {asked.name} were made of other references or lists:"
                " these are not the shares of one audit"
            )


def _check_complete(parts: Sequence[ShardReport]) -> None:
    of = parts[0].head.shard.of
    numbers = [part.head.shard.number for part in parts]
    for part, following in pairwise(parts):
        if part.head.shard.number == following.head.shard.number:
            raise UsageError(
                f"{part.name} and {following.name} are the same share,"
                f" {part.head.shard}"
            )
    missing = [str(number) for number in range(1, of + 1) if number not in numbers]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + " ..." * (len(missing) > _SHOWN)
        raise UsageError(
            f"{len(missing)} of the {of} shares"
            f" {'is' if len(missing) == 1 else 'are'} missing: {shown}; a report"
            f" without {'it' if len(missing) == 1 else 'them'} would have gaps"
        )


def merge_records(parts: Sequence[ShardReport], open_file: Opener) -> Iterator[bytes]:
    """The records of all parts, a record at a time.

    Raises `UsageError` for a part that is not what its shard file says.
    """
    in_order = parts[0].head.order is Order.INPUT
    _make_room(2 * len(parts) + _OTHER_FILES)
    with ExitStack() as stack:
        sources = [
            _Source(
                part,
                number,
                report=stack.enter_context(open_file(part.name)),
                shard_file=stack.enter_context(open_file(part.name + SHARD_SUFFIX)),
            )
            for number, part in enumerate(parts)
        ]
        # Records that are in no order have no turn: one part after the other.
        join = heapq.merge if in_order else chain
        for _, number, count in join(*(source.record_runs() for source in sources)):
            yield from sources[number].take(count)
        for source in sources:
            source.check_end()


def _make_room(files: int) -> None:
    """Allow so many open files: most systems give 1,024 and let have many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        most = files if hard == resource.RLIM_INFINITY else min(files, hard)
        # Where that is not granted, opening a part says so.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Source:
    """The records of one part, in their order."""

    def __init__(
        self, part: ShardReport, number: int, *, report: BinaryIO, shard_file: BinaryIO
    ) -> None:
        self._part = part
        self._number = number
        self._report = report
        self._shard_file = shard_file
        self._rows = Shape(part.head.settings["shape"]) is not Shape.IMAGE
        self._read_bytes = 0
        self._next = self._line()

    def record_runs(self) -> Iterator[tuple[InputPosition, int, int]]:
        """Where its records stand: the turn, which part this is, how many they are."""
        for turn, count in record_runs(
            self._shard_file, self._part.name + SHARD_SUFFIX
        ):
            yield turn, self._number, count

    def take(self, count: int) -> Iterator[bytes]:
        """The lines of its next `count` records."""
        for _ in range(count):
            if not self._next:
                raise self._damaged()
            record = self._next
            self._next = self._line()
            if self._rows and (name := _row_of(record)) is not None:
                while self._next and _row_of(self._next) == name:
                    record += self._next
                    self._next = self._line()
            yield record

    def check_end(self) -> None:
        """Raise `UsageError` if the part is longer or shorter than it was."""
        if self._next or self._read_bytes != self._part.head.bytes:
            raise self._damaged()

    def _line(self) -> bytes:
        line = self._report.readline()
        self._read_bytes += len(line)
        return line

    def _damaged(self) -> UsageError:
        return UsageError(
            f"{self._part.name}: not what its shard file says: it was changed or is"
            " not whole; audit this share again"
        )


def _row_of(line: bytes) -> str | None:
    """Which reference a row of a flat shape is of; null for a failure's line."""
    try:
        found = orjson.loads(line)
        return None if found["kind"] == "failure" else str(found["reference"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
