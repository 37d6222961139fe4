"""What vouches for images, and what they say of themselves: labels and bases.

That something is attached is not to say that it is valid: nobody checked it.
"""

from __future__ import annotations

from auditor.analysis.html.lines import Lines
from auditor.analysis.html.matrix import Cell, cell
from auditor.analysis.html.rows import Rows
from auditor.fast_dataclass import dataclass

MAX_REPOSITORIES = 300
MAX_LABELS = 50
MAX_BASES = 50

# What is asked for, the field that answers, and the word in the search for yes and no.
_QUESTIONS = (
    ("Signature", "signed", "signed", "unsigned"),
    ("SBOM", "has_sbom", "sbom", "no-sbom"),
    ("Provenance", "has_provenance", "provenance", "no-provenance"),
)

_COUNTS = ", ".join(
    f"count(*) FILTER ({field}) AS {field}_yes,"
    f" count(*) FILTER (NOT {field}) AS {field}_no"
    for _, field, _, _ in _QUESTIONS
)
_COVERAGE = f"SELECT {_COUNTS} FROM line WHERE kind = 'image'"  # noqa: S608
# Those that lack most first.
_LACKING = " + ".join(f"{field}_no" for _, field, _, _ in _QUESTIONS)
_REPOSITORIES = f"""
    SELECT registry, repository, count(*) AS images, {_COUNTS},
           count(*) OVER () AS total
    FROM line WHERE kind = 'image' GROUP BY registry, repository
    ORDER BY {_LACKING} DESC, registry, repository LIMIT {{limit}}"""  # noqa: S608
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
class Coverage:
    """So many images have it, have not, or were not looked at (`unknown`).

    `has` and `lacks` are what the search knows these images by.
    """

    name: str
    yes: int
    no: int
    unknown: int
    has: str
    lacks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """A repository; its cells stand in the order of the questions.

    A cell is null where no image of the repository was looked at.
    """

    registry: str
    name: str
    images: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label, how many values it has, and the most frequent of them."""

    name: str
    images: int
    values: int
    most: str
    most_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBase:
    """A base that images name, with so many digests."""

    name: str
    images: int
    repositories: int
    digests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Everything that is to be said. Without `is_known`, nobody looked."""

    coverage: tuple[Coverage, ...]
    repositories: Rows[Covered]
    labels: Rows[Label]
    bases: Rows[NamedBase]

    @property
    def is_known(self) -> bool:
        """Whether the report says of any image what is attached to it."""
        return any(one.yes or one.no for one in self.coverage)


def read_trust(lines: Lines) -> Trust:
    """Ask the lines of a report."""
    (counts,) = lines.rows(_COVERAGE)
    coverage = tuple(
        Coverage(
            name=name,
            yes=counts[f"{field}_yes"],
            no=counts[f"{field}_no"],
            unknown=lines.totals.images
            - counts[f"{field}_yes"]
            - counts[f"{field}_no"],
            has=has,
            lacks=lacks,
        )
        for name, field, has, lacks in _QUESTIONS
    )
    labels = list(lines.rows(_LABELS.format(limit=MAX_LABELS)))
    bases = list(lines.rows(_BASES.format(limit=MAX_BASES)))
    return Trust(
        coverage=coverage,
        repositories=_repositories(lines),
        labels=Rows.of(
            labels,
            lambda row: Label(
                name=row["name"],
                images=row["images"],
                values=row["values"],
                most=row["most"],
                most_images=row["most_images"],
            ),
        ),
        bases=Rows.of(
            bases,
            lambda row: NamedBase(
                name=row["name"],
                images=row["images"],
                repositories=row["repositories"],
                digests=row["digests"],
            ),
        ),
    )


def _repositories(lines: Lines) -> Rows[Covered]:
    rows = list(lines.rows(_REPOSITORIES.format(limit=MAX_REPOSITORIES)))
    return Rows.of(
        rows,
        lambda row: Covered(
            registry=row["registry"],
            name=row["repository"],
            images=row["images"],
            cells=tuple(
                _answer(row[f"{field}_yes"], row[f"{field}_no"])
                for _, field, _, _ in _QUESTIONS
            ),
        ),
    )


def _answer(yes: int, no: int) -> Cell | None:
    return cell(yes, yes + no) if yes + no else None
