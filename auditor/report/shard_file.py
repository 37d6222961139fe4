"""`OUT.shard`: where the records of a shard's report are in the whole input.

The first line is a JSON header: which shard of what audit. Then each line
`ITEM REPOSITORY COUNT` gives the input position of the next COUNT records. The last
line is a JSON trailer, written when the report is complete: the report's length and
the shard's summary. Together the shard files let `auditor merge` restore the input
order without guessing (merge.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, InputPosition, Order
from auditor.report.locked_journal import write_all
from auditor.util.atomic_file import replace_durably
from auditor.util.shard import Shard
from auditor.version import __version__

SHARD_SUFFIX = ".shard"

# Some hundred lines: one system call.
_PIECE_BYTES = 16 * 1024
# A header has some dozen settings; a trailer has a summary with at most 2,000 listings
# of some 600 bytes.
_MAX_LINE_BYTES = 16 * 1024 * 1024


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
        self._report = report
        self._path = report.with_name(report.name + SHARD_SUFFIX)
        self._partial = report.with_name(report.name + SHARD_SUFFIX + ".partial")
        self._buffer = bytearray()
        self._position: InputPosition = (0, 0)
        self._count = 0
        try:
            # The file of an earlier report does not describe the new one.
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)
            self._file = self._partial.open("xb", buffering=0)
        except OSError as error:
            raise self._error(error) from None
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

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, position: InputPosition) -> None:
        """Note the input position of the next record of the report."""
        if position == self._position:
            self._count += 1
            return
        self._write_count()
        self._position, self._count = position, 1

    def commit(
        self, summary: Mapping[str, Any], *, input_digest: str | None = None
    ) -> None:
        """Write the trailer and give the file its name; the report is complete.

        `input_digest` is over the whole input, None if it was not read to its end.
        """
        self._write_count()
        try:
            self._write_json(
                {
                    "kind": "end",
                    "bytes": self._report.stat().st_size,
                    "input": input_digest,
                    "summary": dict(summary),
                }
            )
            self._flush()
            os.fsync(self._file.fileno())
            self._file.close()
            replace_durably(self._partial, self._path)
        except OSError as error:
            raise self._error(error) from None

    def _write_json(self, line: Mapping[str, Any]) -> None:
        self._buffer += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _write_count(self) -> None:
        if self._count:
            self._buffer += b"%d %d %d\n" % (*self._position, self._count)
        if len(self._buffer) >= _PIECE_BYTES:
            try:
                self._flush()
            except OSError as error:
                raise self._error(error) from None

    def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        write_all(self._file.fileno(), data)

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written: {error.strerror}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """The header and trailer of a shard file.

    `bytes` is the length of the report; `input` is the digest of the whole input, None
    if it was not read to its end.
    """

    shard: Shard
    version: str
    order: Order
    settings: Mapping[str, Any]
    bytes: int
    input: str | None
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, stream: BinaryIO, name: str) -> Self:
        """Read both lines. Raises `UsageError` if the file is incomplete."""
        header = _parse_json(stream.readline(_MAX_LINE_BYTES), "shard")
        trailer: Mapping[str, Any] | None = None
        if header is not None:
            for line in stream:
                if line.startswith(b"{"):
                    trailer = _parse_json(line, "end")
                    break
        try:
            assert header is not None
            assert trailer is not None
            return cls(
                shard=Shard(number=int(header["shard"]), of=int(header["of"])),
                version=str(header["auditor"]),
                order=Order(header["order"]),
                settings=dict(header["settings"]),
                bytes=int(trailer["bytes"]),
                input=trailer["input"],
                summary=dict(trailer["summary"]),
            )
        except (AssertionError, KeyError, TypeError, ValueError):
            raise UsageError(
                f"{name}: incomplete shard file: the audit of this shard did not"
                " finish; audit it again"
            ) from None


def read_positions(stream: BinaryIO, name: str) -> Iterator[tuple[InputPosition, int]]:
    """The input positions in a shard file, each with its number of records."""
    stream.readline(_MAX_LINE_BYTES)
    for line in stream:
        if line.startswith(b"{"):
            return
        try:
            item, repository, count = map(int, line.split())
        except ValueError:
            raise UsageError(
                f"{name}: damaged shard file; audit this shard again"
            ) from None
        yield (item, repository), count


def _parse_json(line: bytes, kind: str) -> Mapping[str, Any] | None:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and value.get("kind") == kind else None
