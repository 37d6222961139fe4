"""The SBOM files of audits as SQL views, beside those of their reports.

`add_sbom_views` adds `sbom_lines`, one row per line of the files, and on it and the
views of the reports `SBOM_VIEWS`: `sboms`, a row for each SBOM of an image, and
`packages`, a row for each package in it.
"""

# ruff: noqa: S608  (the SQL is made of constants and quoted values)

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from auditor.analysis.duckdb_connection import quoted
from auditor.analysis.platform_sql import platform_name
from auditor.analysis.reports import (
    MAX_LINE_BYTES,
    duckdb_columns,
    duckdb_pattern,
    reading_reports,
)
from auditor.model import SCHEMA
from auditor.report.sbom_file import SbomRecord

_KIND = f"""
    CASE WHEN schema = {SCHEMA} AND kind = 'sbom' AND attachment IS NOT NULL
         THEN kind
         WHEN schema > {SCHEMA} AND kind = 'sbom' THEN error(
             concat(filename, ': SBOMs of schema ', schema,
                    ', written by a newer auditor; this one reads schema {SCHEMA}'))
         ELSE error(
             concat(filename, ': not a file of auditor audit --sbom: a line of schema ',
                    coalesce(schema::VARCHAR, '(none)'),
                    ' and kind ', coalesce(kind, '(none)')))
    END"""

# The digest that the SBOM is about is that of a platform, or of the image itself: then
# it is about all platforms, unless the image is a single one.
_PLATFORM = f"""nullif(list_extract(
    [{platform_name("p")} FOR p IN platforms IF p.digest = a.subject], 1), '')"""

_ATTACHED = f"""
    (SELECT *, {_PLATFORM} AS platform
     FROM (SELECT *, unnest(attachments) AS a FROM images))"""

_NAMES = """reference, registry, repository, tag, digest AS image_digest, platform"""

# Each view without the word SELECT.
SBOM_VIEWS = {
    "sboms": f"""
        {_NAMES}, a.digest AS attachment, a.subject, s.sbom_digest,
               s.format, s.format_version, s.package_count, s.packages_left_out,
               s.failure, s.detail, s.warnings, s.subjects, audited_at
        FROM {_ATTACHED} JOIN (
            SELECT attachment, digest AS sbom_digest, format, format_version,
                   len(packages) AS package_count, packages_left_out, failure, detail,
                   warnings, subjects
            FROM sbom_lines WHERE kind = 'sbom') AS s ON s.attachment = a.digest""",
    "packages": f"""
        {_NAMES}, s.p.name, s.p.version, s.p.type, s.p.purl, s.p.license, s.p.source,
               s.p.source_version, a.digest AS attachment, s.sbom_digest, audited_at
        FROM {_ATTACHED} JOIN (
            SELECT attachment, digest AS sbom_digest, unnest(packages) AS p
            FROM sbom_lines WHERE kind = 'sbom') AS s ON s.attachment = a.digest""",
}


def add_sbom_views(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    *,
    with_report: bool = False,
) -> None:
    """Create `sbom_lines` of these files, and `SBOM_VIEWS` if there are `images`.

    `with_report`: the views of the reports have the column `report`, so these have it,
    too. Raises `UsageError` for a file that is not one of `audit --sbom`.
    """
    columns = ", ".join(
        f"{quoted(name)}: {quoted(kind)}"
        for name, kind in duckdb_columns(SbomRecord).items()
    )
    names = ", ".join(quoted(duckdb_pattern(file)) for file in files)
    # The same document is in the files of several nights.
    once = "DISTINCT ON (attachment, digest)" if len(files) > 1 else ""
    connection.execute(f"""
        CREATE VIEW sbom_lines AS
        SELECT {once} * EXCLUDE (filename) REPLACE ({_KIND} AS kind)
        FROM read_json([{names}], columns = {{{columns}}}, filename = true,
                       format = 'newline_delimited',
                       maximum_object_size = {MAX_LINE_BYTES})""")
    with reading_reports():
        connection.execute("SELECT kind FROM sbom_lines LIMIT 1").fetchall()
    if connection.execute(_HAS_IMAGES).fetchone() is None:
        return
    report = "report, " if with_report else ""
    for name, text in SBOM_VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS SELECT {report}{text}")


_HAS_IMAGES = """
    SELECT 1 FROM duckdb_views()
    WHERE schema_name = current_schema() AND view_name = 'images'"""
