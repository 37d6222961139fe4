"""The course of the nights: references, failures, violations, changes, sizes.

The points come from the nights of `auditor nightly`, or from a data set of
`auditor history`, which knows neither violations nor changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from auditor.analysis.duckdb_connection import quoted, stream_rows, work_database
from auditor.analysis.report_views import reading_reports
from auditor.errors import UsageError
from auditor.fast_dataclass import dataclass
from auditor.util.text import format_size, safe_text

# A quarter of a year; more bars cannot be told apart on a phone.
MAX_POINTS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One night. `at` is its start (RFC 3339, UTC); None is unknown.

    `size` is the sum of the sizes of its repositories in bytes.
    """

    at: str
    references: int
    failures: int
    violations: int | None = None
    changes: int | None = None
    size: int | None = None


# Label, field, colour.
_MEASURES = (
    ("References", "references", "accent"),
    ("Failures", "failures", "bad"),
    ("Violations", "violations", "warn"),
    ("Changes", "changes", "accent"),
    ("Size of the repositories", "size", "accent"),
)

_RUNS = """
    SELECT run, sum("references")::BIGINT AS "references",
           sum(failures)::BIGINT AS failures,
           -- hostile sizes can add up to more than 64 bits
           least(sum(bytes), 9223372036854775807)::BIGINT AS size
    FROM read_parquet([{files}], union_by_name = true)
    GROUP BY run ORDER BY run"""


def history_points(dataset: Path) -> list[TrendPoint]:
    """The last runs of a data set of `auditor history`; raises `UsageError`."""
    files = sorted((dataset / "repositories").glob("date=*/*.parquet"))
    if not files:
        raise UsageError(
            f"{safe_text(str(dataset))}: not a data set of auditor history: no run in"
            " repositories; add one with auditor history add"
        )
    query = _RUNS.format(files=", ".join(quoted(str(f)) for f in files[-MAX_POINTS:]))
    with work_database() as connection, reading_reports():
        return [
            TrendPoint(
                at=_time_of(row["run"]),
                references=row["references"] + row["failures"],
                failures=row["failures"],
                size=row["size"],
            )
            for row in stream_rows(connection, query)
        ]


def _time_of(run: str) -> str:
    """`20261124T020000Z-1f0c9a42` as `2026-11-24T02:00:00Z`."""
    day, time = run[:8], run[9:15]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}Z"


def read_trend(points: Sequence[TrendPoint]) -> SimpleNamespace | None:
    """The charts of the last points, oldest first; None if there is no earlier one.

    A chart has a bar for each point; one of unknown height is None.
    """
    shown = sorted(points, key=lambda point: point.at)[-MAX_POINTS:]
    if len(shown) < 2:
        return None
    charts = []
    for label, field, tone in _MEASURES:
        values = [getattr(point, field) for point in shown]
        known = [value for value in values if value is not None]
        if not known:
            continue
        text = format_size if field == "size" else "{:,}".format
        most = max(known) or 1
        charts.append(
            SimpleNamespace(
                label=label,
                tone=tone,
                last="unknown" if values[-1] is None else text(values[-1]),
                least=text(min(known)),
                most=text(max(known)),
                bars=[
                    None
                    if value is None
                    else SimpleNamespace(height=100 * value / most, text=text(value))
                    for value in values
                ],
            )
        )
    return SimpleNamespace(points=shown, charts=charts, total=len(points))
