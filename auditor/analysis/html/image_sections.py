"""Sections about the images: their platforms, their attachments, their ages.

Signatures, Helm charts and other manifests that are no image (`content`) do not count.
"""

# ruff: noqa: S608  (the SQL is made of constants of this file)

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from types import SimpleNamespace

from auditor.analysis.html.report_lines import IS_REPOSITORY, ReportLines, ShownRows

# 300 rows are some screens of a table that can be searched; with 20 columns they make
# a few hundred kilobytes. Docker's official images: 144 repositories, 17 platforms.
MAX_REPOSITORIES = 300
MAX_PLATFORMS = 20
MAX_LABELS = 50
MAX_BASES = 50
MAX_KEYS = 64

# -- repositories by platform --

# Repositories with most images first.
_MATRIX_ROWS = """
    SELECT registry, repository AS name, count(*) FILTER (content = 'image') AS images,
           count(*) FILTER (kind = 'failure') AS failures,
           count(*) OVER () AS total
    FROM line WHERE {is_repository}
    GROUP BY registry, repository
    ORDER BY images DESC, failures DESC, registry, repository LIMIT {limit}"""
# `machine` is the architecture with its variant.
_PLATFORMS = """
    SELECT name, count(*) AS images, count(*) OVER () AS total,
           split_part(name, '/', 1) AS system,
           coalesce(nullif(substr(name, length(system) + 2), ''), name) AS machine
    FROM (SELECT unnest(architectures) AS name FROM line WHERE content = 'image')
    GROUP BY name ORDER BY images DESC, name LIMIT {limit}"""
_CELLS = """
    WITH shown AS ({repositories})
    SELECT registry, name, platform, count(*) AS images
    FROM (SELECT registry, name, unnest(architectures) AS platform
          FROM (SELECT *, repository AS name FROM line)
               SEMI JOIN shown USING (registry, name))
    GROUP BY ALL"""


def read_platforms(lines: ReportLines) -> SimpleNamespace:
    """The repositories with most images by the platforms that most images have.

    `platforms` are the columns, grouped by operating system: `systems` are their names
    and numbers of columns. A row of `repositories` has a cell for each column.
    """
    query = _MATRIX_ROWS.format(limit=MAX_REPOSITORIES, is_repository=IS_REPOSITORY)
    counts = {
        (row.registry, row.name, row.platform): row.images
        for row in lines.rows(_CELLS.format(repositories=query))
    }
    platforms = lines.shown(_PLATFORMS.format(limit=MAX_PLATFORMS))
    # Operating systems in the order of their most frequent platform.
    order = list(dict.fromkeys(column.system for column in platforms.rows))
    columns = sorted(platforms.rows, key=lambda column: order.index(column.system))
    repositories = lines.shown(query)
    for row in repositories.rows:
        row.cells = [
            image_share(
                counts.get((row.registry, row.name, column.name), 0), row.images
            )
            for column in columns
        ]
    return SimpleNamespace(
        platforms=ShownRows(rows=columns, total=platforms.total),
        systems=tuple(Counter(column.system for column in columns).items()),
        repositories=repositories,
    )


