"""Sections about the images: their platforms, their attachments, their ages."""

# ruff: noqa: S608  (the SQL is made of constants of this file)

from __future__ import annotations

from typing import Any

from auditor.analysis.html.report_lines import ReportLines, ShownRows
from auditor.fast_dataclass import dataclass

# 300 rows are some screens of a table that can be searched; with 20 columns they make
# a few hundred kilobytes. Docker's official images: 144 repositories, 17 platforms.
MAX_REPOSITORIES = 300
MAX_PLATFORMS = 20
MAX_LABELS = 50
MAX_BASES = 50

# -- repositories by platform --

# Repositories with most images first.
_MATRIX_ROWS = """
    SELECT registry, repository, count(*) FILTER (kind = 'image') AS images,
           count(*) FILTER (kind = 'failure') AS failures,
           count(*) OVER () AS total
    FROM line WHERE repository IS NOT NULL
    GROUP BY registry, repository
    ORDER BY images DESC, failures DESC, registry, repository LIMIT {limit}"""
_PLATFORMS = """
    SELECT platform, count(*) AS images, count(*) OVER () AS total
    FROM (SELECT unnest(architectures) AS platform FROM line WHERE kind = 'image')
    GROUP BY platform ORDER BY images DESC, platform LIMIT {limit}"""
