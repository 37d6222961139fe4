"""Half of the limit shows whether there is a queue."""

from __future__ import annotations

import pytest

from auditor.registry.queue_probe import QueueProbe, Verdict


@pytest.mark.parametrize(
    ("limit", "slowdown", "half_slowdown", "verdict"),
    [
        pytest.param(12, 2.0, 1.0, Verdict.QUEUE, id="six workers: as many answers"),
        pytest.param(64, 8.0, 4.0, Verdict.QUEUE, id="a long queue, half of it left"),
        pytest.param(8, 1.33, 1.0, Verdict.NO_QUEUE, id="half keeps it less busy"),
        pytest.param(16, 2.0, 2.0, Verdict.SAME, id="slow for another reason"),
        pytest.param(16, 2.0, 1.9, Verdict.SAME, id="nearly as slow"),
        pytest.param(16, 1.3, 1.29, Verdict.SAME, id="a little slow, whatever we do"),
    ],
)
def test_the_first_half(
    limit: int, slowdown: float, half_slowdown: float, verdict: Verdict
) -> None:
    probe = QueueProbe.begin(limit, slowdown)
    assert probe.verdict(limit // 2, half_slowdown, least=1) is verdict


def test_a_long_queue_is_halved_until_it_is_gone() -> None:
    workers, limit = 6, 64
    probe = QueueProbe.begin(limit, limit / workers)
    steps = []
    while limit > 1:
        limit //= 2
        slowdown = max(1.0, limit / workers)
        verdict = probe.verdict(limit, slowdown, least=1)
        steps.append((limit, verdict))
        if verdict is not Verdict.QUEUE:
            break
        probe = probe.next_step(limit, slowdown)
    assert steps == [
        (32, Verdict.QUEUE),
        (16, Verdict.QUEUE),
        (8, Verdict.QUEUE),
        (4, Verdict.NO_QUEUE),
    ]
    assert probe.limit == 64


def test_the_least_is_not_halved() -> None:
    assert QueueProbe.begin(8, 2.0).verdict(4, 1.0, least=4) is Verdict.NO_QUEUE
