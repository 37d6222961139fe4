"""Report files as tables (`VIEWS`).

DuckDB reads them, compressed ones too (`.gz`, `.zst`), and works out of core, so that
ten million lines fit on a small machine.
"""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

import dataclasses
import glob
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import duckdb

from auditor.analysis.duckdb_connection import quoted, work_database
from auditor.errors import UsageError
from auditor.model import SCHEMA, FailureRecord, ImageRecord
from auditor.util.text import safe_text

# -- columns --
# The columns of a report in DuckDB's types, derived from the records.

_SCALARS: dict[Any, str] = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}


def report_columns() -> dict[str, str]:
    """Name and type of every column that an image or failure line may have."""
    return {**_columns(FailureRecord), **_columns(ImageRecord)}


def columns_of_images() -> tuple[str, ...]:
    """The names of an image line, in its order."""
    return tuple(_columns(ImageRecord))


def columns_of_failures() -> tuple[str, ...]:
    """The names of a failure line, in its order."""
    return tuple(_columns(FailureRecord))


def _columns(record: type) -> dict[str, str]:
    hints = typing.get_type_hints(record)
    return {
        field.name: _type(hints[field.name]) for field in dataclasses.fields(record)
    }


def _type(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        (known,) = (option for option in arguments if option is not types.NoneType)
        return _type(known)
    if typing.get_origin(hint) is tuple:
        return f"{_type(arguments[0])}[]"
    if typing.get_origin(hint) is dict:
        return f"MAP({_type(arguments[0])}, {_type(arguments[1])})"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "VARCHAR"
    fields = ", ".join(f'"{name}" {kind}' for name, kind in _columns(hint).items())
    return f"STRUCT({fields})"


# -- expressions --
# Pieces of SQL that several questions need.


def platform_name(platform: str) -> str:
    """`os/architecture[/variant]` of a platform struct, as in `architectures`.

    Empty for what has no platform, such as an artifact: unlike null it joins.
    """
    one = platform
    return f"""
        CASE WHEN {one}.os <> '' AND {one}.architecture <> ''
             THEN concat_ws('/', {one}.os, {one}.architecture,
                            nullif({one}.variant, ''))
             ELSE '' END"""


def keep_last_lines(table: str, key: str) -> str:
    """A statement that leaves one row of each `key`: the latest, the later of equals.

    The table needs a column `audited_at` and its rows in the order of their lines.
    """
    # Counting spills to disk; what `max_by` holds does not, so it sees few rows.
    return f"""
        DELETE FROM {table} USING (
            SELECT {key}, max_by(rowid, row(audited_at, rowid)) AS kept
            FROM {table} SEMI JOIN (
                SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1) AS again
                USING ({key})
            GROUP BY {key}) AS twice
        WHERE {table}.{key} = twice.{key}
              AND {table}.rowid <> twice.kept"""


# -- reading_errors --
# What DuckDB says of a report that it cannot read, as a sentence for a person.

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


# -- views --
# The lines of reports as tables: images, platforms, layers and so on (`VIEWS`).


# A line of an index with the 10,000 children that are followed at most, of seven
# layers of some 200 bytes each, is 15 MB; this is several times that. DuckDB's buffers
# grow with it, twice for each thread.
MAX_LINE_BYTES = 64 * 1024 * 1024

# Every line is an image or a failure: any other would be missing from every answer.
_KIND = f"""
    CASE WHEN schema = {SCHEMA} AND kind IN ('image', 'failure') THEN
             CASE WHEN reference IS NULL THEN error(
                 concat(filename, ': not a report: a line without a reference'))
             ELSE kind END
         WHEN schema = {SCHEMA} AND kind IN ('platform', 'layer') THEN error(
             concat(filename, ': a report of shape ', kind,
                    '; one of shape image is needed'))
         ELSE error(
             concat(filename, ': not a report of schema {SCHEMA}: a line of schema ',
                    coalesce(schema::VARCHAR, '(none)'),
                    ' and kind ', coalesce(kind, '(none)')))
    END"""

# Asked only where the column is: it takes most of a line's time to read.
_PLATFORMS = """
    CASE WHEN platforms IS NULL AND kind = 'image' THEN error(
             concat(filename, ': not a report: an image without platforms'))
         ELSE platforms END"""

# What `auditor query` documents. The flat views repeat what names the reference.
VIEWS = {
    "images": f"""
        SELECT {", ".join(columns_of_images())} FROM lines WHERE kind = 'image'""",
    "failures": f"""
        SELECT {", ".join(columns_of_failures())} FROM lines WHERE kind = 'failure'""",
    "platforms": """
        SELECT reference, registry, repository, tag, digest AS image_digest,
               CASE WHEN p.os != '' AND p.architecture != '' THEN
                   concat_ws('/', p.os, p.architecture, nullif(p.variant, ''))
               END AS platform,
               p.os, p.architecture, p.variant, p.os_version,
               p.digest, p.media_type, p.config_digest, p.created,
               p.config.user AS user, p.config.history AS history,
               p.config.labels AS labels,
               p.base.name AS base_name, p.base.digest AS base_digest, p.size,
               len(p.layers) AS layer_count, p.layers, p.layer_traits, audited_at
        FROM (SELECT *, unnest(platforms) AS p FROM images)""",
    "layers": """
        SELECT reference, registry, repository, tag, image_digest, platform,
               digest AS platform_digest, position - 1 AS position,
               l.digest, l.size, l.media_type, audited_at
        FROM (SELECT *, unnest(layers) AS l,
                     generate_subscripts(layers, 1) AS position FROM platforms)""",
    "attachments": """
        SELECT reference, registry, repository, tag, digest AS image_digest,
               a.kind, a.artifact_type, a.digest, a.subject, a.predicates, audited_at
        FROM (SELECT *, unnest(attachments) AS a FROM images)""",
    "warnings": """
        SELECT reference, registry, repository, tag, digest AS image_digest,
               w.code, w.detail, audited_at
        FROM (SELECT *, unnest(warnings) AS w FROM images)""",
}


def create_views(
    connection: duckdb.DuckDBPyConnection, patterns: Sequence[str], *, schema: str
) -> None:
    """Make `lines` and the `VIEWS` of report files in a schema, which is then in use.

    `patterns` are file names as DuckDB reads them: globs, so they may need escapes.
    """
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'USE "{schema}"')
    columns = ", ".join(
        f"{quoted(name)}: {quoted(kind)}" for name, kind in report_columns().items()
    )
    files = ", ".join(quoted(pattern) for pattern in patterns)
    connection.execute(f"""
        CREATE VIEW lines AS
        SELECT * EXCLUDE (filename) REPLACE ({_KIND} AS kind, {_PLATFORMS} AS platforms)
        FROM read_json([{files}], columns = {{{columns}}}, filename = true,
                       format = 'newline_delimited',
                       maximum_object_size = {MAX_LINE_BYTES})""")
    for name, text in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {text}")


