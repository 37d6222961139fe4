"""The limit of one host, on hosts in simulated time of which the best is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from auditor.registry.concurrency_control import START, ConcurrencyControl
from auditor.registry.refused_limits import HOLD_S
from auditor.wire.host_concurrency import DISTRESS, Move
from bench.adaptive.hosts import KINDS
from bench.adaptive.simulation import others_wait, simulate
from tests.support.simulated_hosts import SimulatedHost, Trace, Work, run

Host = Callable[[], SimulatedHost]
KINDS_BY_NAME = {kind.name: kind for kind in KINDS}


def steady(seconds: float) -> Work:
    return lambda _: seconds


def lognormal(median_s: float, sigma: float) -> Work:
    return lambda chance: median_s * math.exp(chance.gauss(0, sigma))


def pareto(seconds: float) -> Work:
    """One answer in twelve takes a multiple, some a hundred times as long."""

    def work(chance: random.Random) -> float:
        if chance.random() < 0.08:
            return 5 * seconds * chance.paretovariate(1.1)
        return seconds * chance.uniform(0.8, 1.2)

    return work


class Fixed(ConcurrencyControl):
    """A limit that nothing moves."""

    def __init__(self, limit: int) -> None:
        super().__init__(most=limit, follows_latency=False)

    def answered(self, *_: object, **__: object) -> None: ...

    def distressed(self, *_: object, **__: object) -> None: ...


def share_of_best(trace: Trace, host: Host, **how: object) -> float:
    """The part of the rate that the best fixed limit has."""
    best = max(
        run(host(), Fixed(limit), requests=trace.answers, **how).rate()  # type: ignore[arg-type]
        for limit in (2, 4, 8, 16, 64)
    )
    return trace.rate() / best


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(lambda: SimulatedHost(steady(0.001), 0.05), id="50 ms away"),
        pytest.param(lambda: SimulatedHost(steady(0.001), 0.2), id="200 ms away"),
        pytest.param(lambda: SimulatedHost(lognormal(0.03, 0.7)), id="lognormal tail"),
        pytest.param(lambda: SimulatedHost(pareto(0.03)), id="Pareto tail"),
    ],
)
def test_a_host_without_a_queue_gets_as_many_requests_as_allowed(host: Host) -> None:
    control = ConcurrencyControl(most=64)
    trace = run(host(), control, requests=4000)
    assert control.limit == 64
    assert share_of_best(trace, host) >= 0.8


@pytest.mark.parametrize("workers", [1, 2, 4, 6, 20])
@pytest.mark.parametrize("distance_s", [0.0, 0.02])
def test_a_narrow_host_is_kept_busy_with_a_short_queue(
    workers: int, distance_s: float
) -> None:
    work_s = 0.02

    def host() -> SimulatedHost:
        return SimulatedHost(steady(work_s), distance_s, workers=workers)

    control = ConcurrencyControl(most=64)
    trace = run(host(), control, requests=3000)
    saturates = workers * (work_s + distance_s) / work_s
    # The first answers come from a burst, which is the only time that they mislead.
    assert max(limit for _, limit in trace.limits) <= max(2 * saturates + 1, 3 * START)
    assert control.limit <= 2 * saturates
    assert share_of_best(trace, host) >= 0.9


def test_a_part_of_a_host_that_queues_is_noticed() -> None:
    """A proxy, behind which one request in five meets eight busy workers."""
    slow = SimulatedHost(steady(0.08), workers=8)

    class Proxy(SimulatedHost):
        def answer(
            self, now: float, chance: random.Random
        ) -> tuple[float, Move | None]:
            if chance.random() < 0.2:
                return slow.answer(now, chance)
            return SimulatedHost.answer(self, now, chance)

    control = ConcurrencyControl(most=64)
    trace = run(Proxy(steady(0.01)), control, requests=6000)
    assert control.limit <= 40
    assert trace.rate() >= 0.85 * 500


def test_pauses_are_no_difference_between_a_limit_and_its_half() -> None:
    control = ConcurrencyControl(most=32)
    now, most = 0.0, 0
    for _ in range(200):
        now += 30.0 if most == 32 and control.limit == 32 else 0.1
        for _ in range(2 * control.limit):
            now += 0.1 / control.limit
            control.answered("head", 0.1, sent_at=now - 0.1, now=now, is_full=True)
        most = max(most, control.limit)
    assert most == 32
    assert control.limit >= 16
    assert Move.QUEUE not in control.moves


def test_requests_that_differ_in_work_are_no_queue() -> None:
    kinds = [("head", 1.0), ("manifest", 3.0), ("blob", 12.0)]
    control = ConcurrencyControl(most=64)
    run(
        SimulatedHost(steady(0.01), 0.05),
        control,
        requests=3000,
        kind=lambda chance: chance.choice(kinds),
    )
    assert control.limit == 64


def test_kinds_that_begin_in_mid_run_are_no_queue() -> None:
    control = ConcurrencyControl(most=64)
    sent = 0

    def kind(_: random.Random) -> tuple[object, float]:
        nonlocal sent
        sent += 1
        return ("head", 1.0) if sent < 1000 else ("blob", 20.0)

    run(SimulatedHost(steady(0.01), 0.05), control, requests=2000, kind=kind)
    assert control.lowest == START
    assert control.limit == 64


def _narrow(host: SimulatedHost) -> None:
    host.workers = 6


def _wide(host: SimulatedHost) -> None:
    host.workers, host.distance_s = None, 0.1


def test_a_host_that_becomes_narrow_is_noticed_within_seconds() -> None:
    host = SimulatedHost(steady(0.05), 0.005)
    control = ConcurrencyControl(most=64)
    trace = run(host, control, seconds=12, at={2.0: _narrow})
    assert max(trace.limits_after(7)) <= 14
    assert Move.QUEUE in control.moves


def test_a_narrow_host_that_becomes_distant_is_noticed_within_seconds() -> None:
    host = SimulatedHost(steady(0.02), 0.005, workers=6)
    control = ConcurrencyControl(most=64)
    trace = run(host, control, seconds=20, at={5.0: _wide})
    assert max(trace.limits_after(4)[:1]) <= 12
    assert trace.limits_after(15)[0] == 64


def test_a_host_that_becomes_slower_keeps_its_limit_after_a_while() -> None:
    def slower(host: SimulatedHost) -> None:
        host.distance_s = 0.15

    host = SimulatedHost(steady(0.005), 0.05)
    control = ConcurrencyControl(most=64)
    trace = run(host, control, seconds=10, at={2.0: slower})
    assert min(limit for _, limit in trace.limits[5:]) >= 16
    assert max(trace.limits_after(7)) == 64


@pytest.mark.parametrize("seed", range(3))
def test_several_audits_of_a_narrow_host_keep_the_sum_polite(seed: int) -> None:
    """They do not know of each other, and see one queue: for a long time, none of them
    takes it for a host that has become slow."""
    controls = [ConcurrencyControl(most=64) for _ in range(4)]
    kind = KINDS_BY_NAME["narrow"]
    ran = simulate(kind, controls, 16_000, seed)
    assert ran.most_at_once <= 30
    assert ran.most_at_once_later <= 16
    assert others_wait(kind, ran, 16_000) <= 1.8
    assert ran.least_part >= 0.75
    assert ran.rate >= 0.85 * 6 / 0.015


def test_audits_that_come_later_get_a_fair_part() -> None:
    """Their first answers come from a queue, which they must not take for the host."""
    controls = [ConcurrencyControl(most=64, now=3.0 * number) for number in range(4)]
    kind = KINDS_BY_NAME["narrow"]
    ran = simulate(kind, controls, 16_000, seed=0, apart_s=3.0)
    assert ran.most_at_once_later <= 30
    assert others_wait(kind, ran, 16_000) <= 2
    assert ran.least_part >= 0.6


def test_several_audits_leave_a_part_of_a_host_that_queues() -> None:
    controls = [ConcurrencyControl(most=64) for _ in range(4)]
    kind = KINDS_BY_NAME["proxy, two back ends"]
    ran = simulate(kind, controls, 16_000, seed=1)
    assert ran.most_at_once_later <= 160  # of 256
    assert others_wait(kind, ran, 16_000) <= 9


def test_a_narrow_host_that_becomes_half_as_fast_is_kept_busy() -> None:
    kind = KINDS_BY_NAME["narrow, then half as fast"]
    ran = simulate(kind, [ConcurrencyControl(most=64)], 8000, seed=0)
    assert ran.most_at_once <= 12
    assert ran.ended_at <= (4000 / 400 + 4000 / 200) / 0.85


def test_several_audits_leave_a_host_that_becomes_narrow() -> None:
    controls = [ConcurrencyControl(most=64) for _ in range(4)]
    kind = KINDS_BY_NAME["distant, then narrow"]
    ran = simulate(kind, controls, 8000, seed=0)
    full_at = next(at for at, total in ran.limits if total == 256)
    after = [total for at, total in ran.limits if at > full_at + 6]
    assert max(after) <= 24


def test_a_host_that_accepts_so_many_is_found_with_few_refusals() -> None:
    def host() -> SimulatedHost:
        return SimulatedHost(steady(0.02), 0.03, accepts=20)

    control = ConcurrencyControl(most=64)
    trace = run(host(), control, requests=4000)
    assert trace.refusals <= 0.01 * trace.answers
    assert share_of_best(trace, host) >= 0.85
    assert 15 <= control.limit <= 21


def test_a_host_with_a_rate_limit_is_found() -> None:
    def host() -> SimulatedHost:
        return SimulatedHost(steady(0.005), 0.05, rate=400, burst=400)

    control = ConcurrencyControl(most=64)
    trace = run(host(), control, requests=4000, pause_s=1)
    assert trace.refusals <= 0.02 * trace.answers
    assert share_of_best(trace, host, pause_s=1.0) >= 0.85


@pytest.mark.parametrize("follows_latency", [True, False])
def test_a_proxy_that_resets_connections_above_a_limit_is_noticed(
    *, follows_latency: bool
) -> None:
    control = ConcurrencyControl(most=48, follows_latency=follows_latency)
    ran = simulate(KINDS_BY_NAME["resets above 20"], [control], 4000, seed=0)
    assert ran.refused_share <= 0.01
    assert ran.rate >= 0.8 * 20 / 0.05
    assert 15 <= control.limit <= 21


@pytest.mark.parametrize("rate", [20, 50])
def test_a_rate_limit_costs_few_refusals_in_an_hour(rate: int) -> None:
    """After each pause the limit grows in steps, not to the one that was refused."""
    host = SimulatedHost(steady(0.005), 0.05, rate=rate, burst=rate)
    control = ConcurrencyControl(most=64)
    trace = run(host, control, seconds=3600, pause_s=1)
    assert trace.refusals <= 0.002 * trace.answers
    assert trace.answers >= 0.7 * rate * 3600


def test_a_host_that_accepts_more_again_is_noticed() -> None:
    def wider(host: SimulatedHost) -> None:
        host.accepts = None

    host = SimulatedHost(steady(0.02), 0.03, accepts=6)
    control = ConcurrencyControl(most=64)
    trace = run(host, control, seconds=230, at={40.0: wider})
    assert max(trace.limits_after(20)[:1]) <= 8
    assert control.limit == 64


@pytest.mark.parametrize("least", [1, 4])
def test_a_host_that_becomes_slower_at_the_least_limit_is_noticed(least: int) -> None:
    """There, no probe can use half of the limit."""

    def slower(host: SimulatedHost) -> None:
        host.accepts, host.distance_s = None, 0.1

    host = SimulatedHost(steady(0.005), 0.01, accepts=least)
    control = ConcurrencyControl(most=64, least=least)
    trace = run(host, control, seconds=230, at={15.0: slower})
    assert max(trace.limits_after(13)[:1]) == least
    assert control.limit == 64


@pytest.mark.parametrize("workers", [1, 6, None])
def test_the_limit_keeps_to_its_lower_bound(workers: int | None) -> None:
    host = SimulatedHost(steady(0.02), workers=workers)
    control = ConcurrencyControl(most=64, least=32)
    trace = run(
        host, control, seconds=60, at={3.0: _narrow, 20.0: _wide, 30.0: _narrow}
    )
    assert min(limit for _, limit in trace.limits) == control.lowest == 32


def test_a_limit_without_demand_does_not_grow() -> None:
    control = ConcurrencyControl(most=64)
    run(SimulatedHost(steady(0.01)), control, requests=1000, demand=3)
    assert control.limit == START


# -- distress ------------------------------------------------------------------


def _answer(control: ConcurrencyControl, count: int, now: float) -> None:
    for _ in range(count):
        control.answered("head", 0.01, sent_at=now, now=now + 0.01, is_full=True)


@pytest.mark.parametrize(("waited_s", "limit"), [(0.0, 64), (0.02, 64), (0.06, 12)])
def test_a_client_that_has_no_time_for_answers_asks_for_no_more(
    waited_s: float, limit: int
) -> None:
    control = ConcurrencyControl(most=64)
    now = 0.0
    for _ in range(12):
        for _ in range(2 * control.limit):
            control.answered(
                "head",
                0.05,
                sent_at=now,
                now=now + 0.05,
                is_full=True,
                waited_s=waited_s,
            )
        now += 0.1
    assert control.limit == limit


def test_requests_in_flight_together_halve_the_limit_once() -> None:
    control = ConcurrencyControl(most=8, follows_latency=False)
    for _ in range(8):
        control.distressed(Move.TIMEOUT, sent_at=1, now=2)
    assert (control.limit, control.moves) == (4, {Move.TIMEOUT: 1})
    control.distressed(Move.TIMEOUT, sent_at=2, now=2)  # sent while it was halved
    assert control.limit == 4
    control.distressed(Move.TIMEOUT, sent_at=3, now=4)
    assert control.limit == 2


def test_distress_after_distress_halves_the_limit_down_to_the_least() -> None:
    for least, expected in (1, [4, 2, 1, 1]), (3, [4, 3, 3, 3]):
        control = ConcurrencyControl(most=9, least=least, follows_latency=False)
        limits = []
        for second in range(4):
            control.distressed(
                Move.SERVER_ERROR, sent_at=second + 0.5, now=second + 1.0
            )
            limits.append(control.limit)
        assert limits == expected


def test_one_accident_costs_one_round() -> None:
    control = ConcurrencyControl(most=16, follows_latency=False)
    control.distressed(Move.SERVER_ERROR, sent_at=0, now=1)
    assert control.limit == 8
    _answer(control, 7, 1.5)
    assert control.limit == 8
    _answer(control, 1, 1.6)
    assert control.limit == 16
    assert control.last_move is Move.RECOVERED


@pytest.mark.parametrize(
    ("refused", "limit"), [(1, 14), (4, 11), (6, 10), (8, 8), (16, 8)]
)
def test_what_was_refused_shows_what_is_accepted(refused: int, limit: int) -> None:
    control = ConcurrencyControl(most=16, follows_latency=False)
    for _ in range(refused):
        control.distressed(Move.THROTTLED, sent_at=0, now=1)
    _answer(control, 8, 1.5)
    assert control.limit == limit
    _answer(control, 200, 2)
    assert control.limit == limit
    _answer(control, 200, 1 + HOLD_S + 1)
    assert control.limit > limit


def test_a_fixed_limit_grows_back_and_follows_no_latency() -> None:
    control = ConcurrencyControl(most=8, follows_latency=False)
    for _ in range(8):
        control.distressed(Move.CONNECTION, sent_at=0, now=1)
    assert control.limit == 4
    for number in range(100):
        control.answered(
            "head", 0.01 * number, sent_at=2 + number, now=2 + number, is_full=False
        )
    assert control.limit == 8


def test_the_bounds_hold_from_the_start() -> None:
    assert ConcurrencyControl(most=2).limit == 2
    assert ConcurrencyControl(most=64, least=10).limit == 10
    assert ConcurrencyControl(most=64, remembered=1).limit == 1
    assert ConcurrencyControl(most=64, remembered=5).limit == 2
    assert ConcurrencyControl(most=64, remembered=40).limit == START
    assert ConcurrencyControl(most=16, follows_latency=False).limit == 16


def test_half_of_what_a_host_stood_before_is_tried_as_soon_as_baselines_are_known() -> (
    None
):
    control = ConcurrencyControl(most=64, remembered=60)
    trace = run(SimulatedHost(steady(0.05)), control, requests=500)
    assert [limit for _, limit in trace.limits] == [START, 30, 60, 64]
    assert control.moves == {Move.REMEMBERED: 1, Move.FASTER: 2}


def test_what_a_host_stood_before_is_no_truth() -> None:
    control = ConcurrencyControl(most=64, remembered=60)
    host = SimulatedHost(steady(0.02), workers=6)
    trace = run(host, control, requests=1500)
    assert max(limit for _, limit in trace.limits) == 30
    assert max(trace.limits_after(1)) <= 12


@pytest.mark.parametrize("cause", sorted(DISTRESS))
def test_a_remembered_limit_is_forgotten_after_distress(cause: Move) -> None:
    control = ConcurrencyControl(most=64, remembered=64)
    now = 0.0
    while control.limit != 32:
        assert now < 10
        _answer(control, 2 * control.limit, now)
        now += 0.1
    for _ in range(2):  # 32 and 16 requests
        for _ in range(control.limit):
            control.distressed(cause, sent_at=now, now=now + 0.1)
        now += 0.2
    assert control.limit == 8
    before = control.limit
    while control.limit < 32:
        assert control.limit <= 2 * before  # in steps
        assert now < 60
        before = control.limit
        _answer(control, 2 * control.limit, now)
        now += 0.2
    assert control.moves[Move.REMEMBERED] == 1


def test_what_people_see() -> None:
    control = ConcurrencyControl(most=64)
    assert (control.last_move, control.baselines.baseline_s) == (Move.START, None)
    run(SimulatedHost(steady(0.02), workers=6), control, requests=2000)
    assert control.baselines.baseline_s == pytest.approx(0.02, rel=0.1)
    assert control.baselines.round_trip_s == pytest.approx(
        control.limit / 6 * 0.02, rel=0.2
    )
    assert control.lowest <= START
    assert control.highest > 6
    assert control.last_move in control.moves


def test_what_was_found_is_for_a_later_run() -> None:
    control = ConcurrencyControl(most=64)
    run(SimulatedHost(steady(0.02), workers=6), control, requests=2000)
    assert control.found is not None
    assert 6 <= control.found <= 12
    wide = ConcurrencyControl(most=64, remembered=control.found)
    run(SimulatedHost(steady(0.02)), wide, requests=2000)
    assert wide.found == 64
    assert ConcurrencyControl(most=64).found is None
    assert ConcurrencyControl(most=8, follows_latency=False).found is None


def test_a_run_that_ends_in_a_trial_found_all_of_the_limit() -> None:
    control = ConcurrencyControl(most=64)
    now = 0.0
    while control.last_move is not Move.PROBE:
        assert now < 60
        _answer(control, 2 * control.limit, now)
        now += 0.1
    assert control.limit == 32
    assert control.found == 64
    control.restrict(40)
    assert control.found == 40


@pytest.mark.parametrize("cause", sorted(DISTRESS - {Move.THROTTLED}))
@pytest.mark.parametrize("answers", [0, 2000])
def test_a_host_that_has_gone_down_does_not_show_what_it_stands(
    cause: Move, answers: int
) -> None:
    control = ConcurrencyControl(most=64)
    now = run(SimulatedHost(steady(0.02)), control, requests=answers).ended_at
    for _ in range(8):
        control.distressed(cause, sent_at=now, now=now + 1)
        now += 2
    assert control.limit == 1
    assert control.found is None


def test_a_run_that_was_too_short_to_find_it_says_nothing() -> None:
    short = ConcurrencyControl(most=64, remembered=64)
    run(SimulatedHost(steady(0.02)), short, requests=200, demand=6)
    assert short.found is None
