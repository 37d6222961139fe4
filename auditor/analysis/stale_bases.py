"""Images whose base has moved, and which rebuild mends most of them.

`audit --check-bases` records what the names of base images point at. A build is a
digest in a repository: one rebuild mends all tags that point at it. Images of the
report that are built on it, by the name or the digest of their base, have to be rebuilt
after it.

`open_base_inventory` loads the report into tables and yields a `BaseInventory`;
`base_lines` prints it as text, Markdown, CSV or JSON lines.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auditor.analysis.base_names import canonical_base
from auditor.analysis.completeness import check_not_empty
from auditor.analysis.csv_lines import csv_rows
from auditor.analysis.duckdb_connection import limit_clause, stream_rows
from auditor.analysis.pinned_bases import resolve_pinned_bases
from auditor.analysis.report_views import keep_last_lines, open_reports
from auditor.analysis.text_tables import (
    TitledTable,
    code_column,
    count_column,
    result_lines,
    text_column,
)
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA
from auditor.util.terminal import PIPE, Screen
from auditor.util.text import format_count

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseUse:
    """A base image that images name, and how many of their builds are stale.

    A build is a digest in a repository.

    - `base`: the reference that was asked, or the name if none was
    - `current_digest`: what it points at now; None if that is not known
    - `stale`, `current`: number of builds
    - `unknown`: number of builds that were asked for without a result
    - `not_asked`: number of the others
    - `references`: number of tags of all builds
    - `stale_references`: number of tags of stale builds
    """

    schema: int = SCHEMA
    kind: str = "base"
    base: str
    current_digest: str | None
    stale: int
    current: int
    unknown: int
    not_asked: int
    stale_references: int
    references: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """A build that is stale.

    - `reference`: one of its tags
    - `references`: the number of its tags
    - `bases`: the stale ones
    - `mends`: number of references that point at the build, and of those of images in
      the report that are built on it, or on one of these
    - `after`: an image that it is built on and that is stale, too: rebuild that one
      first
    """

    schema: int = SCHEMA
    kind: str = "rebuild"
    reference: str
    repository: str
    registry: str
    digest: str
    mends: int
    references: int
    bases: tuple[str, ...]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTotals:
    """The last line of `--format jsonl`: references to images, by their bases.

    - `stale`: one of its bases is stale
    - `current`: all are known, and none is stale
    - `unknown`: none is stale, and one is not known
    - `not_asked`: it names a base, and the audit did not ask for it
    - `unnamed`: it names no base that the audit has read
    - `failures`: references that were not audited
    """

    schema: int = SCHEMA
    kind: str = "totals"
    images: int
    stale: int
    current: int
    unknown: int
    not_asked: int
    unnamed: int
    failures: int


class BaseInventory:
    """The bases of a report; usable while its connection is open.

    A `limit` of 0 means no limit.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = stream_rows(connection, _TOTALS)
        self.totals = BaseTotals(**row)

    def count(self, table: str) -> int:
        """The number of rows of the table `base_use` or `rebuild`."""
        (row,) = stream_rows(self._connection, f"SELECT count(*) AS n FROM {table}")
        return int(row["n"])

    def bases(self, *, limit: int = 0) -> Iterator[BaseUse]:
        """Bases that images name, those with most stale builds first."""
        rows = stream_rows(
            self._connection,
            "SELECT * FROM base_use ORDER BY stale DESC, stale_references DESC,"
            f' "references" DESC, base, current_digest{limit_clause(limit)}',
        )
        return (BaseUse(**row) for row in rows)

    def rebuilds(self, *, limit: int = 0) -> Iterator[Rebuild]:
        """Stale builds, those first whose rebuild mends most references."""
        rows = stream_rows(
            self._connection,
            "SELECT * FROM rebuild ORDER BY mends DESC, after IS NOT NULL,"
            f" registry, repository, digest{limit_clause(limit)}",
        )
        for row in rows:
            row["bases"] = tuple(row["bases"])
            yield Rebuild(**row)


