"""What distress shows about the requests that a host accepts at once: pure.

Distress is a 429, a 5xx, a timeout or a lost connection. How many of the requests in
flight were refused shows how many were accepted. After 429 and 503 no higher limit is
tried for a while, longer if that is refused again, and the one that was refused is
approached in small steps until it was fine for a while. So it is where some
connections fail and others do not: proxies refuse what is above a limit in that way.
"""

from __future__ import annotations

import math

from auditor.fast_dataclass import dataclass
from auditor.wire.host_concurrency import Move

# After a limit was refused, how long no higher one is tried, doubled each time it is
# refused again soon.
HOLD_S, MAX_HOLD_S = 10.0, 160.0
# A limit that was fine for so long is no accident of a burst that a host allows.
PROVEN_S = 3.0
# One refused request in `ACCIDENT` is an accident, unless it was a 429 or 503.
ACCIDENT = 20
# If more connections than this share fail, the host is down: that shows no limit.
DOWN = 0.75
# Of the requests that were accepted, this part is sent again.
ACCEPTED = 0.95


@dataclass(slots=True)
class _Refusals:
    """The requests in flight when the limit was halved, `limit` of them.

    `refused` of them were in distress; `cause` is the first one's.
    """

    limit: int
    cause: Move
    refused: int = 1


class RefusedLimits:
    """The limits of one host that were refused, and those that were fine.

    `is_halved`: the limit was halved, and no round without distress came since.
    """

    __slots__ = (
        "_fine", "_fine_since", "_halved_at", "_held_until", "_hold_s", "_refusals",
        "_refused", "_rounds",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self._refusals: _Refusals | None = None
        self._halved_at = self._held_until = -math.inf
        self._hold_s = HOLD_S
        self._rounds = math.inf  # how many had no distress since the last accident
        # The limit that the host refused last, until it is fine again.
        self._refused = 0
        self._fine = 0  # the highest limit without distress for `PROVEN_S`
        self._fine_since = now

    @property
    def is_halved(self) -> bool:
        """Whether a round without distress is waited for."""
        return self._refusals is not None

    def is_new(self, limit: int, cause: Move, *, sent_at: float, now: float) -> bool:
        """Count a request in distress; whether the limit is to be halved for it.

        All requests that were in flight together halve it once.
        """
        if sent_at <= self._halved_at:
            if self._refusals is not None:
                self._refusals.refused += 1
            return False
        self._halved_at = now
        self._refusals = _Refusals(limit, cause)
        if cause is Move.THROTTLED:
            self._refused = limit
        if self._fine >= limit:
            self._fine = 0
        return True

    def recovered(self, limit: int, now: float) -> int:
        """After a round without distress, the limit that the host accepts."""
        refusals = self._refusals
        assert refusals is not None
        self._refusals = None
        before, refused = refusals.limit, refusals.refused
        target = limit
        is_throttled = refusals.cause is Move.THROTTLED
        if not is_throttled and self._is_accident(refusals):
            self._rounds = 0
            target = before
        elif is_throttled or self._is_refusal(refusals):
            self._refused = before
            if 2 * refused < before:
                target = round(ACCEPTED * (before - refused))
            if 0 < self._fine < before:
                target = max(target, self._fine)
            self.hold(now)
        return max(limit, target)

    def _is_accident(self, refusals: _Refusals) -> bool:
        if refusals.refused > max(1, refusals.limit // ACCIDENT):
            return False
        # The round that ends an accident is the first one.
        return refusals.cause is not Move.CONNECTION or self._rounds > 1

    def _is_refusal(self, refusals: _Refusals) -> bool:
        """Whether connections failed because there were too many."""
        is_down = refusals.refused > DOWN * refusals.limit
        return refusals.cause is Move.CONNECTION and not is_down

    def moved(self, now: float) -> None:
        """The limit has moved."""
        self._fine_since = now

    def was_fine(self, limit: int, now: float) -> None:
        """A round with this limit had no distress."""
        self._rounds += 1
        if now - self._fine_since >= PROVEN_S:
            self._fine = max(self._fine, limit)
            if limit >= self._refused:
                self._refused = 0

    def hold(self, now: float) -> None:
        """Try no higher limit for a while, longer if that is so again."""
        is_again = now < self._held_until + self._hold_s
        self._hold_s = min(2 * self._hold_s, MAX_HOLD_S) if is_again else HOLD_S
        self._held_until = now + self._hold_s

    def may_grow(self, now: float) -> bool:
        """Whether a higher limit can be tried."""
        return now >= self._held_until

    def may_double(self, limit: int, now: float) -> bool:
        """Whether twice the limit can be tried: not one that was refused lately."""
        return self.may_grow(now) and not 0 < self._refused <= 2 * limit
