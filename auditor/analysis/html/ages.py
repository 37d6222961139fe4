"""How old images are: days from their creation to the report's last audit."""

from __future__ import annotations

from auditor.analysis.html.lines import Lines
from auditor.fast_dataclass import dataclass

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
