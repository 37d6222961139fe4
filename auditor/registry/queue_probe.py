"""Whether there is a queue at a host: a pure probe with half of the limit.

`limit / slowdown` is the throughput of a host, in answers per baseline. If half of the
limit brings as many answers, there was a queue: half of that is tried, until there is
none. If answers are as slow as before, the queue is none of ours, or there is none.
"""

from __future__ import annotations

import enum

from auditor.fast_dataclass import dataclass

# With half of the limit, the host is as busy as before if all of it brought at most
# this multiple of the answers.
NO_GAIN = 1.15


class Verdict(enum.Enum):
    """What the answers with half of the limit show."""

    SAME = "answers are as slow as before"
    QUEUE = "there is a queue still: try half of that"
    NO_QUEUE = "there is no queue with this limit"


@dataclass(frozen=True, slots=True)
class QueueProbe:
    """`limit` and `slowdown` before the probe, and those of its last step."""

    limit: int
    slowdown: float
    last_limit: int
    last_slowdown: float

    @classmethod
    def begin(cls, limit: int, slowdown: float) -> QueueProbe:
        """A probe that starts with half of this limit."""
        return cls(limit, slowdown, limit, slowdown)

    def next_step(self, limit: int, slowdown: float) -> QueueProbe:
        """The probe that goes on with half of this limit."""
        return QueueProbe(self.limit, self.slowdown, limit, slowdown)

    def verdict(self, limit: int, slowdown: float, least: int) -> Verdict:
        """What a round with this limit shows; `least` is the lowest one."""
        # What a queue of ours would have left.
        shorter = max(1.0, self.last_slowdown * limit / self.last_limit)
        is_same = slowdown >= (shorter + self.last_slowdown) / 2
        if is_same and self.last_limit == self.limit:
            return Verdict.SAME
        useful_before = self.last_limit / self.last_slowdown
        is_saturated = useful_before <= NO_GAIN * limit / slowdown
        if is_saturated and not is_same and limit > least:
            return Verdict.QUEUE
        return Verdict.NO_QUEUE
