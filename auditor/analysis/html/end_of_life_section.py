"""The section about images whose support has ended, or ends soon."""

# ruff: noqa: S608  (the SQL is made of constants of this file)

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import SimpleNamespace

from auditor.analysis.end_of_life import create_end_of_life
from auditor.analysis.html.report_lines import ReportLines

# Time to plan a migration in. Relative to the audit, like ages.
SOON_DAYS = 90
# Images listed one by one; their numbers are of all.
MAX_ENDING = 1000

_COUNTS = f"""
    SELECT count(*) FILTER (days < 0) AS ended,
           count(*) FILTER (days BETWEEN 0 AND {SOON_DAYS}) AS soon,
           count(*) FILTER (days > {SOON_DAYS}) AS later,
           count(*) FILTER (ends IS NULL AND is_known) AS undated,
           count(*) FILTER (NOT is_known) AS unknown
    FROM (SELECT *, date_diff('day', audited_on, ends) AS days FROM end_of_life)"""
_ENDING = f"""
    SELECT reference, strftime(ends, '%Y-%m-%d') AS ends, source,
           date_diff('day', audited_on, ends) AS days, count(*) OVER () AS total
    FROM end_of_life
    WHERE date_diff('day', audited_on, ends) <= {SOON_DAYS}
    ORDER BY end_of_life.ends, reference LIMIT {MAX_ENDING}"""


def read_end_of_life(
    lines: ReportLines, table: Mapping[str, date]
) -> SimpleNamespace | None:
    """Images whose support ends within `SOON_DAYS` of the audit, the first one first.

    `table` is that of the policy. None if neither it nor the report has any date.
    `undated` images have a base without a date, `unknown` ones have no known base.
    """
    create_end_of_life(lines.connection, table, lines="report.lines")
    (counts,) = lines.rows(_COUNTS)
    if not table and not counts.ended + counts.soon + counts.later:
        return None
    counts.rows = lines.shown(_ENDING)
    counts.soon_days = SOON_DAYS
    return counts