# -- zstd_frames --
# Is a .zst file whole? (RFC 8878, section 3.1)
#
# DuckDB takes the end of a torn file for the end of its content, and lines that are
# missing from a report must not go unnoticed. Only the headers of frames and blocks are
# read here, nothing is decompressed: 10 GB take well under a second.

_MAGIC = 0xFD2FB528
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)  # section 3.1.2
_DICTIONARY_BYTES = (0, 1, 2, 4)  # by the descriptor's bits 0-1
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)  # by its bits 6-7
_CHECKSUM_BYTES = 4
_RLE = 1  # a block of one byte, repeated
_RESERVED = 3


def is_whole(file: BinaryIO) -> bool:
    """Whether a seekable file is a sequence of whole zstd frames, and nothing else.

    An empty file is not: a compressor writes a frame even for nothing.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        while True:
            _skip_frame(file)
            if file.tell() >= end:
                return file.tell() == end
    except (EOFError, ValueError):
        return False


def _skip_frame(file: BinaryIO) -> None:
    magic = _number(file, 4)
    if magic in _SKIPPABLE:
        file.seek(_number(file, 4), os.SEEK_CUR)
        return
    if magic != _MAGIC:
        raise ValueError(magic)
    descriptor = _number(file, 1)
    single_segment = descriptor >> 5 & 1
    content_size = _CONTENT_SIZE_BYTES[descriptor >> 6]
    file.seek(
        (1 - single_segment)  # the window's descriptor
        + _DICTIONARY_BYTES[descriptor & 3]
        + (content_size or single_segment),
        os.SEEK_CUR,
    )
    last = False
    while not last:
        header = _number(file, 3)
        last = bool(header & 1)
        kind = header >> 1 & 3
        if kind == _RESERVED:
            raise ValueError(header)
        file.seek(1 if kind == _RLE else header >> 3, os.SEEK_CUR)
    if descriptor >> 2 & 1:
        file.seek(_CHECKSUM_BYTES, os.SEEK_CUR)


def _number(file: BinaryIO, count_bytes: int) -> int:
    read = file.read(count_bytes)
    if len(read) < count_bytes:
        raise EOFError
    return int.from_bytes(read, "little")


__all__ = [
    "VIEWS",
    "add_reports",
    "check_output",
    "duckdb_pattern",
    "open_reports",
    "report_paths",
]


@contextmanager
def open_reports(
    paths: Sequence[str], *, schema: str = "main"
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the reports are views. `paths` may be globs.

    What DuckDB writes goes into a temporary folder that is removed. `UsageError` says
    what is not there, is no report, or is found to be damaged while the views are
    read inside the `with`.
    """
    with work_database() as connection, reading_reports():
        add_reports(connection, paths, schema=schema)
        yield connection


