"""Merging the reports of a sharded audit in the order of the whole input.

`read_shard_reports` reads the shard files and checks that these are all shards of one
audit; `merge_records` then yields the records. Only one record of each report is in
memory: every report is in input order, and its shard file has the input positions.
"""

from __future__ import annotations

import heapq
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import chain, pairwise
from typing import BinaryIO

import orjson

from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import InputPosition, Order, Shape
from auditor.report.shard_file import SHARD_SUFFIX, ShardInfo, read_positions

# Missing shards that an error message names.
_MAX_NAMED = 10
# Files open beside the reports: standard streams, the output, libraries.
_OTHER_FILES = 64

# Opens a report or its shard file by name; raises `UsageError`.
Opener = Callable[[str], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """The report of one shard, by name, and what its shard file says."""

    name: str
    info: ShardInfo


def read_shard_reports(names: Sequence[str], open_file: Opener) -> list[ShardReport]:
    """The reports of all shards of one audit, by shard number.

    Raises `UsageError` if one is missing, is given twice, or is of another audit.
    """
    reports = []
    for name in names:
        with open_file(name + SHARD_SUFFIX) as stream:
            info = ShardInfo.read(stream, name + SHARD_SUFFIX)
            reports.append(ShardReport(name=name, info=info))
    reports.sort(key=lambda report: report.info.shard.number or 0)
    _check_one_audit(reports)
    _check_complete(reports)
    return reports


def merge_records(reports: Sequence[ShardReport], open_file: Opener) -> Iterator[bytes]:
    """The lines of all records, one record at a time.

    Raises `UsageError` for a report that does not match its shard file.
    """
    in_order = reports[0].info.order is Order.INPUT
    _raise_open_files_limit(2 * len(reports) + _OTHER_FILES)
    with ExitStack() as stack:
        readers = [
            _ShardReader(
                report,
                number,
                stream=stack.enter_context(open_file(report.name)),
                shard_file=stack.enter_context(open_file(report.name + SHARD_SUFFIX)),
            )
            for number, report in enumerate(reports)
        ]
        # Reports in completion order have no positions: one after the other.
        join = heapq.merge if in_order else chain
        for _, number, count in join(*(reader.positions() for reader in readers)):
            yield from readers[number].take(count)
        for reader in readers:
            reader.check_end()


def _check_one_audit(reports: Sequence[ShardReport]) -> None:
    first = reports[0]
    with_input = first
    for report in reports[1:]:
        info = report.info
        if info.shard.of != first.info.shard.of:
            raise UsageError(
                f"{report.name} is a shard of {info.shard.of} and {first.name} of"
                f" {first.info.shard.of}: not the shards of one audit"
            )
        if info.version != first.info.version:
            raise UsageError(
                f"{report.name} was written by auditor {info.version} and {first.name}"
                f" by {first.info.version}: audit all shards with one version"
            )
        differences = [
            key
            for key, value in first.info.settings.items()
            if info.settings.get(key) != value
        ]
        if differences:
            raise UsageError(
                f"{report.name} and {first.name} were made with different settings"
                f" ({', '.join(differences)}): not the shards of one audit"
            )
        # A shard that reached its deadline has not read its input to the end.
        if with_input.info.input is None:
            with_input = report
        elif info.input not in {None, with_input.info.input}:
            raise UsageError(
                f"{report.name} and {with_input.name} were made from different"
                " references or lists: not the shards of one audit"
            )


def _check_complete(reports: Sequence[ShardReport]) -> None:
    of = reports[0].info.shard.of
    numbers = [report.info.shard.number for report in reports]
    for report, following in pairwise(reports):
        if report.info.shard.number == following.info.shard.number:
            raise UsageError(
                f"{report.name} and {following.name} are the same shard,"
                f" {report.info.shard}"
            )
    missing = [str(number) for number in range(1, of + 1) if number not in numbers]
    if missing:
        named = ", ".join(missing[:_MAX_NAMED]) + " ..." * (len(missing) > _MAX_NAMED)
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{len(missing)} of the {of} shards {verb} missing: {named}; give the"
            " reports of all shards"
        )


def _raise_open_files_limit(files: int) -> None:
    """Raise the limit of open files, which is 1,024 on most systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        new = files if hard == resource.RLIM_INFINITY else min(files, hard)
        # If that is refused, opening a report fails with a clear error.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))


class _ShardReader:
    """Reads the records of one shard's report in their order."""

    def __init__(
        self,
        report: ShardReport,
        number: int,
        *,
        stream: BinaryIO,
        shard_file: BinaryIO,
    ) -> None:
        self._report = report
        self._number = number
        self._stream = stream
        self._shard_file = shard_file
        self._is_flat = Shape(report.info.settings["shape"]) is not Shape.IMAGE
        self._read_bytes = 0
        self._next = self._read_line()

    def positions(self) -> Iterator[tuple[InputPosition, int, int]]:
        """Input positions, each with this report's number and a count of records."""
        name = self._report.name + SHARD_SUFFIX
        for position, count in read_positions(self._shard_file, name):
            yield position, self._number, count

    def take(self, count: int) -> Iterator[bytes]:
        """The lines of the next `count` records."""
        for _ in range(count):
            if not self._next:
                raise self._mismatch()
            record = self._next
            self._next = self._read_line()
            if self._is_flat and (reference := _row_reference(record)) is not None:
                while self._next and _row_reference(self._next) == reference:
                    record += self._next
                    self._next = self._read_line()
            yield record

    def check_end(self) -> None:
        """Raise `UsageError` if the report is longer or shorter than it was."""
        if self._next or self._read_bytes != self._report.info.bytes:
            raise self._mismatch()

    def _read_line(self) -> bytes:
        line = self._stream.readline()
        self._read_bytes += len(line)
        return line

    def _mismatch(self) -> UsageError:
        return UsageError(
            f"{self._report.name}: does not match its shard file: it was changed or is"
            " incomplete; audit this shard again"
        )


def _row_reference(line: bytes) -> str | None:
    """The reference of a row of the flat shapes; None for a failure."""
    try:
        row = orjson.loads(line)
        return None if row["kind"] == "failure" else str(row["reference"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
