"""Which nights are kept: restic's rules, "Removing snapshots according to a policy".

`daily = 7` keeps the newest night of each of the last seven days that have one; weeks
(ISO 8601), months and years likewise. A night that several rules keep counts for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from auditor.config import KeepRules
from auditor.nightly.night_folder import Night

_PERIODS: dict[str, Callable[[date], object]] = {
    "daily": lambda day: day,
    "weekly": lambda day: day.isocalendar()[:2],
    "monthly": lambda day: (day.year, day.month),
    "yearly": lambda day: day.year,
}


def expired_nights(nights: Sequence[Night], keep: KeepRules) -> list[Night]:
    """The nights that no rule keeps, oldest first. `nights` are in order.

    The rules count complete nights only. An incomplete night is kept until the oldest
    complete night that is kept is newer. The last complete night is always kept.
    """
    complete = [night for night in nights if night.complete]
    kept = set(_kept(complete[::-1], keep))
    oldest = min(kept, default=0)
    return [
        night
        for night in nights
        if (night.number not in kept if night.complete else night.number < oldest)
    ]


def _kept(newest_first: Sequence[Night], keep: KeepRules) -> list[int]:
    kept = [night.number for night in newest_first[: max(1, keep.last)]]
    for rule, period_of in _PERIODS.items():
        periods: set[object] = set()
        for night in newest_first:
            period = period_of(night.date)
            if period in periods:
                continue
            if len(periods) == getattr(keep, rule):
                break
            periods.add(period)
            kept.append(night.number)
    return kept
