"""Whether reports can answer a question, and for which repositories they cannot.

What a report lacks looks like what is not there, or like what nothing needs. There are
four ways in which something can be missing:

- The audit did not come to its end, or there is no record at all: `check_whole` and
  `check_not_empty` refuse such reports.
- A reference failed (`MAY_BE_THERE`): it can be anything, such as an index that needs
  others. What the registry does not have (`NOT_THERE`) needs nothing. For a repository
  of which the report has nothing, "not found" may mean "hidden from this account": that
  matters to what is about a whole registry (`not_audited`).
- A listing failed (`FAILED_LISTING`), which stands in a report as one failure of all
  tags that its pattern matches: it has neither tag nor digest, and its reference is
  `registry/repository:pattern`. DuckDB's GLOB reads tag patterns as
  `fnmatch.fnmatchcase` does.
- A record lacks parts (`LACKS_PARTS`): they were too many, could not be read, or an
  earlier version did not name them.

`incomplete_places` puts the last three together.
"""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import FailureKind, UsageError
from auditor.model import WarningCode
from auditor.util.text import safe_text

if TYPE_CHECKING:
    import duckdb


def check_whole(files: Sequence[str]) -> None:
    """Raise `UsageError` for a report of an audit that did not come to its end."""
    for file in filter(_is_unfinished, files):
        raise UsageError(
            f"{safe_text(file)}: the report of an audit that did not come to its end;"
            " finish it with --resume"
        )


def unfinished_notices(files: Sequence[str]) -> Iterator[str]:
    """A sentence for each report of an audit that did not come to its end."""
    for file in filter(_is_unfinished, files):
        yield (
            f"{safe_text(file)}: the audit did not come to its end, so this is a part"
            " of its references; finish it with --resume"
        )


def _is_unfinished(file: str) -> bool:
    return ".partial" in Path(file).suffixes


def keep_whether_empty(
    connection: duckdb.DuckDBPyConnection, schema: str, *, empty: bool
) -> None:
    """Remember for `is_empty` whether the reports of a schema have no record."""
    connection.execute(f'SET VARIABLE "{schema}_is_empty" = {empty}')


