"""Where each record of a report stands: a line, or several in the flat shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import orjson

from auditor.fast_dataclass import dataclass

# Longer than a line of this program: an image has some hundred thousand layers at most
# (4 MiB of manifest), each told in some 200 bytes.
MAX_LINE_BYTES = 64 * 1024 * 1024

_ONE_LINE = frozenset({"image", "failure"})
_ROWS = frozenset({"platform", "layer"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One record: the bytes from `start`, `size` of them.

    `reference` is null where the record is of something in the input that stands for
    no reference, such as a malformed line or a list that could not be read.
    `interrupted`: it says only that there was no time for it.
    """

    start: int
    size: int
    reference: str | None
    interrupted: bool = False


def spans(stream: BinaryIO, start: int, *, ended: bool) -> Iterator[Span]:
    """The records from `start` on, up to the first line that is damaged or torn.

    In the flat shapes the lines of the last record may not be all: it is left out
    unless the file has `ended` as it should.
    """
    stream.seek(start)
    rows: Span | None = None
    while (line := stream.readline(MAX_LINE_BYTES)) and line.endswith(b"\n"):
        found = _read(line, start)
        if found is None:
            break
        span, is_row = found
        if rows is not None and is_row and rows.reference == span.reference:
            rows = Span(
                start=rows.start,
                size=rows.size + span.size,
                reference=rows.reference,
            )
        else:
            if rows is not None:
                yield rows
            rows = span if is_row else None
            if not is_row:
                yield span
        start += len(line)
    if rows is not None and ended:
        yield rows


def _read(line: bytes, start: int) -> tuple[Span, bool] | None:
    try:
        read = orjson.loads(line)
        kind, reference = read["kind"], read["reference"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(kind, str) or not isinstance(reference, str):
        return None
    if kind not in _ONE_LINE | _ROWS:
        return None
    names_one = read.get("tag") is not None or read.get("digest") is not None
    span = Span(
        start=start,
        size=len(line),
        reference=reference if names_one else None,
        interrupted=kind == "failure" and read.get("failure") == "interrupted",
    )
    return span, kind in _ROWS
