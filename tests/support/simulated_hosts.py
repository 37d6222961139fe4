"""Hosts in simulated time, sent as many requests as a `ConcurrencyControl` allows."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from auditor.registry.concurrency_control import ConcurrencyControl
from auditor.wire.host_concurrency import Move

# The seconds that a host works on a request.
Work = Callable[[random.Random], float]


@dataclass(slots=True)
class SimulatedHost:
    """`workers` of them work; requests that find none free wait, first come first
    served. None for as many as there are requests.

    `distance_s` is the time of a round trip without work. More than `accepts` requests
    are refused with 503, and those above `rate` a second with 429, after a `burst`.
    All can be changed while the host is used.
    """

    work: Work
    distance_s: float = 0.0
    workers: int | None = None
    accepts: int | None = None
    rate: float | None = None
    burst: float = 20.0
    held: int = 0
    _free_at: list[float] = field(default_factory=list)
    _tokens: float | None = None
    _tokens_at: float = 0.0

    def answer(self, now: float, chance: random.Random) -> tuple[float, Move | None]:
        """When a request that is sent now is answered, and why it is refused if so."""
        arrives = now + self.distance_s / 2
        if self.rate is not None:
            if self._tokens is None:
                self._tokens = self.burst
            gained = (arrives - self._tokens_at) * self.rate
            self._tokens = min(self.burst, self._tokens + gained)
            self._tokens_at = arrives
            if self._tokens < 1:
                return now + self.distance_s, Move.THROTTLED
            self._tokens -= 1
        if self.accepts is not None and self.held >= self.accepts:
            return now + self.distance_s, Move.THROTTLED
        took = self.work(chance)
        starts = arrives
        if self.workers is not None:
            while len(self._free_at) >= self.workers:
                starts = max(arrives, heapq.heappop(self._free_at))
            heapq.heappush(self._free_at, starts + took)
        return starts + took + self.distance_s / 2, None


@dataclass(slots=True)
class Trace:
    """What was seen: (time, limit) after each change, and the answers and refusals."""

    limits: list[tuple[float, int]] = field(default_factory=list)
    answers: int = 0
    refusals: int = 0
    ended_at: float = 0.0

    def limits_after(self, at: float) -> list[int]:
        """The limits in force from a time on."""
        before = [limit for time, limit in self.limits if time <= at]
        return before[-1:] + [limit for time, limit in self.limits if time > at]

    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.ended_at if self.ended_at else 0.0


def run(
    host: SimulatedHost,
    control: ConcurrencyControl,
    *,
    requests: int | None = None,
    seconds: float = 1e9,
    seed: int = 0,
    kind: Callable[[random.Random], tuple[object, float]] = lambda _: ("head", 1.0),
    demand: int = 10**9,
    pause_s: float = 0.0,
    at: dict[float, Callable[[SimulatedHost], None]] | None = None,
) -> Trace:
    """Send requests until there are so many answers, or for so many seconds.

    `kind` gives the class of a request and the factor of its work. At most `demand`
    requests are wanted at a time. After a refusal no request is sent for `pause_s`.
    """
    chance = random.Random(seed)
    trace = Trace(limits=[(0.0, control.limit)])
    events: list[tuple[float, int, float, object, Move | None]] = []
    changes = sorted((at or {}).items(), key=lambda item: item[0])
    now, number, in_flight, paused_until = 0.0, 0, 0, 0.0
    answers = requests if requests is not None else 10**9
    while trace.answers < answers and now < seconds:
        while changes and changes[0][0] <= now:
            changes.pop(0)[1](host)
        while in_flight < min(control.limit, demand) and now >= paused_until:
            name, factor = kind(chance)
            usual = host.work
            host.work = lambda c, usual=usual, factor=factor: factor * usual(c)  # type: ignore[misc]
            done, refusal = host.answer(now, chance)
            host.work = usual
            host.held += refusal is None
            number += 1
            in_flight += 1
            heapq.heappush(events, (done, number, now, name, refusal))
        if not events:
            now = paused_until
            continue
        if paused_until > now and events[0][0] > paused_until:
            now = paused_until
            continue
        now, _, sent_at, name, refusal = heapq.heappop(events)
        is_full = in_flight >= control.limit
        in_flight -= 1
        if refusal is not None:
            trace.refusals += 1
            control.distressed(refusal, sent_at=sent_at, now=now)
            paused_until = max(paused_until, now + pause_s)
        else:
            host.held -= 1
            trace.answers += 1
            control.answered(
                name, now - sent_at, sent_at=sent_at, now=now, is_full=is_full
            )
        if control.limit != trace.limits[-1][1]:
            trace.limits.append((now, control.limit))
    trace.ended_at = now
    return trace
