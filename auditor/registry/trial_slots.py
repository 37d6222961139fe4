"""The seconds in which trials begin, the same ones for all audits of a host: pure.

Slots begin at full seconds of the wall clock. There is a trial in every fourth, then in
every eighth, then in every sixteenth: in those with numbers that can be divided so. So
audits that do not know of each other leave the queue together, whatever their rarity.
"""

from __future__ import annotations

import math

SLOT_S = 1.0
# A trial costs about two round trips: trials are some `TRIAL_EVERY` round trips apart.
# While there is no sign of a queue, there is one in every fourth slot, then in every
# eighth, then in every sixteenth: these are the powers of 2.
TRIAL_EVERY, OFTEN, RAREST = 100, 2, 4


class TrialSlots:
    """Slots begin at `since`, and every `SLOT_S` seconds; the next one at `next_at`."""

    __slots__ = ("_rarity", "_since", "_slot", "next_at")

    def __init__(self, since: float, now: float) -> None:
        self._since = since
        self._slot = 0
        self.next_at = now
        self._rarity = OFTEN  # 2: a trial in every fourth slot

    def begin(self, now: float) -> None:
        """Begin the slot of this moment."""
        self._slot = math.floor((now - self._since) / SLOT_S)
        self.next_at = self._since + (self._slot + 1) * SLOT_S

    def has_trial(
        self, round_trip_s: float, *, is_busy: bool, most: int = RAREST
    ) -> bool:
        """Whether a trial begins in this slot; the next one is rarer then.

        `is_busy`: there was a sign of a queue. `most`: the greatest rarity.
        """
        cost = TRIAL_EVERY * round_trip_s / SLOT_S
        least = min(RAREST, math.ceil(math.log2(max(1.0, cost))))
        rarity = min(max(least, OFTEN if is_busy else self._rarity), most)
        if self._slot % 2**rarity:
            return False
        self._rarity = min(rarity + 1, RAREST)
        return True
