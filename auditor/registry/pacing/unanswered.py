"""What becomes of requests that a host lets run into their time, though it is there.

A registry whose storage hangs answers its ping and no manifest: the breaker finds it
alive, and each reference would take its whole time, one after the other, for days. So
the time is summed up in which something was asked for and nothing was answered. When
it is as long as `PATIENCE_S`, that repository is given up; and the whole host, where
no other one was answered either. References fail at once then, with one sentence;
after `DEAD_S` they are asked for again, and the first answer is the end of it.
"""

from __future__ import annotations

import logging
from dataclasses import field

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.registry.host_health import DEAD_S
from auditor.util.clock import Clock

log = logging.getLogger("auditor.registry")

# Ten times the silence that one request bears by default, and longer than storage
# takes to fail over: what comes back meanwhile costs the references that had their
# tries, and no other.
PATIENCE_S = 300.0


@dataclass(slots=True)
class _Streak:
    """Requests in a row without an answer.

    `waited_s`: how long something was waited for; those that waited together count
    once, and pauses do not. `until`: how long it is given up, and `why`.
    """

    waited_s: float = 0.0
    last_at: float = float("-inf")
    requests: int = 0
    until: float = float("-inf")
    why: Failure | None = None
    places: set[str] = field(default_factory=set)

    def add(self, sent_at: float, now: float) -> None:
        self.waited_s += now - max(sent_at, self.last_at)
        self.last_at = now
        self.requests += 1


class Unanswered:
    """What one host leaves unanswered. `any`: there is something, so tell answers."""

    __slots__ = ("_all", "_clock", "_host", "_places", "any")

    def __init__(self, *, host: str, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._all = _Streak()
        self._places: dict[str, _Streak] = {}
        self.any = False

    def answered(self, url: str) -> None:
        """A request to `url` was answered, however."""
        self._all = _Streak()
        self._places.pop(_place(url), None)
        self.any = bool(self._places)

    def timed_out(self, url: str, failure: Failure, *, sent_at: float) -> None:
        """A request to `url`, sent at `sent_at`, was not answered in its time."""
        now = self._clock.monotonic()
        place = _place(url)
        here = self._places.setdefault(place, _Streak())
        here.add(sent_at, now)
        self._all.add(sent_at, now)
        self._all.places.add(place)
        self.any = True
        if self._all.waited_s >= PATIENCE_S and len(self._all.places) > 1:
            self._give_up(self._all, "", failure, now)
        elif here.waited_s >= PATIENCE_S:
            self._give_up(here, " for this repository", failure, now)

    def refusal(self, url: str) -> Failure | None:
        """Why `url` is not asked for; None if it is."""
        now = self._clock.monotonic()
        if now < self._all.until:
            return self._all.why
        here = self._places.get(_place(url))
        return here.why if here is not None and now < here.until else None

    def _give_up(
        self, streak: _Streak, what: str, failure: Failure, now: float
    ) -> None:
        detail = (
            f"{self._host} was given up{what}: it is there, but {streak.requests}"
            f" requests in a row had no answer, for {streak.waited_s:.0f} s:"
            f" {failure.detail}"
        )
        if streak.why is None:
            log.warning("%s", detail)
        streak.until = now + DEAD_S
        streak.why = Failure(kind=FailureKind.TIMEOUT, detail=detail, attempts=0)


def _place(url: str) -> str:
    """The repository, in the URL of something in it; .../manifests/1 and the like."""
    return url.partition("?")[0].rsplit("/", 2)[0]