def add_reports(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[str], *, schema: str
) -> None:
    """Make the reports' views in `schema` of a connection, and use it (see `VIEWS`).

    `UsageError` where a file is not there or its first line is not one of a report.
    """
    patterns = [duckdb_pattern(file) for file in report_paths(paths)]
    with reading_reports():
        create_views(connection, patterns, schema=schema)
        connection.execute("SELECT kind FROM lines LIMIT 1").fetchall()


def report_paths(paths: Sequence[str]) -> list[str]:
    """The files that paths and globs name, sorted, each file once.

    `UsageError` where there is none, or where one cannot be read to its end.
    """
    found: dict[Path, str] = {}
    for path in paths:
        # Path.glob knows no absolute pattern.
        matches = [path] if Path(path).exists() else glob.glob(path, recursive=True)  # noqa: PTH207
        if not matches and path == "-":
            raise UsageError("-: a report is read more than once: name a file")
        if not matches:
            raise UsageError(f"{safe_text(path)}: no such report")
        for match in matches:
            found.setdefault(Path(match).resolve(), match)
    files = sorted(found.values())
    for file in files:
        _check(file)
    return files


def check_output(output: str, inputs: Sequence[str]) -> None:
    """Refuse to write over what is read: `UsageError`. "-" is standard output."""
    if output == "-":
        return
    target = Path(output).resolve()
    for name in inputs:
        if any(Path(file).resolve() == target for file in (name, *glob.glob(name))):  # noqa: PTH207
            raise UsageError(
                f"{safe_text(output)}: is read by this command, so it cannot be"
                " written by it; name another file"
            )


def duckdb_pattern(file: str) -> str:
    """The name of one file as DuckDB, which reads every name as a glob, wants it."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


def _check(file: str) -> None:
    try:
        with Path(file).open("rb") as opened:
            if not opened.seekable():
                raise UsageError(f"{safe_text(file)}: a report is read more than once")
            if file.endswith(".zst") and not is_whole(opened):
                raise UsageError(
                    f"{safe_text(file)}: the file is cut off or not a zstd file"
                )
    except OSError as error:
        raise UsageError(f"{safe_text(file)}: {error.strerror or error}") from None
