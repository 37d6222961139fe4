"""How many retries one host is worth.

A retry helps where a request failed by accident. Where most fail, retries are load on
a host that is already failing, and time. So retries are taken from a reserve: a
request that gets through in the end gives back all that it took, and every good
request adds a little, so that only retries that came to nothing use the reserve up.
The idea is the token bucket of Finagle's and gRPC's retry throttling (gRFC A6); what
is given back follows AWS's "standard" retry mode.
"""

from __future__ import annotations

# One retry in vain for five good requests: a host that fails so much is still useful,
# and gets no more than a fifth on top of what it can answer.
EARNED = 0.2
# Rounds of all slots that may be given up, each after its last try, before retries
# end: one for what was under way when the host began to fail, the others for it to
# recover in. By default 4 rounds of 8 requests with 2 retries each: 64.
ROUNDS = 4


class RetryBudget:
    """The reserve of one host."""

    __slots__ = ("_left", "_most")

    def __init__(self, *, most_at_once: int, tries: int) -> None:
        self._most = float(ROUNDS * most_at_once * max(1, tries - 1))
        self._left = self._most

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing from it."""
        return self._left >= self._most

    def take(self) -> bool:
        """Whether one more retry may be sent."""
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def good(self, retries: int) -> None:
        """A request got through after it had taken so many retries."""
        if self._left < self._most:
            self._left = min(self._most, self._left + retries + EARNED)
