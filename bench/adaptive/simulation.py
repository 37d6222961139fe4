"""Audits of the hosts of `bench.adaptive` in simulated time.

In seconds instead of half an hour: what the controller does with each host. An audit
has always more to ask. It can be busy itself, so that it reads answers later than they
come, and share the host with others that start later.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from auditor.registry.concurrency_control import ConcurrencyControl
from auditor.registry.learned_pace import LearnedPace
from auditor.wire.host_concurrency import Move
from bench.adaptive.hosts import OK, RESET, TOO_MANY_REQUESTS, Kind, Reply
from bench.adaptive.server import PROBE_S, REPOSITORIES, idle_latencies

# Seconds before a request that got 503 is sent again.
_RETRY_S = 1.0


@dataclass(slots=True)
class Run:
    """A simulated audit; `others` as in `server.Seen`, `limits` each with its time.

    `most_in` has the most requests at once of each second; `parts` the answers that
    each process got while all of them were running.
    """

    answered: int = 0
    refused: int = 0
    ended_at: float = 0.0
    most_in: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    parts: list[int] = field(default_factory=list)
    others: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    limits: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.ended_at

    @property
    def most_at_once(self) -> int:
        """The most requests that were in flight together."""
        return max(self.most_in.values())

    @property
    def most_at_once_later(self) -> int:
        """The same in the second half of the time."""
        return max(
            most for at, most in self.most_in.items() if 2 * at >= self.ended_at - 1
        )

    @property
    def least_part(self) -> float:
        """The answers of the slowest process, as a share of a fair part."""
        total = sum(self.parts)
        return min(self.parts) * len(self.parts) / total if total else 1.0

    @property
    def refused_share(self) -> float:
        """The share of requests that were refused."""
        return self.refused / (self.answered + self.refused)


@dataclass(frozen=True, slots=True)
class Client:
    """What the event loop of an audit does beside waiting.

    Each answer costs `work_s` seconds; answers that come meanwhile are read after that,
    all at once. In one of `stall_one_in` turns, the system runs another program first,
    for `stall_s` on average.
    """

    work_s: float = 0.0
    stall_s: float = 0.0
    stall_one_in: int = 10


IDLE_CLIENT = Client()


@dataclass(slots=True)
class _Flight:
    """A request, written at `sent_at`; its answer probably came at `came_at`."""

    process: _Process
    wanted: int
    sent_at: float
    reply: Reply
    came_at: float = 0.0


def simulate(
    kind: Kind,
    controls: Sequence[ConcurrencyControl],
    requests: int,
    seed: int,
    client: Client = IDLE_CLIENT,
    *,
    apart_s: float = 0.0,
) -> Run:
    """Audit a new host of a kind, in simulated time.

    Each of `controls` is a process of its own, with its part of the requests, and
    starts `apart_s` seconds after the one before; `limits` of the result are the sums.
    """
    return _Simulation(kind, controls, requests, seed, client, apart_s=apart_s).run()


class _Simulation:
    """Events in the order of their times: (time, number, what happens)."""

    def __init__(
        self,
        kind: Kind,
        controls: Sequence[ConcurrencyControl],
        requests: int,
        seed: int,
        client: Client,
        *,
        apart_s: float,
    ) -> None:
        self._host = kind.new(random.Random(seed), requests)
        self._rng = random.Random(seed + 1)
        self._stalls = random.Random(seed + 2)
        order = [number % REPOSITORIES for number in range(requests)]
        self._rng.shuffle(order)
        self._processes = [
            _Process(control, order[number :: len(controls)], number * apart_s)
            for number, control in enumerate(controls)
        ]
        self._requests = requests
        self._client = client
        self._in_flight = 0
        self._result = Run(parts=[0] * len(controls))
        self._all_run_at = (len(controls) - 1) * apart_s
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []

    def run(self) -> Run:
        """Until there are so many answers."""
        result = self._result
        self._at(0.0, self._probe)
        for one in self._processes:
            self._at(one.starts_at, functools.partial(self._send, one))
        while result.answered < self._requests:
            result.ended_at, _, happen = heapq.heappop(self._events)
            happen(result.ended_at)
        return result

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happen))

    def _probe(self, now: float) -> None:
        """The other client asks."""
        repository = f"bench/app-{self._rng.randrange(REPOSITORIES)}"
        part = self._host.part(repository)
        reply = self._host.arrive(now, repository, is_other=True)
        self._result.others[part].append(reply.at - now)
        self._at(now + PROBE_S * self._rng.uniform(0.5, 1.5), self._probe)

    def _send(self, one: _Process, now: float) -> None:
        """Send what may be sent, and come back when a pause ends."""
        while (wanted := one.take(now)) is not None:
            reply = self._host.arrive(now, f"bench/app-{wanted}")
            flight = _Flight(one, wanted, now, reply)
            self._in_flight += 1
            self._at(reply.at, functools.partial(self._arrive, flight))
        result = self._result
        second = int(now)
        result.most_in[second] = max(result.most_in[second], self._in_flight)
        at = one.wakes_at(now)
        if at is not None:
            self._at(at, functools.partial(self._send, one))

    def _arrive(self, flight: _Flight, now: float) -> None:
        """An answer is there; it is read when the event loop has time."""
        self._in_flight -= 1
        one = flight.process
        one.arrived.append(flight)
        if not one.is_busy:
            one.is_busy = True
            self._at(now + self._stall_s(), functools.partial(self._read, one))

    def _read(self, one: _Process, now: float) -> None:
        """Read all answers that are there, then handle them one after the other.

        Their round trips end when they probably came (loop_turns.py).
        """
        since = one.read_at if one.was_busy else now
        one.read_at = now
        for flight in one.arrived:
            flight.came_at = (max(since, flight.sent_at) + now) / 2
            now += self._client.work_s * self._stalls.uniform(0.5, 1.5)
            self._at(now, functools.partial(self._handle, flight))
        one.was_busy = one.is_busy = bool(one.arrived)
        one.arrived = []
        if one.is_busy:
            self._at(now + self._stall_s(), functools.partial(self._read, one))

    def _handle(self, flight: _Flight, now: float) -> None:
        one, result, reply = flight.process, self._result, flight.reply
        if reply.status == OK:
            result.answered += 1
            if now >= self._all_run_at and not any(p.is_done for p in self._processes):
                result.parts[self._processes.index(one)] += 1
            one.answered(now, flight.sent_at, flight.came_at)
        else:
            result.refused += 1
            retry_at = now + _RETRY_S * self._rng.uniform(0.5, 1.5)
            one.refused(now, flight.sent_at, reply, flight.wanted, retry_at)
        total = sum(one.control.limit for one in self._processes)
        if not result.limits or result.limits[-1][1] != total:
            result.limits.append((now, total))
        self._send(one, now)

    def _stall_s(self) -> float:
        client = self._client
        if not client.stall_s or self._stalls.randrange(client.stall_one_in):
            return 0.0
        return self._stalls.expovariate(1 / client.stall_s)


class _Process:
    """A process that audits, and what it still has to ask for.

    `arrived` are answers that its event loop has not read; `is_busy` while it works,
    `was_busy` if it worked until its last reads, at `read_at`.
    """

    def __init__(
        self, control: ConcurrencyControl, wanted: Sequence[int], starts_at: float
    ) -> None:
        self.control = control
        self.pace = LearnedPace()
        self.starts_at = starts_at
        self.arrived: list[_Flight] = []
        self.is_busy = self.was_busy = False
        self.read_at = 0.0
        self.is_done = False  # the last request was sent
        self._wanted = iter(wanted)
        self._retries: list[tuple[float, int]] = []
        self._in_flight = 0
        self._paused_until = 0.0
        self._woken_at = 0.0

    def take(self, now: float) -> int | None:
        """The repository of the next request, None if none may be sent."""
        if self._in_flight >= self.control.limit or now < self._paused_until:
            return None
        if self.pace.is_active and now < self.pace.next_at:
            return None
        found: int | None
        if self._retries and self._retries[0][0] <= now:
            found = heapq.heappop(self._retries)[1]
        else:
            found = next(self._wanted, None)
            self.is_done = found is None
        if found is not None:
            self._in_flight += 1
            self.pace.sent(now)
        return found

    def wakes_at(self, now: float) -> float | None:
        """When a pause ends, unless that was said before."""
        times = [self._paused_until, *(at for at, _ in self._retries[:1])]
        if self.pace.is_active:
            times.append(self.pace.next_at)
        at = min((at for at in times if at > now), default=0.0)
        if at <= now or at == self._woken_at:
            return None
        self._woken_at = at
        return at

    def answered(self, now: float, sent_at: float, came_at: float) -> None:
        """A good reply came."""
        is_full = self._in_flight >= self.control.limit
        self._in_flight -= 1
        self.control.answered(
            "GET",
            came_at - sent_at,
            sent_at=sent_at,
            now=now,
            is_full=is_full,
            waited_s=now - came_at,
        )
        self.pace.accepted(sent_at=sent_at, now=now, at_once=self.control.limit)

    def refused(
        self, now: float, sent_at: float, reply: Reply, wanted: int, retry_at: float
    ) -> None:
        """A refusal came: as in an audit, Retry-After holds for all requests."""
        self._in_flight -= 1
        if reply.status == TOO_MANY_REQUESTS:
            pause_s = reply.retry_after_s or 1
            self._paused_until = max(self._paused_until, now + pause_s)
        heapq.heappush(self._retries, (retry_at, wanted))
        cause = Move.CONNECTION if reply.status == RESET else Move.THROTTLED
        control = self.control
        is_least = control.limit <= control.least and sent_at > control.moved_at
        if cause is Move.THROTTLED and (is_least or self.pace.is_active):
            self.pace.refused(
                sent_at=sent_at,
                now=now,
                at_once=control.limit,
                is_certain=reply.status == TOO_MANY_REQUESTS,
            )
        self.control.distressed(cause, sent_at=sent_at, now=now)


def others_wait(kind: Kind, run: Run, requests: int) -> float:
    """The median latency of others, as a multiple of that at the idle host."""
    idle = idle_latencies(kind, requests)
    return max(
        statistics.median(times) / idle[part]
        for part, times in run.others.items()
        if len(times) > 2
    )
