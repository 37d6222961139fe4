"""The rules of restic: "Removing snapshots according to a policy", with its example."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import KeepRules
from auditor.nightly.night_folder import Night
from auditor.nightly.retention import expired_nights

NONE = KeepRules(daily=0, weekly=0, monthly=0)


def _night(number: int, day: str, *, complete: bool = True) -> Night:
    return Night(
        number=number, name=day, started_at=f"{day}T02:00:00Z", complete=complete
    )


def _nights(first: str, count: int) -> list[Night]:
    start = date.fromisoformat(first)
    return [
        _night(number, str(start + timedelta(days=number)))
        for number in range(1, count + 1)
    ]


def _kept(nights: list[Night], keep: KeepRules) -> list[str]:
    gone = {night.number for night in expired_nights(nights, keep)}
    return [night.name for night in nights if night.number not in gone]


def test_daily_keeps_the_newest_of_each_day_that_has_one() -> None:
    nights = [
        _night(1, "2026-11-01"),
        _night(2, "2026-11-05"),
        _night(3, "2026-11-06"),
        _night(4, "2026-11-06"),
    ]
    gone = expired_nights(nights, KeepRules(daily=2, weekly=0, monthly=0))
    assert [night.number for night in gone] == [1, 3]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (KeepRules(last=2, daily=0, weekly=0, monthly=0), ["2026-11-29", "2026-11-30"]),
        # ISO weeks end on Sunday: 15, 22 and 29 November 2026.
        (
            KeepRules(daily=0, weekly=3, monthly=0),
            ["2026-11-22", "2026-11-29", "2026-11-30"],
        ),
        (
            KeepRules(daily=0, weekly=0, monthly=3),
            ["2026-09-30", "2026-10-31", "2026-11-30"],
        ),
        (KeepRules(daily=0, weekly=0, monthly=0, yearly=9), ["2026-11-30"]),
        (NONE, ["2026-11-30"]),
    ],
    ids=["last", "weekly", "monthly", "yearly", "nothing"],
)
def test_each_rule_keeps_the_newest_of_its_periods(
    keep: KeepRules, kept: list[str]
) -> None:
    assert _kept(_nights("2026-08-31", 91), keep) == kept


def test_an_incomplete_night_takes_no_place_of_a_complete_one() -> None:
    nights = [
        _night(1, "2026-11-01", complete=False),
        _night(2, "2026-11-02"),
        _night(3, "2026-11-03"),
        _night(4, "2026-11-04", complete=False),
        _night(5, "2026-11-05", complete=False),
    ]
    keep = KeepRules(daily=1, weekly=0, monthly=0)
    assert _kept(nights, keep) == ["2026-11-03", "2026-11-04", "2026-11-05"]


@given(
    days=st.lists(st.integers(0, 900), min_size=1, max_size=60),
    complete=st.sets(st.integers(0, 59)),
    keep=st.builds(
        KeepRules,
        last=st.integers(0, 5),
        daily=st.integers(0, 5),
        weekly=st.integers(0, 5),
        monthly=st.integers(0, 5),
        yearly=st.integers(0, 3),
    ),
)
def test_the_last_complete_night_stays_and_no_rule_keeps_too_many(
    days: list[int], complete: set[int], keep: KeepRules
) -> None:
    start = date(2024, 1, 1)
    nights = [
        _night(n, str(start + timedelta(days=day)), complete=n in complete)
        for n, day in enumerate(sorted(days))
    ]
    gone = {night.number for night in expired_nights(nights, keep)}
    stay = [night for night in nights if night.number not in gone and night.complete]
    all_complete = [night for night in nights if night.complete]
    assert all_complete[-1:] == stay[-1:]
    most = keep.last + keep.daily + keep.weekly + keep.monthly + keep.yearly
    assert len(stay) <= max(1, most)
    # What was pruned is not missed by pruning again.
    rest = [night for night in nights if night.number not in gone]
    assert not expired_nights(rest, keep)
