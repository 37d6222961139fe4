"""The learned pace is bounded, needs refusals, and finds the rate of a host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from auditor.registry.learned_pace import (
    DOUBLED,
    MAX_PAUSE_S,
    MEASURED,
    SETTLED,
    SLOWEST,
    LearnedPace,
)
from tests.examples import examples
from tests.support.rate_limited_hosts import TokenBucket

ROUND_TRIP_S = 0.05
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["accepted", "refused", "doubtful"]),
        st.integers(1, 40),  # times
        st.floats(0.001, 20),  # the seconds of a round trip
        st.integers(0, 7),  # how often the request was refused before
    ),
    max_size=60,
)


class _Host:
    """One request at a time, `ROUND_TRIP_S` each, with a pace of its own."""

    def __init__(self, rate: float, burst: float) -> None:
        self.bucket = TokenBucket(rate, burst)
        self.pace = LearnedPace()
        self.now = 1.0
        self.accepted = self.refused = 0

    def ask(self, answers: int) -> None:
        """Ask until so many more requests were accepted."""
        wanted = self.accepted + answers
        while self.accepted < wanted:
            pace = self.pace
            sent_at = max(self.now, pace.next_at) if pace.is_active else self.now
            pace.sent(sent_at)
            is_accepted = self.bucket.passes(sent_at + ROUND_TRIP_S / 2)
            self.now = sent_at + ROUND_TRIP_S
            if is_accepted:
                self.accepted += 1
                pace.accepted(sent_at=sent_at, now=self.now, at_once=1)
            else:
                self.refused += 1
                pace.refused(sent_at=sent_at, now=self.now, at_once=1)


def _feed(pace: LearnedPace, now: float, event: tuple[str, int, float, int]) -> float:
    what, times, took_s, refusals = event
    for _ in range(times):
        sent_at, now = now + 0.001, now + 0.001 + took_s
        if what == "accepted":
            pace.accepted(sent_at=sent_at, now=now, at_once=1, refusals=refusals)
        else:
            pace.refused(
                sent_at=sent_at,
                now=now,
                at_once=1,
                refusals=refusals,
                is_certain=what == "refused",
            )
        assert pace.rate is None or SLOWEST <= pace.rate < 10_000
        if pace.is_active:
            assert pace.next_at <= now + max(took_s, 1 / SLOWEST, MAX_PAUSE_S)
        assert pace.is_active or pace.rate is None
    return now


@given(events=EVENTS)
@examples(200)
def test_a_pace_and_its_pauses_are_bounded(
    events: list[tuple[str, int, float, int]],
) -> None:
    pace, now = LearnedPace(), 1.0
    for event in events:
        now = _feed(pace, now, event)


@given(answers=st.lists(st.floats(0.001, 100), max_size=200))
@examples(50)
def test_without_a_refusal_there_is_no_pace(answers: list[float]) -> None:
    pace, now = LearnedPace(), 1.0
    for took_s in answers:
        now = _feed(pace, now, ("accepted", 1, took_s, 0))
        assert not pace.is_active


@given(events=EVENTS)
@examples(200)
def test_a_pace_is_gone_some_minutes_after_the_last_refusal(
    events: list[tuple[str, int, float, int]],
) -> None:
    """A host that refused requests for a minute is not asked slowly for a night."""
    pace, now = LearnedPace(), 1.0
    for event in events:
        now = _feed(pace, now, event)
    ends_at = now + 900
    pace.accepted(sent_at=now + 0.001, now=now + ROUND_TRIP_S, at_once=1)
    while pace.is_active:
        sent_at = max(now + ROUND_TRIP_S, pace.next_at)
        pace.sent(sent_at)
        now = sent_at + ROUND_TRIP_S
        assert now < ends_at
        pace.accepted(sent_at=sent_at, now=now, at_once=1)


@given(events=EVENTS, answers=st.integers(1, 400))
@examples(200)
def test_a_pace_grows_in_steps_that_were_accepted(
    events: list[tuple[str, int, float, int]], answers: int
) -> None:
    pace, now = LearnedPace(), 1.0
    for event in events:
        now = _feed(pace, now, event)
    now = _feed(pace, now, ("accepted", 1, ROUND_TRIP_S, 0))
    before, since = pace.rate, 0
    for _ in range(answers):
        now = _feed(pace, now, ("accepted", 1, ROUND_TRIP_S, 0))
        since += 1
        if pace.rate is None or before is None:
            break
        if pace.rate != before:
            assert before < pace.rate <= DOUBLED * before
            assert since >= min(MEASURED, SETTLED) - 1
            before, since = pace.rate, 0


@given(rate=st.floats(1, 15), burst=st.floats(1, 50))
@examples(100)
def test_the_rate_of_a_token_bucket_is_found(rate: float, burst: float) -> None:
    """One request in a hundred or so is refused then; most of the rate is used."""
    host = _Host(rate, burst)
    host.ask(400)
    refused, now = host.refused, host.now
    host.ask(1600)
    assert host.refused - refused <= 24
    assert host.pace.rate is not None or rate > 13
    assert (host.now - now) * rate <= 1.5 * 1600
