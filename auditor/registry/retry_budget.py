"""How often requests to a failing host are repeated: the retry budget."""

from __future__ import annotations

from collections.abc import Callable

# A good request earns this part of a retry: a host of which one request in five fails
# is still useful, and gets at most a fifth more requests than it can answer.
RETRY_EARNED = 0.2
# The retry budget is this many rounds of all slots with all their retries: one for
# what was in flight when the host began to fail, the others while it recovers.
BUDGET_ROUNDS = 4


class RetryBudget:
    """Bounds the retries of one host.

    A retry helps where a request failed by accident. Where most requests fail, retries
    only add load. So each retry takes one from the budget, a request that succeeds in
    the end refunds all its retries, and every good request adds `RETRY_EARNED`: only
    retries without success use the budget up. It is the token bucket of gRPC's retry
    throttling (gRFC A6); refunds follow AWS's "standard" mode.

    `most_in_flight` is the most requests that were allowed at once so far, a few more
    at the start of a run.
    """

    __slots__ = ("_most_in_flight", "_retries", "_taken")

    def __init__(self, *, most_in_flight: Callable[[], int], tries: int) -> None:
        self._most_in_flight = most_in_flight
        self._retries = max(1, tries - 1)
        self._taken = 0.0

    @property
    def is_full(self) -> bool:
        """Whether all retries that were taken have been earned back."""
        return self._taken <= 0

    def take(self) -> bool:
        """Take one retry; false if none is left."""
        most = BUDGET_ROUNDS * self._most_in_flight() * self._retries
        if self._taken + 1 > most:
            return False
        self._taken += 1
        return True

    def refund(self, retries: int) -> None:
        """Put back the retries of a request that succeeded."""
        if self._taken > 0:
            self._taken = max(0.0, self._taken - retries - RETRY_EARNED)
