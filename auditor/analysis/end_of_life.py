"""When the support of images ends: by what is attached to them, and by a table.

The sources of a date, of which the earliest counts:

- an artifact that is attached to the image or to one of its platforms
  (`auditor.oci.attachments.LIFECYCLE_TYPE`);
- a table of patterns, for the image's own reference;
- the table, for the base image that it names;
- an image in the same report that has a date by one of the first two, if it is the
  same image, a base that the image names, or one with whose layers those of one of its
  platforms begin.

It cannot be known for an image that has no date and a platform without a base: none is
named, or only the digest of one that is not in the report, and no other image of the
report ends where its own layers begin.
"""

# ruff: noqa: S608  (the SQL is made of constants and names of tables)

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from auditor.analysis.base_names import canonical_base
from auditor.analysis.report_views import END_OF_LIFE_DATE, keep_last_lines

if TYPE_CHECKING:
    import duckdb

# As in `analysis.layers`: Docker allows no more, and it bounds hostile manifests.
_MAX_BASE_LAYERS = 127


def create_end_of_life(
    connection: duckdb.DuckDBPyConnection, table: Mapping[str, date], *, lines: str
) -> None:
    """Create the table `end_of_life` of the images in the view `lines`.

    A row for each reference to an image: `ends` is the last day of its support,
    `source` says by what it is known; both are NULL if there is no date. `is_known`:
    there is a date, or each platform has a base. `audited_on` is the day of the audit.
    `table` has the last day by pattern; the table `eol_unused` has the patterns that
    match neither an image nor a base.
    """
    connection.execute("CREATE TABLE eol_pattern (pattern VARCHAR, ends DATE)")
    if table:
        connection.executemany(
            "INSERT INTO eol_pattern VALUES (?, ?)", list(map(list, table.items()))
        )
    connection.execute(_LINES.replace("$lines", lines))
    connection.execute(keep_last_lines("eol_line", "reference"))
    for statement in _TABLES:
        connection.execute(statement)


_LINES = f"""
    CREATE TABLE eol_line AS
    SELECT reference, registry, digest, audited_at,
           TRY_CAST(left(audited_at, 10) AS DATE) AS audited_on,
           {END_OF_LIFE_DATE} AS attached,
           [{{'manifest': p.digest, 'name': p.base.name, 'digest': p.base.digest,
              'layers': [l.digest FOR l IN p.layers[1:{_MAX_BASE_LAYERS + 1}]]}}
            FOR p IN platforms IF p.layers IS NOT NULL] AS platforms
    FROM $lines WHERE kind = 'image' AND content = 'image'"""

