"""Repositories by architectures: how many of a repository's images have each."""

from __future__ import annotations

from auditor.analysis.html.lines import Lines
from auditor.analysis.html.rows import Rows
from auditor.fast_dataclass import dataclass

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
