"""Report files as SQL views.

DuckDB reads the files, compressed ones too (`.gz`, `.zst`), and spills to disk, so that
ten million lines can be queried on a small machine.

`open_reports` gives a connection with the view `lines`, one row per line of the files,
and the `VIEWS` on it that docs/reference/views.md describes, with a column `report`,
the name of the file, if there are several. Reading a line that is not part of a report
is an error: skipping it silently would make every result wrong.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

import dataclasses
import glob
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from auditor.analysis.completeness import check_whole, keep_whether_empty
from auditor.analysis.duckdb_connection import disk_error, quoted, work_database
from auditor.analysis.file_kind import FileKind, check_readable
from auditor.analysis.platform_sql import normalized_names, platform_name
from auditor.analysis.untagged_sql import IMAGES_OF_LINES, unused_untagged
from auditor.errors import AuditorError, OutputError, UsageError
from auditor.model import SCHEMA, FailureRecord, ImageRecord
from auditor.oci.attachments import DIGEST_TAG, END_OF_LIFE, LIFECYCLE_TYPE
from auditor.util.text import safe_text
from auditor.util.time_span import FIRST_IMAGE

# The longest line allowed. An index of 10,000 platforms (the most that is followed) of
# seven layers each, some 200 bytes a layer, is 15 MB. DuckDB allocates twice this for
# each thread.
MAX_LINE_BYTES = 64 * 1024 * 1024
# The length of an error message, which quotes a part of the line.
MAX_ERROR_CHARS = 400


@contextmanager
def open_reports(
    paths: Sequence[str],
    *,
    schema: str = "main",
    views: Collection[str] | None = None,
    unfinished: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the views of reports, given as files or globs.

    `views` are those that are read besides `lines`, by default all of them: DuckDB
    needs 10 ms to create one. Those that they read are created, too.
    `unfinished`: the report of an audit that did not come to its end is accepted, for
    what is no question about all of it.

    Temporary data is in a folder that is removed at the end. Raises `UsageError` for a
    file that is missing, is not a report, or turns out to be damaged while the views
    are read inside the `with`.
    """
    with work_database() as connection, reading_reports():
        add_reports(
            connection, paths, schema=schema, views=views, unfinished=unfinished
        )
        yield connection


def add_reports(
    connection: duckdb.DuckDBPyConnection,
    paths: Sequence[str],
    *,
    schema: str,
    views: Collection[str] | None = None,
    unfinished: bool = False,
) -> None:
    """Create the views of reports in a schema of the connection, and `USE` it.

    `views` and `unfinished` are as in `open_reports`.

    Raises `UsageError` for a missing file, or a file that is not a report.
    """
    files = report_paths(paths)
    if not unfinished:
        check_whole(files)
    patterns = [duckdb_pattern(file) for file in files]
    with reading_reports():
        _create_lines(connection, patterns, schema)
        add_views(connection, views, with_report=len(patterns) > 1)


def add_views(
    connection: duckdb.DuckDBPyConnection,
    views: Collection[str] | None,
    *,
    with_report: bool,
) -> None:
    """Create `VIEWS` of `lines`, by default all; none may have been created before.

    `with_report`: with a column `report`, which is there if there are several files.
    """
    needed = set(VIEWS if views is None else views)
    for name in reversed(VIEWS):
        if name in needed:
            needed |= VIEWS.keys() & set(re.findall(r"\bFROM (\w+)", VIEWS[name]))
    report = "report, " if with_report else ""
    for name, text in VIEWS.items():
        if name in needed:
            connection.execute(f"CREATE VIEW {name} AS SELECT {report}{text}")


def report_paths(
    paths: Sequence[str], *, kind: FileKind = FileKind.REPORT
) -> list[str]:
    """The files that paths and globs name, sorted, each file once.

    Raises `UsageError` if a path names no file, or a file cannot be read to its end, or
    is obviously none of this kind.
    """
    files: dict[Path, str] = {}
    for path in paths:
        # Path.glob does not accept absolute patterns.
        matches = [path] if Path(path).exists() else glob.glob(path, recursive=True)  # noqa: PTH207
        if not matches and path == "-":
            raise UsageError(f"-: {kind.noun} cannot be standard input; name a file")
        if not matches:
            raise UsageError(f"{safe_text(path)}: no such {kind}")
        for match in matches:
            files.setdefault(Path(match).resolve(), match)
    for file in files.values():
        check_readable(file, kind)
    return sorted(files.values())