_TABLES = (
    # The dates that an image has itself, those of a base for what is built on it.
    """CREATE TABLE eol_own AS
       SELECT reference, attached AS ends, 'its lifecycle artifact' AS source
       FROM eol_line WHERE attached IS NOT NULL
       UNION ALL
       SELECT reference, ends, concat('the table, ', pattern)
       FROM eol_line JOIN eol_pattern
            ON reference GLOB pattern
               OR substr(reference, length(registry) + 2) GLOB pattern""",
    f"""CREATE TABLE eol_named AS
       SELECT reference, manifest, name, digest, {canonical_base("name")} AS full_name
       FROM (SELECT reference, p.manifest, p.name, p.digest
             FROM (SELECT reference, unnest(platforms) AS p FROM eol_line))
       WHERE coalesce(name, digest) IS NOT NULL""",
    # A base without a name is only known if it is in the report.
    """CREATE TABLE eol_digest AS
       SELECT digest FROM eol_line
       UNION SELECT unnest([p.manifest FOR p IN platforms]) FROM eol_line""",
    """CREATE TABLE eol_unused AS
       SELECT pattern FROM eol_pattern
       WHERE NOT EXISTS (
           FROM eol_line
           WHERE reference GLOB pattern
              OR substr(reference, length(registry) + 2) GLOB pattern)
       AND NOT EXISTS (
           FROM (SELECT DISTINCT name, full_name FROM eol_named)
           WHERE full_name GLOB pattern OR name GLOB pattern)""",
    """CREATE TABLE eol_layers AS
       SELECT DISTINCT manifest, layers, len(layers) AS n,
              md5_number(array_to_string(layers, ' ')) AS prefix
       FROM (SELECT p.manifest, p.layers
             FROM (SELECT unnest(platforms) AS p FROM eol_line))
       WHERE len(layers) > 0""",
    # Each layer list of a manifest that another image can begin with.
    f"""CREATE TABLE eol_prefix AS
       SELECT manifest, n, md5_number(array_to_string(layers[1:n], ' ')) AS prefix
       FROM (SELECT manifest, layers,
                    unnest(range(1, least(n, {_MAX_BASE_LAYERS} + 1))) AS n
             FROM eol_layers)
       SEMI JOIN (SELECT DISTINCT n FROM eol_layers) USING (n)""",
    # The earliest date of what a name of a base can mean: a reference, a digest, or a
    # manifest of an index. One row for a name, however many tags have it.
    """CREATE TABLE eol_at AS
       SELECT name, min(ends) AS ends,
              min_by(concat(reference, ', ', source),
                     row(ends, length(reference), reference, length(source), source))
                AS source
       FROM (SELECT reference AS name, reference FROM eol_line
             UNION ALL SELECT digest, reference FROM eol_line
             UNION ALL
             SELECT p.manifest, reference
             FROM (SELECT reference, unnest(platforms) AS p FROM eol_line))
            JOIN eol_own USING (reference)
       GROUP BY name""",
    # A row for each list of layers that is a whole image, however many have it.
    """CREATE TABLE eol_probable AS
       SELECT eol_prefix.manifest, base.ends, base.source
       FROM eol_prefix JOIN (
           SELECT n, prefix, min(ends) AS ends,
                  min_by(source, row(ends, length(source), source)) AS source
           FROM eol_layers LEFT JOIN eol_at ON eol_at.name = eol_layers.manifest
           GROUP BY n, prefix) AS base USING (n, prefix)""",
    """CREATE TABLE eol_of_base AS
       SELECT reference, ends,
              concat('the table, ', pattern, ', for its base ', name) AS source
       FROM (SELECT DISTINCT name, full_name FROM eol_named) AS base
            JOIN eol_pattern ON full_name GLOB pattern OR name GLOB pattern
            JOIN (SELECT DISTINCT reference, name FROM eol_named) USING (name)
       UNION ALL
       SELECT named.reference, ends, concat('its base ', source)
       FROM (SELECT reference, unnest([full_name, digest]) AS name FROM eol_named)
              AS named JOIN eol_at USING (name)
       UNION ALL
       SELECT reference, ends, concat('the same image ', source)
       FROM eol_line JOIN eol_at ON name = digest
       UNION ALL
       SELECT own.reference, ends, concat('its probable base ', source)
       FROM (SELECT reference, p.manifest
             FROM (SELECT reference, unnest(platforms) AS p FROM eol_line)) AS own
            JOIN eol_probable USING (manifest)
       WHERE ends IS NOT NULL""",
    """CREATE TABLE end_of_life AS
       WITH dated AS (
           SELECT reference, min(ends) AS ends,
                  min_by(source, row(ends, length(source), source)) AS source
           FROM (FROM eol_own UNION ALL FROM eol_of_base) GROUP BY reference),
       unknown AS (
           SELECT DISTINCT reference
           FROM (SELECT reference, p.manifest
                 FROM (SELECT reference, unnest(platforms) AS p FROM eol_line))
                ANTI JOIN (FROM eol_named
                           WHERE name IS NOT NULL OR digest IN (FROM eol_digest))
                    USING (reference, manifest)
                ANTI JOIN eol_probable USING (manifest)),
       without_layers AS (
           SELECT reference FROM eol_line WHERE len(platforms) = 0)
       SELECT reference, ends, source, audited_on,
              ends IS NOT NULL OR reference NOT IN (
                  FROM unknown UNION ALL FROM without_layers) AS is_known
       FROM eol_line LEFT JOIN dated USING (reference)""",
)
