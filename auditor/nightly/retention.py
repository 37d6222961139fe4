"""Which nights are kept: restic's rules, "Removing snapshots according to a policy".

`daily = 7` keeps the newest night of each of the last seven days that have one; weeks
(ISO 8601), months and years likewise. A night that several rules keep counts for each.
`auditor nightly` and `auditor history prune` have the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Protocol, TypeVar

from auditor.config import KeepRules

_PERIODS: dict[str, Callable[[date], object]] = {
    "daily": lambda day: day,
    "weekly": lambda day: day.isocalendar()[:2],
    "monthly": lambda day: (day.year, day.month),
    "yearly": lambda day: day.year,
}


class Dated(Protocol):
    """A night of `auditor nightly`, or a run of `auditor history`."""

    @property
    def date(self) -> date:
        """The day on which it started, UTC."""

    @property
    def complete(self) -> bool:
        """Whether its audit came to its end and found an image."""


NightT = TypeVar("NightT", bound=Dated)


def expired_nights(nights: Sequence[NightT], keep: KeepRules) -> list[NightT]:
    """The nights that no rule keeps, oldest first. `nights` are in order.

    The rules count complete nights only. An incomplete night is kept until the oldest
    complete night that is kept is newer. The last complete night is always kept.
    """
    complete = [number for number, night in enumerate(nights) if night.complete]
    newest_first = [(number, nights[number].date) for number in reversed(complete)]
    kept = set(_kept(newest_first, keep))
    oldest = min(kept, default=0)
    return [
        night
        for number, night in enumerate(nights)
        if (number not in kept if night.complete else number < oldest)
    ]


def _kept(newest_first: Sequence[tuple[int, date]], keep: KeepRules) -> list[int]:
    kept = [number for number, _ in newest_first[: max(1, keep.last)]]
    for rule, period_of in _PERIODS.items():
        periods: set[object] = set()
        for number, day in newest_first:
            period = period_of(day)
            if period in periods:
                continue
            if len(periods) == getattr(keep, rule):
                break
            periods.add(period)
            kept.append(number)
    return kept