def image_share(images: int, total: int) -> SimpleNamespace:
    """A number of images; `level` is 0 for none of `total`, 1 to 3, 4 for all.

    0 of 0 counts as none. A number above 0 is never shown as level 0, and one below
    `total` never as 4.
    """
    if images >= total:
        return SimpleNamespace(images=images, level=4 if images else 0)
    return SimpleNamespace(images=images, level=images and 1 + 3 * images // total)


# -- attachments, labels and bases --
# That something is attached does not mean that it is valid.

# Title, report field, and the words that find images with and without it.
_ATTACHMENTS = (
    ("Signature", "signed", "signed", "unsigned"),
    ("SBOM", "has_sbom", "sbom", "no-sbom"),
    ("Provenance", "has_provenance", "provenance", "no-provenance"),
)

_COUNTS = ", ".join(
    f"count(*) FILTER ({field}) AS {field}_yes,"
    f" count(*) FILTER (NOT {field}) AS {field}_no"
    for _, field, _, _ in _ATTACHMENTS
)
_COVERAGE = f"SELECT {_COUNTS} FROM line WHERE content = 'image'"
# Repositories that lack most come first.
_LACKING = " + ".join(f"{field}_no" for _, field, _, _ in _ATTACHMENTS)
_LACKING_ROWS = f"""
    SELECT registry, repository AS name, count(*) AS images, {_COUNTS},
           count(*) OVER () AS total
    FROM line WHERE content = 'image' GROUP BY registry, repository
    ORDER BY {_LACKING} DESC, registry, repository LIMIT {{limit}}"""
_LABELS = """
    WITH one AS (SELECT label.key AS name, label.value AS value, count(*) AS images
                 FROM (SELECT unnest(labels) AS label FROM line) GROUP BY ALL),
    images AS (SELECT name, count(*) AS images
               FROM (SELECT unnest(list_distinct([l.key FOR l IN labels])) AS name
                     FROM line) GROUP BY name)
    SELECT name, images.images, count(*) AS "values",
           max_by(value, row(one.images, value)) AS most,
           max(one.images) AS most_images, count(*) OVER () AS total
    FROM one JOIN images USING (name) GROUP BY ALL
    ORDER BY images DESC, name LIMIT {limit}"""
_BASES = """
    SELECT coalesce(base.name, base.digest) AS name,
           count(DISTINCT reference) AS images,
           count(DISTINCT (registry, repository)) AS repositories,
           count(DISTINCT base.digest) AS digests, count(*) OVER () AS total
    FROM (SELECT reference, registry, repository, unnest(bases) AS base FROM line)
    WHERE coalesce(base.name, base.digest) IS NOT NULL
    GROUP BY 1 ORDER BY images DESC, 1 LIMIT {limit}"""

# Keys of the signature policy; with one of them the others are asked for, too.
_KEYS = """
    WITH named AS (
        SELECT unnest(list_concat(verified_by, not_verified_by)) AS name,
               verified_by FROM line WHERE verified_by IS NOT NULL)
    SELECT name, count(*) FILTER (list_contains(verified_by, name)) AS yes,
           count(*) FILTER (NOT list_contains(verified_by, name)) AS no,
           count(*) OVER () AS total
    FROM named GROUP BY name ORDER BY name LIMIT {limit}"""
_UNVERIFIED = """
    SELECT s.state AS state, s.format AS format, s.reason AS reason,
           count(DISTINCT reference) AS images, min(reference) AS reference,
           count(*) OVER () AS total
    FROM (SELECT reference, unnest(signatures) AS s FROM line)
    WHERE s.state <> 'verified'
    GROUP BY ALL ORDER BY images DESC, state, format, reason LIMIT {limit}"""


def read_attachments(lines: ReportLines) -> SimpleNamespace:
    """The attachments of images, and the labels and bases they declare.

    `coverage` counts images that have an attachment, have none, or were not checked;
    `has` and `lacks` are the words that find them in the table of references.
    `is_known` is whether the audit looked for attachments of any image. A row of
    `repositories` has a cell for each attachment, None if no image was checked. `keys`
    are those of the signature policy, `unverified` the signatures that none verifies.
    """
    (counts,) = lines.rows(_COVERAGE)
    coverage = [
        SimpleNamespace(
            name=name,
            yes=(yes := getattr(counts, f"{field}_yes")),
            no=(no := getattr(counts, f"{field}_no")),
            unknown=lines.totals.images - yes - no,
            has=has,
            lacks=lacks,
        )
        for name, field, has, lacks in _ATTACHMENTS
    ]
    repositories = lines.shown(_LACKING_ROWS.format(limit=MAX_REPOSITORIES))
    for row in repositories.rows:
        row.cells = []
        for _, field, _, _ in _ATTACHMENTS:
            yes = getattr(row, f"{field}_yes")
            checked = yes + getattr(row, f"{field}_no")
            row.cells.append(image_share(yes, checked) if checked else None)
    return SimpleNamespace(
        coverage=coverage,
        is_known=any(count.yes or count.no for count in coverage),
        repositories=repositories,
        keys=lines.shown(_KEYS.format(limit=MAX_KEYS)),
        unverified=lines.shown(_UNVERIFIED.format(limit=MAX_KEYS)),
        labels=lines.shown(_LABELS.format(limit=MAX_LABELS)),
        bases=lines.shown(_BASES.format(limit=MAX_BASES)),
    )


# -- ages --
# Days from an image's creation to the last audit in the report.

# Upper ends in days.
_AGE_LIMITS: tuple[tuple[str, int], ...] = (
    ("up to a week", 7),
    ("up to a month", 31),
    ("up to 3 months", 92),
    ("up to 6 months", 183),
    ("up to a year", 366),
    ("up to 2 years", 731),
)
_OLDER = "older than 2 years"
_FUTURE = "dated after the audit"

_AGES = """
    WITH aged AS (
        SELECT CASE WHEN date_diff('day', created, last) < -1 THEN {future}
                    ELSE list_position(list_transform({ends}, lambda one:
                         date_diff('day', created, last) <= one), true) END AS bucket,
               created, undated_platforms
        FROM line, (SELECT max(try_cast(audited_at AS TIMESTAMP)) AS last FROM line)
        WHERE content = 'image' AND created IS NOT NULL)
    SELECT coalesce(bucket, {older}) AS bucket, count(*) AS images,
           count(*) FILTER (undated_platforms > 0) AS partly
    FROM aged GROUP BY bucket"""


def read_ages(lines: ReportLines) -> SimpleNamespace:
    """Images by age, youngest first; an image is as old as its youngest platform.

    `since` and `until` are the dates of creation of an age, both inclusive, None at
    the open end. `undated` images have no date in the report, or that of a
    reproducible build; `partly` is how many of the dated ones have platforms without
    a date, too; `most` is the length of the longest bar.
    """
    older = len(_AGE_LIMITS) + 1
    query = _AGES.format(
        ends=[end for _, end in _AGE_LIMITS],
        older=older,
        future=older + 1,
    )
    rows = list(lines.rows(query))
    counts = {row.bucket: row.images for row in rows}
    dated = sum(counts.values())
    return SimpleNamespace(
        ages=[
            SimpleNamespace(
                name=name, images=counts.get(number, 0), since=since, until=until
            )
            for number, (name, since, until) in enumerate(_age_ranges(lines), 1)
            if number <= older or number in counts
        ],
        most=max(counts.values(), default=0),
        dated=dated,
        undated=lines.totals.images - dated,
        partly=sum(row.partly for row in rows),
    )


def _age_ranges(
    lines: ReportLines,
) -> Iterator[tuple[str, str | None, str | None]]:
    """The name of each age with the first and the last date of creation."""
    last = (lines.totals.audited_to or "")[:10]
    try:
        audited = date.fromisoformat(last)
    except ValueError:  # a report without times has no ages either
        audited = date.max - timedelta(days=2)
    newest = audited + timedelta(days=1)  # clocks differ
    until = newest
    for name, days in _AGE_LIMITS:
        since = audited - timedelta(days=days)
        yield name, since.isoformat(), until.isoformat()
        until = since - timedelta(days=1)
    yield _OLDER, None, until.isoformat()
    yield _FUTURE, (newest + timedelta(days=1)).isoformat(), None