@contextmanager
def open_base_inventory(paths: Sequence[str]) -> Iterator[BaseInventory]:
    """Load the bases of a report, given as files or globs.

    If the report has several lines of a reference, the last one counts. Raises
    `UsageError` for a report that cannot be read, is empty or unfinished.
    """
    with open_reports(paths, schema="report", views=()) as connection:
        check_not_empty(connection, "there are no images with bases")
        connection.execute("USE main")
        lines = resolve_pinned_bases(connection, lines="report.lines")
        connection.execute(_LOAD.replace("$lines", lines))
        connection.execute(keep_last_lines("line", "reference"))
        for statement in _TABLES:
            connection.execute(statement)
        yield BaseInventory(connection)


# -- SQL --

# Without a check, what the platforms name; `checked` tells them apart.
_LOAD = f"""
    CREATE TABLE line AS
    SELECT reference, registry, repository, digest, kind, content, audited_at,
           bases IS NOT NULL AS checked, coalesce(bases_left_out, 0) AS left_out,
           CASE WHEN bases IS NOT NULL THEN
             [{{'base': coalesce(b.reference, b.name, b.digest),
                'reference': b.reference, 'digest': b.digest,
                'current_digest': b.current_digest, 'is_stale': b.is_stale}}
              FOR b IN bases]
           ELSE list_distinct(
             [{{'base': coalesce({canonical_base("p.base.name")}, p.base.digest),
                'reference': {canonical_base("p.base.name")}, 'digest': p.base.digest,
                'current_digest': CAST(NULL AS VARCHAR),
                'is_stale': CAST(NULL AS BOOLEAN)}}
              FOR p IN platforms
              IF coalesce(p.base.name, p.base.digest) IS NOT NULL])
           END AS bases,
           [p.digest FOR p IN platforms] AS manifests
    FROM $lines"""

_TABLES = (
    # Tags of one build name the same bases.
    """CREATE TABLE build AS
       SELECT registry, repository, digest, row_number() OVER () AS id,
              count(*) AS "references",
              min_by(reference, row(length(reference), reference)) AS reference,
              bool_or(checked) AS checked, max_by(bases, row(checked, audited_at))
                AS bases, any_value(manifests) AS manifests
       FROM line WHERE kind = 'image' AND content = 'image'
       GROUP BY registry, repository, digest""",
    """CREATE TABLE named AS
       SELECT id, checked, "references", b.base, b.reference, b.digest,
              b.current_digest, b.is_stale
       FROM (SELECT *, unnest(bases) AS b FROM build) WHERE b.base IS NOT NULL""",
    # A build with platforms of several verdicts is stale if one of them is.
    """CREATE TABLE base_use AS
       SELECT base, current_digest,
              count(*) FILTER (is_stale) AS stale,
              count(*) FILTER (checked AND known AND NOT coalesce(is_stale, false))
                AS current,
              count(*) FILTER (checked AND NOT known AND NOT coalesce(is_stale, false))
                AS unknown,
              count(*) FILTER (NOT checked) AS not_asked,
              coalesce(sum("references") FILTER (is_stale), 0)::BIGINT
                AS stale_references,
              sum("references")::BIGINT AS "references"
       FROM (SELECT id, base, max(current_digest) AS current_digest, any_value(checked)
                    AS checked, any_value("references") AS "references",
                    bool_or(is_stale) AS is_stale, bool_and(is_stale IS NOT NULL)
                    AS known
             FROM named GROUP BY id, base)
       GROUP BY base, current_digest""",
    """CREATE TABLE place AS
       SELECT line.reference AS name, id FROM line
              JOIN build USING (registry, repository, digest)
       UNION ALL SELECT digest, id FROM build
       UNION ALL SELECT unnest(manifests), id FROM build""",
    """CREATE TABLE built_on AS
       SELECT child, id AS parent
       FROM (SELECT id AS child, unnest([reference, digest]) AS name FROM named)
            JOIN place USING (name)
       WHERE child <> id GROUP BY ALL""",
    """CREATE TABLE rebuild AS
       WITH RECURSIVE stale AS (
           SELECT id, list_sort(list_distinct(list(base))) AS bases
           FROM named WHERE is_stale GROUP BY id),
       below(root, id) AS (
           SELECT id, id FROM stale
           UNION
           SELECT root, child FROM below JOIN built_on ON parent = below.id),
       mended AS (
           SELECT root AS id, sum("references")::BIGINT AS mends
           FROM below JOIN build ON build.id = below.id GROUP BY root),
       first AS (
           SELECT child AS id, min(build.reference) AS after
           FROM built_on SEMI JOIN stale ON stale.id = parent
                JOIN build ON build.id = parent
           GROUP BY child)
       SELECT reference, repository, registry, digest, mends, "references",
              stale.bases AS bases, after
       FROM stale JOIN build USING (id) JOIN mended USING (id)
            LEFT JOIN first USING (id)""",
)

