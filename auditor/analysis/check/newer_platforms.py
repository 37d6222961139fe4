"""Newer tags that have the platforms which an image lacks (`required_platforms`).

Only the tags in the report are known: `auditor audit 'HOST/REPOSITORY:*'` audits all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import duckdb
import orjson

from auditor.fast_dataclass import dataclass
from auditor.oci.tag_order import NewerTags, TagContent, newer_text

# Rows that are inserted at once.
BATCH_ROWS = 10_000
# Tags of one repository that are compared, some 500 bytes each; of more nothing is
# said. No registry is known to have as many in one.
MAX_TAGS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewerTag:
    """A newer tag of the repository, and the missing platforms that it has."""

    tag: str
    platforms: tuple[str, ...]


# Tags of the repositories with missing platforms, those of a repository together.
_TAGS = """
    SELECT name, reference, tag, architectures, moved_us, missing, rule
    FROM (SELECT name, reference, tag, architectures, moved_us FROM checked
          WHERE kind = 'image' AND content = 'image' AND tag IS NOT NULL)
    SEMI JOIN (SELECT DISTINCT concat_ws('/', registry, repository) AS name
               FROM outcomes WHERE rule IN ({rules}))
          USING (name)
    LEFT JOIN (SELECT reference, rule, coalesce(nullif(found, []), unknown) AS missing
               FROM outcomes WHERE rule IN ({rules})) USING (reference)
    ORDER BY name, reference, rule"""


def create_newer_platforms(
    connection: duckdb.DuckDBPyConnection,
    accepted: Mapping[int, Mapping[str, Sequence[str]]],
) -> None:
    """Create the table `newer_platforms`, a row for a violated rule and reference.

    `newer` has the tags as JSON (`read_newer_tags`), NULL if there is nothing to
    compare with; `newer_text` is a sentence. `accepted` are the rules by number, with
    the platforms that count as a required one. The table is empty without rules.
    """
    connection.execute(
        "CREATE TABLE newer_platforms (rule INTEGER, reference VARCHAR, newer VARCHAR,"
        " newer_text VARCHAR)"
    )
    if not accepted:
        return
    # A cursor of its own: rows are inserted while others are still read.
    with connection.cursor() as cursor:
        cursor.execute(_TAGS.format(rules=", ".join(map(str, accepted))))
        batch: list[_Row] = []
        for _, rows in groupby(_rows(cursor), key=lambda row: row["name"]):
            batch += _newer_in_repository(list(rows), accepted)
            if len(batch) >= BATCH_ROWS:
                _insert(connection, batch)
                batch = []
        if batch:
            _insert(connection, batch)


def read_newer_tags(newer: str | None) -> tuple[NewerTag, ...] | None:
    """The tags of the column `newer`."""
    if newer is None:
        return None
    return tuple(
        NewerTag(tag=tag, platforms=tuple(platforms))
        for tag, platforms in orjson.loads(newer)
    )


# Of `newer_platforms`.
_Row = tuple[int, str, str | None, str]


def _insert(connection: duckdb.DuckDBPyConnection, rows: list[_Row]) -> None:
    # Lists as parameters: `executemany` takes a millisecond for each row.
    connection.execute(
        "INSERT INTO newer_platforms"
        " SELECT unnest(?), unnest(?), unnest(CAST(? AS VARCHAR[])), unnest(?)",
        [list(column) for column in zip(*rows, strict=True)],
    )


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in cursor.description or ()]
    while rows := cursor.fetchmany(BATCH_ROWS):
        for row in rows:
            yield dict(zip(names, row, strict=True))


def _newer_in_repository(
    rows: Sequence[dict[str, Any]], accepted: Mapping[int, Mapping[str, Sequence[str]]]
) -> Iterator[_Row]:
    contents = {
        row["reference"]: TagContent(
            tag=row["tag"], has=tuple(row["architectures"] or ()), time=row["moved_us"]
        )
        for row in rows
    }
    if len(contents) > MAX_TAGS:
        return
    newer = NewerTags(contents.values())
    for row in rows:
        if row["rule"] is None:
            continue
        rule, reference = row["rule"], row["reference"]
        if len(contents) == 1:
            text = "the report has no other tag of the repository"
            yield rule, reference, None, text
            continue
        names = accepted[rule]
        by_tag: dict[str | None, list[str]] = {}
        for name in row["missing"]:
            tag = newer.find(contents[reference], names.get(name, (name,)))
            by_tag.setdefault(tag, []).append(name)
        found = [(tag, names) for tag, names in by_tag.items() if tag is not None]
        text = "; ".join(newer_text(names, tag) for tag, names in by_tag.items())
        yield rule, reference, orjson.dumps(found).decode(), text
