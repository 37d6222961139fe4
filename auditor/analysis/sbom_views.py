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
from auditor.analysis.report_views import (
    MAX_LINE_BYTES,
    duckdb_columns,
    duckdb_pattern,
    reading_reports,
)
from auditor.model import SCHEMA
from auditor.oci.sbom import MAX_SUBJECTS
from auditor.report.sbom_file import SbomRecord

_KIND = f"""
    CASE WHEN schema = {SCHEMA} AND kind = 'sbom' AND attachment IS NOT NULL
         THEN kind
         WHEN schema > {SCHEMA} AND kind = 'sbom' THEN error(
             concat(filename, ': SBOMs of schema ', schema,
                    ', written by a newer auditor; this one reads schema {SCHEMA}'))
         WHEN kind IN ('image', 'failure', 'platform', 'layer') THEN error(
             concat(filename, ': not an SBOM file but a report; an SBOM file is what',
                    ' auditor audit --sbom writes'))
         ELSE error(
             concat(filename, ': not a file of auditor audit --sbom: a line of schema ',
                    coalesce(schema::VARCHAR, '(none)'),
                    ' and kind ', coalesce(kind, '(none)')))
    END"""

# The digest that an SBOM is about is that of a platform, or of the image itself: then
# it is about all platforms, unless the image is a single one.
_PLATFORM = f"""nullif(list_extract(
    [{platform_name("p")} FOR p IN platforms IF p.digest = about], 1), '')"""


def about_list(subjects: str, attached_to: str, image: str, platforms: str) -> str:
    """SQL: the digests of an image that an SBOM is about, a list; empty for another's.

    What the in-toto statement names (`subjects`) counts; if it names nothing, or too
    much, or by other algorithms, what the SBOM is attached to. `platforms` is the list
    of the digests of the `image`.
    """
    algorithm = f"split_part({image}, ':', 1)"
    named = f"[n FOR n IN {subjects} IF split_part(n, ':', 1) = {algorithm}]"
    is_unknown = f"coalesce(len({named}), 0) = 0 OR len({subjects}) >= {MAX_SUBJECTS}"
    return f"""
        CASE WHEN {is_unknown} OR list_contains({subjects}, {attached_to})
             THEN [coalesce({attached_to}, {image})]
             WHEN list_contains({subjects}, {image}) THEN [{image}]
             ELSE list_intersect({platforms}, {subjects}) END"""


_ABOUT = about_list(
    "s.subjects", "a.subject", "images.digest", "[p.digest FOR p IN platforms]"
)
_ATTACHED = f"""
    (SELECT images.*, a, s, {_ABOUT} AS about_list
     FROM (SELECT *, unnest(attachments) AS a FROM images) AS images
     JOIN (SELECT sbom_lines AS s FROM sbom_lines WHERE kind = 'sbom')
         ON s.attachment = a.digest)"""

_NAMES = f"""reference, registry, repository, tag, digest AS image_digest,
               {_PLATFORM} AS platform"""

# Each view without the word SELECT.
SBOM_VIEWS = {
    "sboms": f"""
        {_NAMES}, a.digest AS attachment, a.subject, s.digest AS sbom_digest,
               s.format, s.format_version, len(s.packages) AS package_count,
               s.packages_left_out, s.failure, s.detail, s.warnings, s.subjects,
               CASE WHEN s.failure IS NULL THEN len(about_list) > 0 END AS about_image,
               audited_at
        FROM (SELECT *, CASE len(about_list) WHEN 1 THEN about_list[1] END AS about
              FROM {_ATTACHED})""",
    "packages": f"""
        {_NAMES}, found.name, found.version, found.type, found.purl, found.license,
               found.source, found.source_version, a.digest AS attachment,
               s.digest AS sbom_digest, audited_at
        FROM (SELECT *, unnest(s.packages) AS found
              FROM (SELECT *, unnest(about_list) AS about FROM {_ATTACHED}))""",
}


def add_sbom_views(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    *,
    with_report: bool = False,
) -> None:
    """Create `sbom_lines` of these files, and `SBOM_VIEWS` if there are `images`.

    `with_report`: the views of the reports have the column `report`, so these have it,
    too. Without files, `sbom_lines` is empty. Raises `UsageError` for a file that is
    not one of `audit --sbom`.
    """
    columns = ", ".join(
        f"{quoted(name)}: {quoted(kind)}"
        for name, kind in duckdb_columns(SbomRecord).items()
    )
    if not files:
        connection.execute(f"CREATE TABLE sbom_lines ({_EMPTY_COLUMNS})")
        return
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


_EMPTY_COLUMNS = ", ".join(
    f'"{name}" {kind}' for name, kind in duckdb_columns(SbomRecord).items()
)

_HAS_IMAGES = """
    SELECT 1 FROM duckdb_views()
    WHERE schema_name = current_schema() AND view_name = 'images'"""
