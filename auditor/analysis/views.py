"""The lines of reports as tables: images, platforms, layers and so on (`VIEWS`)."""

# ruff: noqa: S608  (SQL is made of this program's own texts, values are quoted)

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from auditor.analysis.columns import (
    columns_of_failures,
    columns_of_images,
    report_columns,
)
from auditor.analysis.duckdb_connection import quoted
from auditor.model import SCHEMA

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
