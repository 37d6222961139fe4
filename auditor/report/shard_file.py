"""`OUT.shard`: the positions of a shard's records in the whole input.

The first line is a JSON header: the shard and its audit. Then each line `ITEM
REPOSITORY COUNT` gives the input position of the next COUNT records. The last line is a
JSON trailer, written when the report is complete: the report's length and the shard's
summary.

`ShardFile` writes this file during the audit of the shard. To merge all shards,
`read_shard_reports` checks that these are all shards of one audit, and `merge_records`
yields their records in the order of the whole input. Only one record of each report is
in memory: every report is in input order, and its shard file has the input positions.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, InputPosition, Order, Shape
from auditor.report.locked_journal import write_all
from auditor.util.atomic_file import replace_durably
from auditor.util.open_files import raise_open_files_limit
from auditor.util.shard import Shard
from auditor.version import __version__

SHARD_SUFFIX = ".shard"

# Some hundred lines: one system call.
_PIECE_BYTES = 16 * 1024
# A header has some dozen settings; a trailer has a summary with at most 2,000 listings
# of some 600 bytes.
_MAX_LINE_BYTES = 16 * 1024 * 1024
# Missing shards that an error message names.
_MAX_NAMED = 10
# Files open beside the reports: standard streams, the output, libraries.
_OTHER_FILES = 64


class ShardFile:
    """Writes the shard file while the report is written; a context manager."""

    def __init__(
        self,
        report: Path,
        shard: Shard,
        *,
        settings: Mapping[str, object],
        order: Order,
    ) -> None:
        self._path = report.with_name(report.name + SHARD_SUFFIX)
        self._partial = report.with_name(report.name + SHARD_SUFFIX + ".partial")
        self._buffer = bytearray()
        self._position: InputPosition = (0, 0)
        self._count = 0
        with self._output_errors():
            # The file of an earlier report does not describe the new one.
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            self._file = self._partial.open("xb", buffering=0)
        self._write_json(
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

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, position: InputPosition) -> None:
        """Note the input position of the next record of the report."""
        if position == self._position:
            self._count += 1
            return
        self._write_count()
        self._position, self._count = position, 1

    def commit(
        self,
        summary: Mapping[str, Any],
        *,
        content_bytes: int,
        input_digest: str | None = None,
    ) -> None:
        """Write the trailer and give the file its name; the report is complete.

        `content_bytes` are those of its lines, before compression. `input_digest` is
        that of the whole input, None if it was not read to its end.
        """
        self._write_count()
        with self._output_errors():
            self._write_json(
                {
                    "kind": "end",
                    "bytes": content_bytes,
                    "input": input_digest,
                    "summary": dict(summary),
                }
            )
            self._flush()
            os.fsync(self._file.fileno())
            self._file.close()
            replace_durably(self._partial, self._path)

    def _write_json(self, line: Mapping[str, Any]) -> None:
        self._buffer += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _write_count(self) -> None:
        if self._count:
            self._buffer += b"%d %d %d\n" % (*self._position, self._count)
        if len(self._buffer) >= _PIECE_BYTES:
            with self._output_errors():
                self._flush()

    def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        write_all(self._file.fileno(), data)

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._path}: cannot be written: {error.strerror}"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """The report of one shard, and the header and trailer of its shard file.

    `name` is the path or URL of the report, `bytes` the length of its lines. `input`
    is the digest of the whole input, None if it was not read to its end.
    """

    name: str
    shard: Shard
    version: str
    order: Order
    settings: Mapping[str, Any]
    bytes: int
    input: str | None
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, stream: BinaryIO, name: str) -> Self:
        """Read the shard file of the report `name`. Raises `UsageError`."""
        try:
            header = _parse_json(stream.readline(_MAX_LINE_BYTES), "shard")
            last = next((line for line in stream if line.startswith(b"{")), b"")
            trailer = _parse_json(last, "end")
            return cls(
                name=name,
                shard=Shard(number=int(header["shard"]), of=int(header["of"])),
                version=str(header["auditor"]),
                order=Order(header["order"]),
                settings=dict(header["settings"]),
                bytes=int(trailer["bytes"]),
                input=trailer["input"],
                summary=dict(trailer["summary"]),
            )
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{name}{SHARD_SUFFIX}: incomplete shard file: the audit of this shard"
                " did not finish; audit it again"
            ) from None


def _parse_json(line: bytes, kind: str) -> Mapping[str, Any]:
    value = orjson.loads(line)
    if not isinstance(value, dict) or value.get("kind") != kind:
        raise ValueError
    return value


def read_positions(
    stream: BinaryIO, name: str, number: int
) -> Iterator[tuple[InputPosition, int, int]]:
    """The input positions in the shard file of the report `name`.

    Each comes with `number` and its number of records.
    """
    stream.readline(_MAX_LINE_BYTES)
    for line in stream:
        if line.startswith(b"{"):
            return
        try:
            item, repository, count = map(int, line.split())
        except ValueError:
            raise UsageError(
                f"{name}{SHARD_SUFFIX}: damaged shard file; audit this shard again"
            ) from None
        yield (item, repository), number, count


# -- Merge -------------------------------------------------------------------------

# Opens a report or its shard file by name; raises `UsageError`.
Opener = Callable[[str], AbstractContextManager[BinaryIO]]


def read_shard_reports(names: Sequence[str], open_file: Opener) -> list[ShardReport]:
    """The reports of all shards of one audit, by shard number.

    Raises `UsageError` if one is missing, is given twice, or is of another audit.
    """
    reports = []
    for name in names:
        with open_file(name + SHARD_SUFFIX) as stream:
            reports.append(ShardReport.read(stream, name))
    reports.sort(key=lambda report: report.shard.number or 0)
    _check_one_audit(reports)
    _check_complete(reports)
    return reports


def merge_records(reports: Sequence[ShardReport], open_file: Opener) -> Iterator[bytes]:
    """The lines of all records, one record at a time.

    Raises `UsageError` for a report that does not match its shard file.
    """
    # If that is refused, opening a report fails with a clear error.
    raise_open_files_limit(2 * len(reports) + _OTHER_FILES)
    records, positions = [], []
    with ExitStack() as stack:
        for number, report in enumerate(reports):
            stream = stack.enter_context(open_file(report.name))
            records.append(_records(report, stream))
            shard_file = stack.enter_context(open_file(report.name + SHARD_SUFFIX))
            positions.append(read_positions(shard_file, report.name, number))
        # Reports in completion order have no positions: one after the other.
        join = heapq.merge if reports[0].order is Order.INPUT else chain
        for _, number, count in join(*positions):
            for _ in range(count):
                record = next(records[number], None)
                if record is None:
                    raise _mismatch(reports[number])
                yield record
        for report, rest in zip(reports, records, strict=True):
            if next(rest, None) is not None:
                raise _mismatch(report)


def _check_one_audit(reports: Sequence[ShardReport]) -> None:
    first = with_input = reports[0]
    for report in reports[1:]:
        if report.shard.of != first.shard.of:
            raise UsageError(
                f"{report.name} is a shard of {report.shard.of} and {first.name} of"
                f" {first.shard.of}: not the shards of one audit"
            )
        if report.version != first.version:
            raise UsageError(
                f"{report.name} was written by auditor {report.version} and"
                f" {first.name} by {first.version}: audit all shards with one version"
            )
        differences = [
            key
            for key, value in first.settings.items()
            if report.settings.get(key) != value
        ]
        if differences:
            raise UsageError(
                f"{report.name} and {first.name} were made with different settings"
                f" ({', '.join(differences)}): not the shards of one audit"
            )
        # A shard that reached its deadline has not read its input to the end.
        if with_input.input is None:
            with_input = report
        elif report.input not in {None, with_input.input}:
            raise UsageError(
                f"{report.name} and {with_input.name} were made from different"
                " references or lists: not the shards of one audit"
            )


def _check_complete(reports: Sequence[ShardReport]) -> None:
    of = reports[0].shard.of
    for report, following in pairwise(reports):
        if report.shard.number == following.shard.number:
            raise UsageError(
                f"{report.name} and {following.name} are the same shard, {report.shard}"
            )
    missing = set(range(1, of + 1)) - {report.shard.number for report in reports}
    if missing:
        named = ", ".join(map(str, sorted(missing)[:_MAX_NAMED]))
        if len(missing) > _MAX_NAMED:
            named += " ..."
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"{len(missing)} of the {of} shards {verb} missing: {named}; give the"
            " reports of all shards"
        )


def _records(report: ShardReport, stream: BinaryIO) -> Iterator[bytes]:
    """The records of a report; raises `UsageError` if it has another length now."""
    records: Iterable[bytes] = stream
    if Shape(report.settings["shape"]) is not Shape.IMAGE:
        records = (b"".join(rows) for _, rows in groupby(stream, _row_reference))
    total = 0
    for record in records:
        total += len(record)
        yield record
    if total != report.bytes:
        raise _mismatch(report)


def _row_reference(line: bytes) -> object:
    """The reference of a row of the flat shapes; a new object for each failure."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError):
        row = orjson.loads(line)
        if row["kind"] != "failure":
            return str(row["reference"])
    return object()


def _mismatch(report: ShardReport) -> UsageError:
    return UsageError(
        f"{report.name}: does not match its shard file: it was changed or is"
        " incomplete; audit this shard again"
    )