def is_empty(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the reports of the schema in use have no record at all."""
    found = connection.execute(
        "SELECT getvariable(current_schema() || '_is_empty')"
    ).fetchone()
    return found != (False,)


def check_not_empty(connection: duckdb.DuckDBPyConnection, purpose: str) -> None:
    """Raise `UsageError` if the reports of the connection have no record at all."""
    if is_empty(connection):
        raise UsageError(f"the report is empty: {purpose}")


def several_days(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """A sentence for each registry whose lines were audited more than a day apart.

    What was deleted between two reports has a line in the earlier one only, and looks
    as if it was there. The connection has a table `line`.
    """
    rows = connection.execute(_SPANS).fetchall()
    for registry, first, last in rows:
        yield (
            f"note: {safe_text(registry)} was audited on several days ({first} to"
            f" {last}): what was deleted in between counts as there; of several nights,"
            " give the last one's reports only"
        )


_SPANS = """
    SELECT registry, strftime(min(audited), '%Y-%m-%d'),
           strftime(max(audited), '%Y-%m-%d')
    FROM (SELECT registry, TRY_CAST(audited_at AS TIMESTAMP) AS audited FROM line
          WHERE registry IS NOT NULL)
    GROUP BY registry HAVING max(audited) - min(audited) > INTERVAL 1 DAY
    ORDER BY registry LIMIT 10"""


# -- SQL: references that failed --

# The kinds of failures of what a registry does not have.
NOT_THERE = f"'{FailureKind.VANISHED}', '{FailureKind.NOT_FOUND}'"

# The condition of a pattern that matches no tag: its listing succeeded.
MATCHES_NOTHING = f"""
    (failure = '{FailureKind.NOT_FOUND}' AND status IS NULL AND tag IS NULL
     AND digest IS NULL)"""

# The condition of a failed listing.
FAILED_LISTING = f"""
    kind = 'failure' AND repository IS NOT NULL AND tag IS NULL AND digest IS NULL
    AND NOT {MATCHES_NOTHING}"""

# The condition of a failure that may be a manifest of a repository of which the reports
# have others, and need these. An account that can read one manifest of a repository can
# read all of them: what was not found there does not exist. A listing that was not
# found says nothing about that.
MAY_BE_THERE = f"""
    (kind = 'failure' AND registry IS NOT NULL
     AND (failure NOT IN ({NOT_THERE})
          OR failure = '{FailureKind.NOT_FOUND}' AND {FAILED_LISTING}))"""


def not_audited(images: str) -> str:
    """The condition of a failure that may be anything in its registry.

    `images` is a table of what the reports have, by `registry` and `repository`. A
    registry answers 404 for what does not exist and for what it hides: "not found" in
    a repository that is not in the table may be hidden. A line of a list that could
    not be read has no registry. What vanished during the audit is not there.
    """
    return f"""
    (kind = 'failure'
     AND (registry IS NULL OR {MAY_BE_THERE}
          OR failure = '{FailureKind.NOT_FOUND}' AND NOT {MATCHES_NOTHING}
             AND coalesce((registry, repository) NOT IN (
                     SELECT (registry, repository) FROM {images}), true)))"""


# The pattern of tags, from the reference of a failed listing.
TAG_PATTERN = "substr(reference, length(registry) + length(repository) + 3)"


def path_glob(repository: str) -> str:
    """A glob that matches at least what the pattern matches: `*` also matches `/`."""
    glob = repository
    for stars in ("/**/", "**/", "**"):
        glob = f"replace({glob}, '{stars}', '*')"
    return f"CASE WHEN regexp_matches({repository}, '[*?[]') THEN {glob} END"


# -- SQL: records that lack parts --

# Warnings of an index or an image that may need more than its record says.
_CODES = ", ".join(
    f"'{code}'"
    for code in (WarningCode.PARTS_LEFT_OUT, WarningCode.ATTACHMENTS_UNKNOWN)
)

# The condition of an index whose record, of an earlier version, does not name the
# children that `--platform` left out.
HAS_UNNAMED_CHILDREN = (
    "(coalesce(platforms_left_out, 0) > 0 AND other_children IS NULL)"
)
# The condition of an image whose record lacks children or attachments.
LACKS_PARTS = (
    f"(len([w FOR w IN warnings IF w.code IN ({_CODES})]) > 0"
    f" OR {HAS_UNNAMED_CHILDREN})"
)
# The condition of an image that can have attachments which nobody looked for.
UNEXAMINED = (
    f"(signed IS NULL OR has_sbom IS NULL OR has_provenance IS NULL OR {LACKS_PARTS})"
)


def incomplete_places(records: str, failures: str, place: Sequence[str]) -> str:
    """A query for the repositories of which the reports lack something.

    Without one of its manifests it is not known what the others of a repository are
    for. `records` names a table of images with `lacks_parts`, `failures` one of the
    lines with `MAY_BE_THERE`; `place` are the columns of a repository, `repository`
    the last. The pattern of a failed listing counts for each repository it may match.
    """
    names = ", ".join(place)
    same = " AND ".join(f"failed.{name} = here.{name}" for name in place[:-1])
    # Repositories, not references: each pattern is compared with all of a registry.
    # Two joins: one with both conditions would compare all with all.
    return f"""
        WITH here AS (SELECT DISTINCT {names} FROM {records}),
        failed_here AS (
            SELECT DISTINCT {names}, {path_glob("repository")} AS path_glob
            FROM {failures} WHERE {MAY_BE_THERE})
        SELECT {names} FROM {records} WHERE lacks_parts
        UNION
        SELECT {names} FROM here SEMI JOIN failed_here USING ({names})
        UNION
        SELECT {", ".join(f"here.{name}" for name in place)}
        FROM here JOIN (FROM failed_here WHERE path_glob IS NOT NULL) AS failed
             ON {same} AND here.repository GLOB failed.path_glob"""
