"""The lines of a report, loaded once: totals, causes of failure, warnings.

The table `line` has a row for each reference; of several lines of one reference the
last one counts. Ages are counted from the report's own last day, never from today, so
that the same report makes the same page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from auditor.analysis.reports import keep_last_lines, open_reports, report_paths
from auditor.errors import Blame, FailureKind, UsageError
from auditor.fast_dataclass import dataclass

if TYPE_CHECKING:
    import duckdb

# -- rows --
# The rows of a table that a page shows, and how many there are in all.

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows(Generic[Row]):
    """The first rows, in an order that puts what matters first."""

    rows: tuple[Row, ...]
    total: int

    @classmethod
    def of(
        cls,
        found: Sequence[Mapping[str, Any]],
        make: Callable[[Mapping[str, Any]], Row],
    ) -> Self:
        """What `make` makes of rows that each say the `total`."""
        total = found[0]["total"] if found else 0
        return cls(rows=tuple(map(make, found)), total=total)

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return self.total - len(self.rows)


# A person reads no more failures than these; their causes are counted over all.
MAX_FAILURES = 1000

_LOAD = """
    CREATE TABLE line AS
    SELECT reference, registry, repository, tag, kind, digest, size, architectures,
           failure, stage, status, detail, attempts, audited_at,
           list_max([try_cast(p.created AS TIMESTAMP) FOR p IN platforms]) AS created,
           [w.code FOR w IN warnings] AS warnings,
           signed, has_sbom, has_provenance,
           list_distinct(flatten([map_entries(p.config.labels) FOR p IN platforms]))
             AS labels,
           list_distinct([p.base FOR p IN platforms IF p.base IS NOT NULL]) AS bases
    FROM report.lines"""

_TOTALS = """
    SELECT count(*) AS lines,
           count(*) FILTER (kind = 'image') AS images,
           count(*) FILTER (kind = 'failure') AS failures,
           count(DISTINCT registry) AS registries,
           count(DISTINCT (registry, repository)) AS repositories,
           count(DISTINCT digest) FILTER (kind = 'image') AS digests,
           count(*) FILTER (len(warnings) > 0) AS warned,
           min(audited_at) AS audited_from, max(audited_at) AS audited_to,
           min(registry) AS registry
    FROM line"""

_CAUSES = """
    SELECT failure AS name, count(*) AS count,
           count(DISTINCT (registry, repository)) AS repositories,
           arg_min(reference, reference) AS reference,
           arg_min(detail, reference) AS detail
    FROM line WHERE kind = 'failure' GROUP BY failure ORDER BY count DESC, name"""

_FAILURES = """
    SELECT reference, failure, stage, status, detail, attempts
    FROM line WHERE kind = 'failure' ORDER BY failure, reference LIMIT {limit}"""

_WARNINGS = """
    SELECT name, count(*) AS count, min(reference) AS reference
    FROM (SELECT reference, unnest(list_distinct(warnings)) AS name FROM line)
    GROUP BY name ORDER BY count DESC, name"""

_BLAME = {
    Blame.USER: "you",
    Blame.REGISTRY: "the registry",
    Blame.NETWORK: "the network",
    Blame.NOBODY: "nobody: try again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """How much there is. Times are the first and the last `audited_at`."""

    lines: int
    images: int
    failures: int
    registries: int
    repositories: int
    digests: int
    warned: int
    audited_from: str | None
    audited_to: str | None
    registry: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A kind of failure, and the first reference that has it."""

    name: str
    count: int
    repositories: int
    reference: str
    detail: str

    @property
    def who_acts(self) -> str:
        """Who has to do something; a report of a later version may name new kinds."""
        known = self.name in set(FailureKind)
        return _BLAME[FailureKind(self.name).blame] if known else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A reference that could not be audited."""

    reference: str
    failure: str
    stage: str
    status: int | None
    detail: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """A warning, how many references have it, and the first of them."""

    name: str
    count: int
    reference: str


class Lines:
    """Answers from the table `line`; good while its connection is open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        (row,) = self.rows(_TOTALS)
        self.totals = Totals(**row)

    @property
    def many_registries(self) -> bool:
        """Whether a repository's name needs its registry."""
        return self.totals.registries > 1

    def causes(self) -> tuple[Cause, ...]:
        """Most frequent first."""
        return tuple(Cause(**row) for row in self.rows(_CAUSES))

    def failures(self) -> Rows[Failed]:
        """By cause, then by reference."""
        rows = self.rows(_FAILURES.format(limit=MAX_FAILURES))
        found = tuple(Failed(**row) for row in rows)
        return Rows(rows=found, total=self.totals.failures)

    def warnings(self) -> tuple[Warned, ...]:
        """Most frequent first."""
        return tuple(Warned(**row) for row in self.rows(_WARNINGS))

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query over `line`, streamed."""
        found = self._connection.cursor().execute(query)
        names = [column[0] for column in found.description or ()]
        while batch := found.fetchmany(2000):
            for row in batch:
                yield dict(zip(names, row, strict=True))


@contextmanager
def open_lines(paths: Sequence[str]) -> Iterator[Lines]:
    """The lines of a report: a file, several or globs."""
    with open_reports(paths, schema="report") as connection:
        connection.execute("USE main")
        connection.execute(_LOAD)
        connection.execute(keep_last_lines("line", "reference"))
        yield Lines(connection)


# -- ages --
# How old images are: days from their creation to the report's last audit.

# Upper ends in days; the last bucket before "no real date" has none.
_BUCKETS: tuple[tuple[str, int], ...] = (
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
class Age:
    """A bar: so many images are this old."""

    name: str
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """Images by age, youngest first; `undated` have no date in the report."""

    ages: tuple[Age, ...]
    dated: int
    undated: int

    @property
    def most(self) -> int:
        """The longest bar."""
        return max((age.images for age in self.ages), default=0)


def read_ages(lines: Lines) -> Ages:
    """An image is as old as its youngest platform."""
    names = [name for name, _ in _BUCKETS] + [_OLDER, _NO_REAL_DATE, _FUTURE]
    older = len(_BUCKETS) + 1
    query = _AGES.format(
        ends=[end for _, end in _BUCKETS],
        older=older,
        unreal=older + 1,
        future=older + 2,
    )
    counts = {row["bucket"]: row["images"] for row in lines.rows(query)}
    ages = tuple(
        Age(name=name, images=counts.get(number, 0))
        for number, name in enumerate(names, 1)
        if number <= older or number in counts
    )
    dated = sum(counts.values())
    return Ages(ages=ages, dated=dated, undated=lines.totals.images - dated)


# -- matrix --
# Repositories by architectures: how many of a repository's images have each.

# 300 rows are some screens of a table that can be searched; with 20 columns they make
# a few hundred kilobytes. The official images have 144 repositories, 17 platforms.
MAX_REPOSITORIES = 300
MAX_PLATFORMS = 20

# Repositories with most images first.
_REPOSITORIES = """
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
class Platform:
    """A column. `system` is what stands before the first slash."""

    name: str
    images: int

    @property
    def system(self) -> str:
        """The operating system."""
        return self.name.partition("/")[0]

    @property
    def machine(self) -> str:
        """The architecture, with its variant."""
        return self.name.partition("/")[2] or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """So many images have the platform. `level` is 0 for none, 1 to 3, 4 for all."""

    images: int
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A row; its cells stand in the order of the columns."""

    registry: str
    name: str
    images: int
    failures: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The table. Columns of one system stand together, the most frequent first."""

    platforms: Rows[Platform]
    repositories: Rows[Repository]

    @property
    def systems(self) -> tuple[tuple[str, int], ...]:
        """The systems above the columns, and how many columns each spans."""
        spans: dict[str, int] = {}
        for platform in self.platforms.rows:
            spans[platform.system] = spans.get(platform.system, 0) + 1
        return tuple(spans.items())


