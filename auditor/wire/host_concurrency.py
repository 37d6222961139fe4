"""How many requests at once a host was sent, and why, as people and files are told."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from auditor.fast_dataclass import dataclass


class Move(StrEnum):
    """Why the limit of requests at once last moved."""

    START = "start"  # it has not moved
    REMEMBERED = "remembered"  # an earlier run found a higher one
    FASTER = "faster"  # more requests bring more answers
    QUEUE = "queue"  # answers only got slower
    PROBE = "probe"  # the round trips without a queue are measured again
    CHANGED = "changed"  # the host has become slower, not the queue longer
    THROTTLED = "throttled"  # 429 or 503
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    RECOVERED = "recovered"  # after one of the last four


DISTRESS = frozenset({Move.THROTTLED, Move.SERVER_ERROR, Move.TIMEOUT, Move.CONNECTION})
MOVE_TEXT = {
    Move.REMEMBERED: "it stood more in an earlier run",
    Move.FASTER: "more requests bring more answers",
    Move.QUEUE: "more requests only make answers slower",
    Move.PROBE: "round trips without a queue are measured again",
    Move.CHANGED: "the host has become slower",
    Move.THROTTLED: "the host asked for fewer requests",
    Move.SERVER_ERROR: "the host reported an error",
    Move.TIMEOUT: "a request timed out",
    Move.CONNECTION: "a connection failed",
    Move.RECOVERED: "the host is well again",
}
# In place of that for `Move.QUEUE` if there are more now: fewer were only to measure.
MEASURED_TEXT = "as many as it answers without a queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConcurrency:
    """The limit of requests at once of one host, within `least` and `most`.

    `lowest` and `highest` are those of the limit so far. Round trips are in seconds,
    None before there are enough: `baseline_s` without a queue, `round_trip_s` the last
    ones. `moves` counts the moves of the limit by cause, the last one's is `last_move`.
    `per_second` is the pace of requests that was found because even the least at once
    were too many, and `lowest_per_second` the lowest one; None without any.
    """

    host: str
    limit: int
    lowest: int
    highest: int
    least: int
    most: int
    baseline_s: float | None
    round_trip_s: float | None
    last_move: Move
    moves: Mapping[Move, int]
    per_second: float | None = None
    lowest_per_second: float | None = None

    def sentence(self, before: int | None = None) -> str:
        """The limit, why it moved from `before`, and the round trips."""
        number = f"{self.limit} request{'s' * (self.limit != 1)} at once"
        if self.per_second is not None:
            number += f" and {per_second_text(self.per_second)}"
        if self.last_move is Move.START:
            return f"{number}, as at the start{self._round_trips()}"
        why = MOVE_TEXT[self.last_move]
        if before is not None:
            number += f", {before} before"
            if before < self.limit and self.last_move is Move.QUEUE:
                why = MEASURED_TEXT
        return f"{number}: {why}{self._round_trips()}"

    def pace_sentence(self, before: float | None) -> str:
        """The pace, and why it moved from `before`; None for none."""
        now = self.per_second
        if now is None:
            return "requests do not wait for a pace any more"
        why = "the host asked for fewer requests"
        if before is not None and before < now:
            why = f"it accepted {per_second_text(before)}"
        return f"at most {per_second_text(now)}: {why}"

    def _round_trips(self) -> str:
        now_ms = _milliseconds(self.round_trip_s)
        least_ms = _milliseconds(self.baseline_s)
        if now_ms is None or least_ms is None:
            return ""
        queue = "no queue"
        if now_ms > least_ms:
            queue = f"{least_ms:.3g} ms without a queue"
        return f" (round trip {now_ms:.3g} ms, {queue})"

    def to_json(self) -> dict[str, object]:
        """Its form in the summary of one run; round trips in milliseconds."""
        return {
            "host": self.host,
            "limit": self.limit,
            "lowest": self.lowest,
            "highest": self.highest,
            "least": self.least,
            "most": self.most,
            "runs": 1,
            "round_trip_min_ms": _milliseconds(self.baseline_s),
            "round_trip_ms": _milliseconds(self.round_trip_s),
            "last_move": str(self.last_move),
            "moves": {str(move): count for move, count in sorted(self.moves.items())},
            "per_second": _rounded(self.per_second),
            "lowest_per_second": _rounded(self.lowest_per_second),
        }


def per_second_text(rate: float) -> str:
    """A pace, with two digits or as a whole number."""
    return f"{rate:.2g} a second" if rate < 10 else f"{rate:.0f} a second"


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 2)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