_TOTALS = """
    WITH state AS (
        SELECT CASE WHEN NOT checked AND len(bases) > 0 THEN 'not_asked'
                    WHEN len([b FOR b IN bases IF b.is_stale]) > 0 THEN 'stale'
                    WHEN left_out > 0
                         OR len([b FOR b IN bases IF b.is_stale IS NULL]) > 0
                    THEN 'unknown'
                    WHEN len(bases) > 0 THEN 'current' ELSE 'unnamed' END AS state
        FROM line WHERE kind = 'image' AND content = 'image')
    SELECT count(*) AS images,
           count(*) FILTER (state = 'stale') AS stale,
           count(*) FILTER (state = 'current') AS current,
           count(*) FILTER (state = 'unknown') AS unknown,
           count(*) FILTER (state = 'not_asked') AS not_asked,
           count(*) FILTER (state = 'unnamed') AS unnamed,
           (SELECT count(*) FROM line WHERE kind = 'failure') AS failures
    FROM state"""


# -- output --


def base_lines(
    inventory: BaseInventory, form: str, limit: int, screen: Screen = PIPE
) -> Iterator[str]:
    """The lines of `--format text|jsonl|markdown|csv`.

    JSON lines have every row, then the totals; CSV has the images to rebuild, because
    it is one table. `limit` is the maximum number of rows per table in the other
    formats, 0 for all.
    """
    if form == "csv":
        return csv_rows(Rebuild, inventory.rebuilds())
    return result_lines(
        form,
        summary=_summary_lines(inventory),
        tables=_tables(inventory, limit),
        documents=_documents(inventory),
        screen=screen,
    )


def _documents(inventory: BaseInventory) -> Iterator[object]:
    yield from inventory.bases()
    yield from inventory.rebuilds()
    yield inventory.totals


def _summary_lines(inventory: BaseInventory) -> Iterator[str]:
    totals = inventory.totals
    yield (
        f"{format_count(totals.images, 'image')}: {totals.stale:,} with a stale base,"
        f" {totals.current:,} current"
    )
    if totals.unknown:
        yield f"unknown: {totals.unknown:,}; auditor query shows why (bases.detail)"
    if totals.not_asked:
        yield (f"not asked: {totals.not_asked:,} name a base; audit with --check-bases")
    if totals.unnamed:
        yield (
            f"no base named: {totals.unnamed:,}; labels need audit --image-config"
            " always"
        )
    if totals.failures:
        yield (
            f"{format_count(totals.failures, 'reference')} could not be audited;"
            " bases unknown"
        )


def _tables(inventory: BaseInventory, limit: int) -> Iterator[TitledTable]:
    yield TitledTable(
        title="base images",
        columns=(
            code_column("base"),
            code_column("current digest", "current_digest", missing="(unknown)"),
            *map(count_column, ("stale", "current", "unknown")),
            count_column("not asked", "not_asked"),
            count_column("tags", "references"),
        ),
        rows=tuple(inventory.bases(limit=limit)),
        total=inventory.count("base_use"),
        note="stale, current: numbers of builds, which several tags can point at",
    )
    yield TitledTable(
        title="images to rebuild",
        columns=(
            code_column("image", "reference"),
            *map(count_column, ("mends",)),
            count_column("tags", "references"),
            code_column("stale base", lambda row: " ".join(row.bases)),
            text_column("rebuild after", "after"),
        ),
        rows=tuple(inventory.rebuilds(limit=limit)),
        total=inventory.count("rebuild"),
        note="mends: tags of the image, and of images in the report that are built on"
        " it",
    )