def read_matrix(lines: Lines) -> Matrix:
    """The repositories with most images, the platforms that most images have."""
    repositories = _REPOSITORIES.format(limit=MAX_REPOSITORIES)
    cells = {
        (row["registry"], row["repository"], row["platform"]): row["images"]
        for row in lines.rows(_CELLS.format(repositories=repositories))
    }
    found = list(lines.rows(_PLATFORMS.format(limit=MAX_PLATFORMS)))
    platforms = _by_system(
        [Platform(name=row["platform"], images=row["images"]) for row in found]
    )
    rows = list(lines.rows(repositories))
    return Matrix(
        platforms=Rows(rows=platforms, total=found[0]["total"] if found else 0),
        repositories=Rows.of(
            rows,
            lambda row: Repository(
                registry=row["registry"],
                name=row["repository"],
                images=row["images"],
                failures=row["failures"],
                cells=tuple(
                    cell(
                        cells.get(
                            (row["registry"], row["repository"], platform.name), 0
                        ),
                        row["images"],
                    )
                    for platform in platforms
                ),
            ),
        ),
    )


def _by_system(platforms: list[Platform]) -> tuple[Platform, ...]:
    """Systems in the order of their most frequent platform."""
    systems = list(dict.fromkeys(platform.system for platform in platforms))
    ordered = sorted(platforms, key=lambda platform: systems.index(platform.system))
    return tuple(ordered)


def cell(images: int, of: int) -> Cell:
    """So many of so many images, none of none."""
    if images >= of:
        return Cell(images=images, level=4 if images else 0)
    # Thirds of the images; one image is never "none", nor all but one "all".
    return Cell(images=images, level=0 if images == 0 else 1 + 3 * images // of)


# -- source --
# Which report a page was made of: the digest of its bytes, and its dates.

# More files than a person compares by eye; the digest over all of them says the rest.
MAX_FILES_NAMED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A report file. `digest` is `sha256:...` of its bytes, as they are on disk."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files of a report.

    `digest` is that of the file, or, of several, that of what `sha256sum` prints for
    them in the order of their names.
    """

    files: tuple[File, ...]
    file_count: int
    digest: str
    size: int

    @property
    def name(self) -> str:
        """The first file's name, and how many more there are."""
        more = f" and {self.file_count - 1:,} more" if self.file_count > 1 else ""
        return self.files[0].name + more


def read_source(paths: Sequence[str]) -> Source:
    """Read the files of paths and globs once; `UsageError` where that fails."""
    files = [_file(path) for path in report_paths(paths)]
    listing = "".join(f"{one.digest[7:]}  {one.name}\n" for one in files)
    listed = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return Source(
        files=tuple(files[:MAX_FILES_NAMED]),
        file_count=len(files),
        digest=files[0].digest if len(files) == 1 else f"sha256:{listed}",
        size=sum(one.size for one in files),
    )


def _file(path: str) -> File:
    try:
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return File(name=Path(path).name, digest=f"sha256:{digest}", size=size)
