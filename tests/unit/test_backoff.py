from __future__ import annotations

import pytest

from auditor.wire.retry_policy import full_jitter, retry_after_s

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("attempt", "random", "seconds"),
    [
        (1, 0.0, 0.0),
        (1, 0.5, 0.25),
        (2, 0.5, 0.5),
        (3, 0.5, 1.0),
        (7, 0.5, 15.0),
        (10**9, 0.5, 15.0),
        (0, 0.5, 0.25),
    ],
)
def test_the_wait_doubles_up_to_a_cap(
    attempt: int, random: float, seconds: float
) -> None:
    assert full_jitter(attempt, random=random) == seconds


@pytest.mark.parametrize(
    ("value", "response_date", "seconds"),
    [
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
        ("0", None, 0.0),
        (" 7 ", None, 7.0),
        ("1.5", None, 1.5),
        ("-3", None, 0.0),
        ("301", None, 300.0),
        ("9" * 300, None, 300.0),
        ("9" * 5000, None, None),
        ("1e3", None, None),
        ("nan", None, None),
        ("\u0663", None, None),
        ("Sun, 06 Nov 1994 08:50:07 GMT", DATE, 30.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", "Sun, 06 Nov 1994 08:50:00 GMT", 7.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", None, 30.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", "nonsense", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", DATE, 30.0),
        ("Sun Nov  6 08:50:07 1994", DATE, 30.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", DATE, 0.0),
        ("Sun, 06 Nov 2094 08:49:00 GMT", DATE, 300.0),
        ("Sun, 99 Nov 1994 08:49:00 GMT", DATE, None),
        ("Sun, 06 Nov 1994", DATE, None),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(
    value: str | None, response_date: str | None, seconds: float | None
) -> None:
    assert retry_after_s(value, response_date=response_date, now=NOW) == seconds
