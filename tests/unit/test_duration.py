from __future__ import annotations

import pytest

from auditor.util.text import duration_words, expiry_words, time_words


@pytest.mark.parametrize(
    ("duration_s", "words"),
    [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (0.9, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (298, "4 minutes 58 seconds"),
        (3_600, "1 hour"),
        (3_601, "1 hour"),
        (7_260, "2 hours 1 minute"),
        (86_400 * 3 + 7_200, "3 days 2 hours"),
        (86_400 * 40, "1 month 9 days"),
        (335_496_348, "10 years 7 months"),
        (31_556_952, "1 year"),
        (1e300, "more than 10000 years"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(
    duration_s: float, words: str
) -> None:
    assert duration_words(duration_s) == words


@pytest.mark.parametrize(
    ("expires_at", "words"),
    [
        (1_298, "expires in 4 minutes 58 seconds"),
        (1_000, "expired 0 seconds ago"),
        (940, "expired 1 minute ago"),
    ],
)
def test_expiry_is_said_from_now(expires_at: float, words: str) -> None:
    assert expiry_words(expires_at, now=1_000) == words


@pytest.mark.parametrize(
    ("epoch_s", "words"),
    [
        (1_459_983_252, "2016-04-06 22:54:12 UTC"),
        (0, "1970-01-01 00:00:00 UTC"),
        (1e300, "a time outside of the calendar"),
        (-1e18, "a time outside of the calendar"),
    ],
)
def test_a_time_is_said_in_utc(epoch_s: float, words: str) -> None:
    assert time_words(epoch_s) == words
