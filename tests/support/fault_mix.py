"""Random faults that can be replayed.

The fault of a request depends on the seed, on its method and target, on whether it has
a credential, and on how often it was sent before; never on concurrent requests. With
the same seed, a concurrent run gets the same faults again.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import field
from typing import TypeAlias

from auditor.fast_dataclass import dataclass
from tests.support.fault_actions import Action, Answer, Close, Delay, Edit, Truncate

Weighted: TypeAlias = tuple[Action, int]

# Transient faults: the same request may succeed when it is sent again.
TRANSIENT: Sequence[Weighted] = (
    (Answer(500), 2),
    (Answer(502, body=b"<html><title>Bad gateway</title></html>"), 1),
    (Answer(503, {"Retry-After": "0"}), 2),
    (Answer(429, {"Retry-After": "0"}), 2),
    (Close(), 2),
    (Close(reset=True), 2),
    (Truncate(at_bytes=10), 2),
    (Delay(0.001), 3),
)
# Wrong responses, which a client must notice and report.
HOSTILE: Sequence[Weighted] = (
    (Answer(200, {"Content-Type": "text/html"}, b"<html><title>Hi</title></html>"), 2),
    (Edit(body=b""), 1),
    (Edit(body=b"{"), 1),
    (Edit(body=lambda body: body.replace(b"sha256:", b"sha256:0", 1)), 1),
    (Edit(headers={"Docker-Content-Digest": "sha256:" + "0" * 64}), 1),
    (Edit(headers={"Docker-Content-Digest": None}), 1),
    (Edit(headers={"Content-Type": "application/octet-stream"}), 1),
    (Answer(403, body=b'{"errors":[{"code":"DENIED"}]}'), 1),
    (Answer(404), 1),
)


@dataclass(slots=True, kw_only=True)
class Mix:
    """Faults for a fraction (`rate`, 0 to 1) of all requests, drawn by weight.

    After `at_most_in_a_row` faults the same target succeeds once, so that a client with
    more attempts gets through; None lets it fail forever.
    """

    seed: int
    rate: float = 0.3
    faults: Sequence[Weighted] = TRANSIENT
    at_most_in_a_row: int | None = 2
    _requests: Counter[str] = field(default_factory=Counter, repr=False)
    _in_a_row: Counter[str] = field(default_factory=Counter, repr=False)

    def next_action(self, target: str) -> Action | None:
        """The fault for the next request for this target; None for a success."""
        self._requests[target] += 1
        draw = random.Random(f"{self.seed} {self._requests[target]} {target}")
        succeeds = self._in_a_row[target] == self.at_most_in_a_row
        if succeeds or draw.random() >= self.rate:
            self._in_a_row[target] = 0
            return None
        self._in_a_row[target] += 1
        actions, weights = zip(*self.faults, strict=True)
        (action,) = draw.choices(actions, weights)
        chosen: Action = action
        return chosen
