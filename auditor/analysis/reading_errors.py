"""What DuckDB says of a report that it cannot read, as a sentence for a person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from auditor.errors import UsageError
from auditor.util.text import safe_text

# Sentences name a file and hold a part of a line.
SENTENCE_CHARS = 400

# What DuckDB raises because of the data, the disk or the memory.
READING_ERRORS = (
    duckdb.InvalidInputException,
    duckdb.ConversionException,
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.InterruptException,
)

_MALFORMED = re.compile(
    r'Malformed JSON in file "(?P<file>.*)", at byte (?P<byte>\d+) in line'
    r" (?P<line>\d+): (?P<reason>.+?)\.?\s*$",
    re.MULTILINE,
)
_TRANSFORM = re.compile(
    r'JSON transform error in file "(?P<file>.*)", in line (?P<line>\d+):'
    r" (?P<reason>.+)$",
    re.MULTILINE,
)
_TOO_LONG = re.compile(
    r'"maximum_object_size" of (?P<bytes>\d+) bytes exceeded while reading file'
    r' "(?P<file>.*)"'
)
_GZIP = re.compile(r"(?P<reason>Unexpected end of|Input is not a) GZIP stream: (.*)")
_CLASS = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


@contextmanager
def reading_reports() -> Iterator[None]:
    """Turns `READING_ERRORS` into a `UsageError`, an interruption into Python's.

    A query that is wrong in itself stays DuckDB's error.
    """
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except READING_ERRORS as error:
        raise UsageError(sentence(error)) from None


def sentence(error: duckdb.Error) -> str:
    """What is wrong, and where: `report.jsonl: line 7: ...`."""
    text = str(error)
    if found := _MALFORMED.search(text):
        # DuckDB counts the line that it would have read next.
        line = int(found["line"]) - 1
        reason = found["reason"]
        if reason == "unexpected end of data":
            reason = "the line is cut off"
        said = f"{found['file']}: line {line}, byte {found['byte']}: {reason}"
    elif found := _TRANSFORM.search(text):
        said = f"{found['file']}: line {found['line']}: {found['reason']}"
    elif found := _TOO_LONG.search(text):
        limit_mib = int(found["bytes"]) // 1024**2
        said = f"{found['file']}: a line is longer than {limit_mib} MiB"
    elif found := _GZIP.search(text):
        cut = found["reason"].startswith("Unexpected")
        said = f"{found[2]}: {'the file is cut off' if cut else 'not a gzip file'}"
    elif isinstance(error, duckdb.OutOfMemoryException):
        said = f"not enough memory or room in TMPDIR: {_first_paragraph(text)}"
    else:
        said = _first_paragraph(text)
    return safe_text(said, SENTENCE_CHARS)


def _first_paragraph(text: str) -> str:
    return " ".join(_CLASS.sub("", text.partition("\n\n")[0]).split())
