"""python -m bench.adaptive.simulation [--seeds N]

The hosts of `bench.adaptive` in simulated time: in seconds instead of half an hour,
what the controller does with each, and fixed limits beside it. The client has always
more to ask, and no work of its own.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from auditor.registry.concurrency_control import ConcurrencyControl
from auditor.wire.host_concurrency import Move
from bench.adaptive.hosts import KINDS, OK, TOO_MANY_REQUESTS, Kind, Reply
from bench.adaptive.server import PROBE_S, REPOSITORIES, idle_latencies

CEILING = 64
FIXED = (8, 16, 32, 64)
# Seconds before a request that got 503 is sent again.
_RETRY_S = 1.0


@dataclass(slots=True)
class Run:
    """A simulated audit; `others` as in `server.Seen`, `limits` each with its time."""

    answered: int = 0
    refused: int = 0
    ended_at: float = 0.0
    most_at_once: int = 0
    others: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    limits: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.ended_at

    @property
    def refused_share(self) -> float:
        """The share of requests that were refused."""
        return self.refused / (self.answered + self.refused)


def simulate(
    kind: Kind, controls: Sequence[ConcurrencyControl], requests: int, seed: int
) -> Run:
    """Audit a new host of a kind, in simulated time.

    Each of `controls` is a process of its own, with its part of the requests; `limits`
    of the result are the sums.
    """
    host = kind.new(random.Random(seed), requests)
    rng = random.Random(seed + 1)
    order = [number % REPOSITORIES for number in range(requests)]
    rng.shuffle(order)
    processes = [
        _Process(control, order[number :: len(controls)])
        for number, control in enumerate(controls)
    ]
    run, number = Run(), itertools.count()
    flights: list[tuple[float, int, float, int, Reply, _Process]] = []
    now = probe_at = 0.0
    while run.answered < requests:
        for one in processes:
            while (wanted := one.take(now)) is not None:
                reply = host.arrive(now, f"bench/app-{wanted}")
                flight = (reply.at, next(number), now, wanted, reply, one)
                heapq.heappush(flights, flight)
        run.most_at_once = max(run.most_at_once, len(flights))
        due = [probe_at, *(at for one in processes for at in one.wakes_at(now))]
        now = min([*due, flights[0][0]] if flights else due)
        if now == probe_at:
            repository = f"bench/app-{rng.randrange(REPOSITORIES)}"
            part = host.part(repository)
            wait = host.arrive(now, repository, is_other=True).at - now
            run.others[part].append(wait)
            probe_at = now + PROBE_S * rng.uniform(0.5, 1.5)
        while flights and flights[0][0] <= now:
            _, _, sent_at, wanted, reply, one = heapq.heappop(flights)
            if reply.status == OK:
                run.answered += 1
                one.answered(now, sent_at)
            else:
                run.refused += 1
                retry_at = now + _RETRY_S * rng.uniform(0.5, 1.5)
                one.refused(now, sent_at, reply, wanted, retry_at)
            total = sum(one.control.limit for one in processes)
            if not run.limits or run.limits[-1][1] != total:
                run.limits.append((now, total))
    run.ended_at = now
    return run


class _Process:
    """A process that audits, and what it still has to ask for."""

    def __init__(self, control: ConcurrencyControl, wanted: Sequence[int]) -> None:
        self.control = control
        self._wanted = iter(wanted)
        self._retries: list[tuple[float, int]] = []
        self._in_flight = 0
        self._paused_until = 0.0

    def take(self, now: float) -> int | None:
        """The repository of the next request, None if none may be sent."""
        if self._in_flight >= self.control.limit or now < self._paused_until:
            return None
        found: int | None
        if self._retries and self._retries[0][0] <= now:
            found = heapq.heappop(self._retries)[1]
        else:
            found = next(self._wanted, None)
        self._in_flight += found is not None
        return found

    def wakes_at(self, now: float) -> list[float]:
        """When a pause ends."""
        times = [self._paused_until, *(at for at, _ in self._retries[:1])]
        return [at for at in times if at > now]

    def answered(self, now: float, sent_at: float) -> None:
        """A good reply came."""
        is_full = self._in_flight >= self.control.limit
        self._in_flight -= 1
        self.control.answered(
            "GET", now - sent_at, sent_at=sent_at, now=now, is_full=is_full
        )

    def refused(
        self, now: float, sent_at: float, reply: Reply, wanted: int, retry_at: float
    ) -> None:
        """A refusal came: as in an audit, Retry-After holds for all requests."""
        self._in_flight -= 1
        if reply.status == TOO_MANY_REQUESTS:
            pause_s = reply.retry_after_s or 1
            self._paused_until = max(self._paused_until, now + pause_s)
        heapq.heappush(self._retries, (retry_at, wanted))
        self.control.distressed(Move.THROTTLED, sent_at=sent_at, now=now)


def others_wait(kind: Kind, run: Run, requests: int) -> float:
    """The median latency of others, as a multiple of that at the idle host."""
    idle = idle_latencies(kind, requests)
    return max(
        statistics.median(times) / idle[part]
        for part, times in run.others.items()
        if len(times) > 2
    )


def _adaptive() -> ConcurrencyControl:
    return ConcurrencyControl(most=CEILING)


def _fixed(limit: int) -> Callable[[], ConcurrencyControl]:
    return lambda: ConcurrencyControl(most=limit, follows_latency=False)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive.simulation")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--host", default="")
    parser.add_argument("--trace", action="store_true", help="print each limit")
    options = parser.parse_args()
    seeds = range(options.seeds)
    print("| host | share of the best fixed | refused | most at once | others wait |")
    print("|---|---:|---:|---:|---:|")
    for kind in KINDS:
        if options.host not in kind.name:
            continue
        runs, shares = [], []
        for seed in seeds:
            best = max(
                simulate(kind, [_fixed(limit)()], options.requests, seed).rate
                for limit in FIXED
            )
            controls = [_adaptive() for _ in range(options.processes)]
            runs.append(simulate(kind, controls, options.requests, seed))
            shares.append(runs[-1].rate / best)
        waits = [others_wait(kind, run, options.requests) for run in runs]
        print(
            f"| {kind.name} | {statistics.median(shares):.2f} (at least"
            f" {min(shares):.2f}) | {max(run.refused_share for run in runs):.1%}"
            f" | {max(run.most_at_once for run in runs)}"
            f" | {statistics.median(waits):.1f} (at most {max(waits):.1f}) |",
            flush=True,
        )
        if options.trace:
            for at, limit in runs[0].limits:
                print(f"  {at:8.2f} s  {limit}")


if __name__ == "__main__":
    main()