_CELLS = """
    WITH shown AS ({repositories})
    SELECT registry, repository, platform, count(*) AS images
    FROM (SELECT registry, repository, unnest(architectures) AS platform
          FROM line SEMI JOIN shown USING (registry, repository))
    GROUP BY ALL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShare:
    """A number of a repository's images. `level` is 0 for none, 1 to 3, 4 for all."""

    images: int
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformColumn:
    """A platform, and the number of images that have it."""

    name: str
    images: int

    @property
    def system(self) -> str:
        """The operating system."""
        return self.name.partition("/")[0]

    @property
    def machine(self) -> str:
        """The architecture with its variant."""
        return self.name.partition("/")[2] or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRow:
    """A repository, with a cell for each column; None if no image was checked."""

    registry: str
    name: str
    images: int
    cells: tuple[ImageShare | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformMatrix:
    """Repositories by platform. Columns are grouped by operating system."""

    platforms: ShownRows[PlatformColumn]
    repositories: ShownRows[RepositoryRow]

    @property
    def systems(self) -> tuple[tuple[str, int], ...]:
        """Each operating system and the number of its columns."""
        spans: dict[str, int] = {}
        for platform in self.platforms.rows:
            spans[platform.system] = spans.get(platform.system, 0) + 1
        return tuple(spans.items())


def read_platforms(lines: ReportLines) -> PlatformMatrix:
    """The repositories with most images and the platforms that most images have."""
    repositories = _MATRIX_ROWS.format(limit=MAX_REPOSITORIES)
    counts = {
        (row.registry, row.repository, row.platform): row.images
        for row in lines.rows(_CELLS.format(repositories=repositories))
    }
    results = list(lines.rows(_PLATFORMS.format(limit=MAX_PLATFORMS)))
    columns = _by_system(
        [PlatformColumn(name=row.platform, images=row.images) for row in results]
    )
    return PlatformMatrix(
        platforms=ShownRows(rows=columns, total=results[0].total if results else 0),
        repositories=ShownRows.of(
            lines.rows(repositories),
            lambda row: RepositoryRow(
                registry=row.registry,
                name=row.repository,
                images=row.images,
                cells=tuple(
                    image_share(
                        counts.get((row.registry, row.repository, column.name), 0),
                        row.images,
                    )
                    for column in columns
                ),
            ),
        ),
    )


def _by_system(platforms: list[PlatformColumn]) -> tuple[PlatformColumn, ...]:
    """Operating systems in the order of their most frequent platform."""
    systems = list(dict.fromkeys(platform.system for platform in platforms))
    return tuple(sorted(platforms, key=lambda column: systems.index(column.system)))


def image_share(images: int, total: int) -> ImageShare:
    """The share of `images` in `total`; 0 of 0 counts as none."""
    if images >= total:
        return ImageShare(images=images, level=4 if images else 0)
    # Thirds. One image is never shown as none, and all but one never as all.
    level = 0 if images == 0 else 1 + 3 * images // total
    return ImageShare(images=images, level=level)


# -- attachments, labels and bases --
# That something is attached does not mean that it is valid: no signature is verified.

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
_COVERAGE = f"SELECT {_COUNTS} FROM line WHERE kind = 'image'"
# Repositories that lack most come first.
_LACKING = " + ".join(f"{field}_no" for _, field, _, _ in _ATTACHMENTS)
_LACKING_ROWS = f"""
    SELECT registry, repository, count(*) AS images, {_COUNTS},
           count(*) OVER () AS total
    FROM line WHERE kind = 'image' GROUP BY registry, repository
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentCount:
    """How many images have an attachment, have none, or were not checked (`unknown`).

    `has` and `lacks` are the words that find these images in the table of references.
    """

    name: str
    yes: int
    no: int
    unknown: int
    has: str
    lacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentSection:
    """What is attached to images, and the labels and bases they declare.

    The rows of `labels` and `bases` have the columns of `_LABELS` and `_BASES`.
    """

    coverage: tuple[AttachmentCount, ...]
    repositories: ShownRows[RepositoryRow]
    labels: ShownRows[Any]
    bases: ShownRows[Any]

    @property
    def is_known(self) -> bool:
        """Whether the audit looked for attachments of any image."""
        return any(count.yes or count.no for count in self.coverage)


def read_attachments(lines: ReportLines) -> AttachmentSection:
    """Count attachments, labels and bases."""
    (counts,) = lines.rows(_COVERAGE)
    coverage = tuple(
        AttachmentCount(
            name=name,
            yes=(yes := getattr(counts, f"{field}_yes")),
            no=(no := getattr(counts, f"{field}_no")),
            unknown=lines.totals.images - yes - no,
            has=has,
            lacks=lacks,
        )
        for name, field, has, lacks in _ATTACHMENTS
    )
    return AttachmentSection(
        coverage=coverage,
        repositories=ShownRows.of(
            lines.rows(_LACKING_ROWS.format(limit=MAX_REPOSITORIES)),
            lambda row: RepositoryRow(
                registry=row.registry,
                name=row.repository,
                images=row.images,
                cells=tuple(
                    _share_of_checked(
                        getattr(row, f"{field}_yes"), getattr(row, f"{field}_no")
                    )
                    for _, field, _, _ in _ATTACHMENTS
                ),
            ),
        ),
        labels=ShownRows.of(lines.rows(_LABELS.format(limit=MAX_LABELS))),
        bases=ShownRows.of(lines.rows(_BASES.format(limit=MAX_BASES))),
    )


def _share_of_checked(yes: int, no: int) -> ImageShare | None:
    return image_share(yes, yes + no) if yes + no else None


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
# Docker's first release was in 2013; reproducible builds write 1970 or 1980.
_NO_REAL_DATE = "dated before 2013: reproducible builds, or a wrong clock"
_FUTURE = "dated after the audit"

_AGES = """
    WITH aged AS (
        SELECT CASE WHEN created < TIMESTAMP '2013-01-01' THEN {unreal}
                    WHEN created > last + INTERVAL 1 DAY THEN {future}
                    ELSE list_position(list_transform({ends}, lambda one:
                         date_diff('day', created, last) <= one), true) END AS bucket,
               created
        FROM line, (SELECT max(try_cast(audited_at AS TIMESTAMP)) AS last FROM line)
        WHERE kind = 'image' AND created IS NOT NULL)
    SELECT coalesce(bucket, {older}) AS bucket, count(*) AS images
    FROM aged GROUP BY bucket"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeBar:
    """The number of images in a range of ages."""

    name: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeSection:
    """Images by age, youngest first; `undated` ones have no date in the report."""

    ages: tuple[AgeBar, ...]
    dated: int
    undated: int

    @property
    def most(self) -> int:
        """The length of the longest bar."""
        return max((age.images for age in self.ages), default=0)


def read_ages(lines: ReportLines) -> AgeSection:
    """Count images by age. An image is as old as its youngest platform."""
    names = [name for name, _ in _AGE_LIMITS] + [_OLDER, _NO_REAL_DATE, _FUTURE]
    older = len(_AGE_LIMITS) + 1
    query = _AGES.format(
        ends=[end for _, end in _AGE_LIMITS],
        older=older,
        unreal=older + 1,
        future=older + 2,
    )
    counts = {row.bucket: row.images for row in lines.rows(query)}
    ages = tuple(
        AgeBar(name=name, images=counts.get(number, 0))
        for number, name in enumerate(names, 1)
        if number <= older or number in counts
    )
    dated = sum(counts.values())
    return AgeSection(ages=ages, dated=dated, undated=lines.totals.images - dated)
