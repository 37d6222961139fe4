from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from auditor.wire.retry_policy import full_jitter, retry_after_s
from tests.examples import examples

DICE = st.floats(0, 1, exclude_max=True)
START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(1), DICE)
def test_a_wait_is_between_zero_and_its_cap(attempt: int, random: float) -> None:
    wait = full_jitter(attempt, random=random)
    assert 0 <= wait <= min(30, 0.5 * 2.0 ** min(attempt - 1, 63))


@given(st.integers(1, 40), DICE)
def test_later_attempts_wait_no_less(attempt: int, random: float) -> None:
    assert full_jitter(attempt, random=random) <= full_jitter(
        attempt + 1, random=random
    )


@given(st.integers(0, 10**9 - 1))
def test_seconds_are_capped(seconds: int) -> None:
    found = retry_after_s(str(seconds), response_date=None, now=0.0)
    assert found == min(seconds, 300)


@given(st.integers(-1000, 1000), st.floats(0, 4e9))
def test_a_date_is_relative_to_the_date_of_the_response(
    seconds: int, now: float
) -> None:
    until = format_datetime(START + timedelta(seconds=seconds), usegmt=True)
    sent = format_datetime(START, usegmt=True)
    found = retry_after_s(until, response_date=sent, now=now)
    assert found == min(max(seconds, 0), 300)


@given(st.integers(10**9, 10**11), st.integers(0, 2000), st.booleans())
def test_a_unix_time_is_the_date_that_it_means(
    now: int, seconds: int, in_milliseconds: bool
) -> None:
    until = (now + seconds) * (1000 if in_milliseconds else 1)
    found = retry_after_s(str(until), response_date=None, now=float(now))
    assert found == min(seconds, 300)


@examples(300)
@given(
    st.text() | st.text("SunMoGT, :0123456789-+."),
    st.none() | st.text(),
    st.floats(0, 4e9),
)
def test_any_value_is_none_or_a_wait_below_the_cap(
    value: str, response_date: str | None, now: float
) -> None:
    found = retry_after_s(value, response_date=response_date, now=now)
    assert found is None or 0 <= found <= 300
