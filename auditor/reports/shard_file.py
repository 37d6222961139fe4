"""`OUT.shard`: what the report of one share needs to be put together with the others.

A JSON line says which share it is and of what; a line `ITEM REPOSITORY COUNT` for each
run of records says where in the whole input they stand; a last JSON line, which is
there when the report is whole, says how long it is and holds the summary. Without all
the shares of one audit there is no whole, so nothing here is ever guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import orjson

from auditor.config import Order
from auditor.errors import OutputError, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.shard import Shard
from auditor.version import __version__

SUFFIX = ".shard"

Turn = tuple[int, int]

# Runs are written in pieces of some hundred lines.
_PIECE_BYTES = 16 * 1024
# A first line holds some dozen settings, a last one a summary with at most 2,000
# listings of some 600 bytes.
_MAX_LINE_BYTES = 16 * 1024 * 1024


class ShardFile:
    """Written beside a report while it is made. `place` is called for each record."""

    def __init__(
        self,
        report: Path,
        shard: Shard,
        *,
        settings: Mapping[str, object],
        order: Order,
    ) -> None:
        self._report = report
        self._path = report.with_name(report.name + SUFFIX)
        self._partial = report.with_name(report.name + SUFFIX + ".partial")
        self._buffer = bytearray()
        self._turn: Turn = (0, 0)
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

    def place(self, turn: Turn) -> None:
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
class ShardHead:
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


def runs(stream: BinaryIO, name: str) -> Iterator[tuple[Turn, int]]:
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