def check_output(output: str, inputs: Sequence[str]) -> None:
    """Raise `UsageError` if the output file is one of the inputs; "-" never is."""
    if output == "-":
        return
    target = Path(output).resolve()
    for name in inputs:
        if any(Path(file).resolve() == target for file in (name, *glob.glob(name))):  # noqa: PTH207
            raise UsageError(
                f"{safe_text(output)}: is an input of this command; choose another"
                " output file"
            )


def duckdb_pattern(file: str) -> str:
    """The name of one file, escaped for DuckDB, which reads every name as a glob."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


# -- SQL expressions --


# OCI image-spec, annotations.md: used if the config was not fetched.
_CREATED = "org.opencontainers.image.created"


def creation_time(platform: str) -> str:
    """When a platform struct was created, as a TIMESTAMP in UTC; NULL if unknown.

    The row must have the `annotations` of the image.
    """
    time = f"""TRY_CAST(coalesce({platform}.created,
                                 map_extract(annotations, '{_CREATED}')[1])
                        AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"""
    return f"CASE WHEN {time} >= TIMESTAMP '{FIRST_IMAGE:%Y-%m-%d}' THEN {time} END"


# The last day of support, of the artifacts that say it; the earliest of several. The
# row must have the `attachments` of the image.
END_OF_LIFE_DATE = f"""
    list_min([TRY_CAST(left(map_extract(a.annotations, '{END_OF_LIFE}')[1], 10) AS DATE)
              FOR a IN attachments IF a.artifact_type = '{LIFECYCLE_TYPE}'])"""


def keep_last_lines(table: str, key: str) -> str:
    """A statement that deletes all rows of a `key` but the one that was audited last.

    The table needs a column `audited_at` and its rows in the order of the lines; of
    rows with the same time the last one is kept.
    """
    # count(*) spills to disk and max_by does not, so max_by gets only repeated keys.
    return f"""
        DELETE FROM {table} USING (
            SELECT {key}, max_by(rowid, row(audited_at, rowid)) AS kept
            FROM {table} SEMI JOIN (
                SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1) AS again
                USING ({key})
            GROUP BY {key}) AS twice
        WHERE {table}.{key} = twice.{key}
              AND {table}.rowid <> twice.kept"""


# -- columns --
# DuckDB's types of the fields of records.

_SCALARS: dict[Any, str] = {str: "VARCHAR", int: "BIGINT", bool: "BOOLEAN"}


@cache
def duckdb_columns(record: type) -> Mapping[str, str]:
    """DuckDB's types of the fields of a record, by name."""
    hints = typing.get_type_hints(record)
    return {
        field.name: _duckdb_type(hints[field.name])
        for field in dataclasses.fields(record)
    }


def _duckdb_type(hint: Any) -> str:
    if hint in _SCALARS:
        return _SCALARS[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        (optional,) = (option for option in arguments if option is not types.NoneType)
        return _duckdb_type(optional)
    if typing.get_origin(hint) is tuple:
        return f"{_duckdb_type(arguments[0])}[]"
    if typing.get_origin(hint) is dict:
        return f"MAP({_duckdb_type(arguments[0])}, {_duckdb_type(arguments[1])})"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return "VARCHAR"
    fields = ", ".join(
        f'"{name}" {kind}' for name, kind in duckdb_columns(hint).items()
    )
    return f"STRUCT({fields})"


# -- views --

# Any line that is neither an image nor a failure is an error.
_KIND = f"""
    CASE WHEN schema = {SCHEMA} AND kind IN ('image', 'failure') THEN
             CASE WHEN reference IS NULL THEN error(
                 concat(filename, ': not a report: a line without a reference'))
             ELSE kind END
         WHEN schema = {SCHEMA} AND kind IN ('platform', 'layer') THEN error(
             concat(filename, ': a report of shape ', kind,
                    '; this command needs one of shape image (audit without --shape)'))
         WHEN schema > {SCHEMA} THEN error(
             concat(filename, ': a report of schema ', schema,
                    ', written by a newer auditor; this one reads schema {SCHEMA}'))
         WHEN schema = {SCHEMA} AND kind = 'summary' THEN error(
             concat(filename, ': not a report but its summary (audit --summary)'))
         WHEN schema = {SCHEMA} AND kind = 'sbom' THEN error(
             concat(filename, ': not a report but an SBOM file; name it with --sbom'))
         WHEN schema IS NULL AND kind IS NULL THEN error(
             concat(filename, ': not a report: a line has neither schema nor kind;',
                    ' a report is what auditor audit -o writes'))
         ELSE error(
             concat(filename, ': not a report of schema {SCHEMA}: a line of schema ',
                    coalesce(schema::VARCHAR, '(none)'),
                    ' and kind ', coalesce(kind, '(none)')))
    END"""

# What the reference names (auditor.oci.content_kind), for records of earlier versions
# without `content`. Their images with an artifact type have a platform.
_CONTENT = f"""
    CASE WHEN content IS NOT NULL OR kind <> 'image' THEN content
         WHEN regexp_full_match(tag, '{DIGEST_TAG}')
              AND (len(architectures) = 0 OR tag GLOB '*.*' AND tag NOT GLOB '*.imgpkg')
         THEN 'attachment'
         WHEN artifact_type IS NOT NULL AND len(architectures) = 0 THEN 'artifact'
         ELSE 'image' END"""


# A separate expression: reading this column is most of the work.
_PLATFORMS = """
    CASE WHEN platforms IS NULL AND kind = 'image' THEN error(
             concat(filename, ': not a report: an image without platforms'))
         ELSE platforms END"""

# A TIMESTAMP in UTC, like `created`.
_AUDITED_AT = "TRY_CAST(audited_at AS TIMESTAMP) AS audited_at"


# The times of listings.
_LISTED = ("pushed_at", "pulled_at")
_LISTED_AT = ", ".join(
    f"TRY_CAST({name} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS {name}" for name in _LISTED
)


def _fields(record: type) -> str:
    names = [
        name for name in duckdb_columns(record) if name not in {*_LISTED, "audited_at"}
    ]
    listed = [_LISTED_AT] if record is ImageRecord else []
    return ", ".join([*names, *listed, _AUDITED_AT])


# An image is as old as its youngest platform, as in the page.
_YOUNGEST = f"list_max([{creation_time('p')} FOR p IN platforms])"

# Each view without the word SELECT, after those that it reads.
VIEWS = {
    "images": f"""
        {_fields(ImageRecord)}, {END_OF_LIFE_DATE} AS end_of_life,
        {_YOUNGEST} AS created
        FROM lines WHERE kind = 'image'""",
    "failures": f"{_fields(FailureRecord)} FROM lines WHERE kind = 'failure'",
    "platforms": f"""
        reference, registry, repository, tag, digest AS image_digest, content,
               nullif({platform_name("p")}, '') AS platform,
               p.os, p.architecture, p.variant, p.os_version,
               p.digest, p.media_type, p.config_digest,
               {creation_time("p")} AS created,
               p.config.user AS user, p.config.history AS history,
               p.config.labels AS labels,
               p.base.name AS base_name, p.base.digest AS base_digest, p.size,
               p.manifest_size, p.config_size,
               len(p.layers) AS layer_count, p.layers, p.layer_traits,
               p.alternatives, audited_at
        FROM (SELECT *, unnest(platforms) AS p FROM images)""",
    "layers": """
        reference, registry, repository, tag, image_digest, content, platform,
               digest AS platform_digest, position - 1 AS position,
               l.digest, l.size, l.media_type, audited_at
        FROM (SELECT *, unnest(layers) AS l,
                     generate_subscripts(layers, 1) AS position FROM platforms)""",
    "attachments": """
        reference, registry, repository, tag, digest AS image_digest,
               a.kind, a.artifact_type, a.digest, a.subject, a.predicates,
               a.size, a.blobs, a.tag AS attachment_tag, a.in_index,
               a.annotations, a.annotations_left_out, audited_at
        FROM (SELECT *, unnest(attachments) AS a FROM images)""",
    "bases": """
        reference, registry, repository, tag, digest AS image_digest,
               b.name, b.reference AS base_reference, b.digest, b.current_digest,
               b.is_stale, b.platforms, b.detail, audited_at
        FROM (SELECT *, unnest(bases) AS b FROM images)""",
    "signatures": """
        reference, registry, repository, tag, digest AS image_digest,
               s.format, s.state, s.keys, s.reason, s.identity,
               TRY_CAST(s.signed_at AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS signed_at,
               s.digest, audited_at
        FROM (SELECT *, unnest(signatures) AS s FROM images)""",
    "warnings": """
        reference, registry, repository, tag, digest AS image_digest,
               w.code, w.detail, audited_at
        FROM (SELECT *, unnest(warnings) AS w FROM images)""",
    "untagged": f"""
        reference, registry, repository, digest, media_type, content, size,
               unused, needed_as, needed_by, {_LISTED_AT}, {_AUDITED_AT}
        FROM (SELECT * FROM lines WHERE kind = 'image' AND untagged)
             JOIN (SELECT * EXCLUDE (registry, repository, digest, content)
                   FROM ({unused_untagged(IMAGES_OF_LINES, "lines")}))
                  USING (report, reference)""",
    "sources": """
        reference, registry, repository, tag, kind,
               s.list, s.place, s.namespace, s.workload, s.container, input_labels,
               TRY_CAST(audited_at AS TIMESTAMP) AS audited_at
        FROM (SELECT *, unnest(sources) AS s FROM lines)""",
    "input_labels": """
        reference, registry, repository, tag, kind, name, value,
               TRY_CAST(audited_at AS TIMESTAMP) AS audited_at
        FROM (SELECT *, label.key AS name, unnest(label.value) AS value
              FROM (SELECT *, unnest(map_entries(input_labels)) AS label
                    FROM lines))""",
}


def _create_lines(
    connection: duckdb.DuckDBPyConnection, patterns: Sequence[str], schema: str
) -> None:
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'USE "{schema}"')
    types = {**duckdb_columns(FailureRecord), **duckdb_columns(ImageRecord)}
    # Reading all columns of the first line takes five times as long.
    first = {name: types[name] for name in ("schema", "kind", "reference")}
    line = connection.execute(
        f"SELECT {_KIND} FROM {_read_json(patterns, first)} LIMIT 1"
    ).fetchone()
    keep_whether_empty(connection, schema, empty=line is None)
    connection.execute(f"""
        CREATE VIEW lines AS
        SELECT * EXCLUDE (filename)
               REPLACE ({_KIND} AS kind, {_PLATFORMS} AS platforms,
                        {normalized_names("architectures")} AS architectures,
                        {_CONTENT} AS content),
               filename AS report
        FROM {_read_json(patterns, types)}""")


def _read_json(patterns: Sequence[str], types: Mapping[str, str]) -> str:
    """The lines of files with these columns, and the name of the file."""
    files = ", ".join(quoted(pattern) for pattern in patterns)
    columns = ", ".join(
        f"{quoted(name)}: {quoted(kind)}" for name, kind in types.items()
    )
    return f"""read_json([{files}], columns = {{{columns}}}, filename = true,
                              format = 'newline_delimited',
                              maximum_object_size = {MAX_LINE_BYTES})"""


# -- errors of DuckDB --

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
_ERROR_CLASS = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


@contextmanager
def reading_reports() -> Iterator[None]:
    """Turn `READING_ERRORS` into `reading_error`, an interrupt into KeyboardInterrupt.

    Other errors of DuckDB, such as that of an invalid query, are not changed.
    """
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except READING_ERRORS as error:
        raise reading_error(error) from None


def reading_error(error: duckdb.Error) -> AuditorError:
    """An `OutputError` if memory or the disk of the work database is full.

    Otherwise a `UsageError`: a report cannot be read.
    """
    if full := disk_error(error):
        return full
    if isinstance(error, duckdb.OutOfMemoryException):
        return OutputError(error_text(error))
    return UsageError(error_text(error))


def error_text(error: duckdb.Error) -> str:
    """The error and its place as one line: `report.jsonl: line 7: ...`."""
    text = str(error)
    if match := _MALFORMED.search(text):
        # DuckDB gives the number of the line that it would have read next.
        line = int(match["line"]) - 1
        reason = match["reason"]
        if reason.startswith("unexpected end of data"):
            reason = "the line is truncated"
        message = f"{match['file']}: line {line}, byte {match['byte']}: {reason}"
    elif match := _TRANSFORM.search(text):
        message = f"{match['file']}: line {match['line']}: {match['reason']}"
    elif match := _TOO_LONG.search(text):
        limit_mib = int(match["bytes"]) // 1024**2
        message = f"{match['file']}: a line is longer than {limit_mib} MiB"
    elif match := _GZIP.search(text):
        truncated = match["reason"].startswith("Unexpected")
        message = f"{match[2]}: " + (
            "the file is truncated" if truncated else "not a gzip file"
        )
    elif isinstance(error, duckdb.OutOfMemoryException):
        message = f"out of memory or of space in TMPDIR: {_first_paragraph(text)}"
    else:
        message = _first_paragraph(text)
    return safe_text(message, MAX_ERROR_CHARS)


def _first_paragraph(text: str) -> str:
    return " ".join(_ERROR_CLASS.sub("", text.partition("\n\n")[0]).split())
