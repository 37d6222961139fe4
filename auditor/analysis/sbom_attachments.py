"""The attachments of a report that may have SBOMs: each once, with where it is."""

# ruff: noqa: S608  (the SQL is made of constants)

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from auditor.analysis.report_views import open_reports
from auditor.oci.attachments import sbom_condition

# Registry, repository and location, as in a record.
Place = tuple[str, str, str | None]
# The digest of an attachment, where it is, and what it is attached to.
Row = tuple[str, list[Place], list[str]]

# Attachments at once; also how often a signal is looked at.
BATCH = 64
# Repositories that are asked for the same attachment, until one has it.
MAX_PLACES = 3

_DISTINCT = f"""
    CREATE TABLE wanted AS
    SELECT a.digest,
           list_sort(list(DISTINCT {{registry: registry, repository: repository,
                                    location: location}}))[1:{MAX_PLACES}] AS places,
           coalesce(list(DISTINCT a.subject) FILTER (a.subject IS NOT NULL), [])
               AS subjects
    FROM (SELECT registry, repository, location, unnest(attachments) AS a
          FROM lines WHERE kind = 'image' AND len(attachments) > 0)
    WHERE {sbom_condition("a")}
    GROUP BY a.digest"""


class SbomAttachments:
    """The attachments, sorted by digest; `count` is their number."""

    def __init__(self, count: int, rows: Iterator[list[Row]]):
        self.count = count
        self._rows = rows

    def next_batch(self) -> list[Row]:
        """The next digests with their places and subjects; empty at the end."""
        return next(self._rows, [])


@contextmanager
def sbom_attachments(report: str) -> Iterator[SbomAttachments]:
    """The attachments of a report file that may have SBOMs."""
    with open_reports([report], views=()) as connection:
        connection.execute(_DISTINCT)
        ((count,),) = connection.execute("SELECT count(*) FROM wanted").fetchall()
        cursor = connection.execute(
            "SELECT digest, places, subjects FROM wanted ORDER BY digest"
        )

        def rows() -> Iterator[list[Row]]:
            while batch := cursor.fetchmany(BATCH):
                yield [
                    (
                        digest,
                        [
                            (one["registry"], one["repository"], one["location"])
                            for one in places
                        ],
                        subjects,
                    )
                    for digest, places, subjects in batch
                ]

        yield SbomAttachments(count, rows())
