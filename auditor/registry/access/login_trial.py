"""A password that no answer has accepted yet.

Registries lock accounts after some wrong passwords in a row. So until one request was
let in, requests with this password go one at a time, and after a few refusals no more.
"""

from __future__ import annotations

from dataclasses import replace

import anyio

from auditor.errors import Failure
from auditor.wire.response import Answer
from auditor.wire.retry_policy import failure_of

# One may be refused for what it asks: a proxy before the registry may close a part of
# it with a 401. Directories lock an account after five, the usual least.
MAX_REFUSALS = 3


class LoginTrial:
    """The trial of one password at one registry."""

    def __init__(self) -> None:
        self.accepted = False
        self._turn = anyio.Lock()
        self._refusals = 0
        self._rejected: Failure | None = None

    async def begin(self) -> Failure | None:
        """Wait for the turn to try it; a failure where it is not tried any more.

        Whoever got null calls `end`, unless it is `accepted` by then.
        """
        await self._turn.acquire()
        if self.accepted or self._rejected is not None:
            self._turn.release()
        return self._rejected

    def end(self, outcome: Answer | Failure | None) -> None:
        """Say what the request came to; null: nothing is known."""
        self._turn.release()
        if not isinstance(outcome, Answer) or outcome.status >= 500:
            return
        if outcome.status != 401:
            self.accepted = True
            return
        self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            failure = failure_of(outcome)
            detail = (
                f"{failure.detail}; {self._refusals} requests with this login were"
                " refused and none was let in, so it is not sent any more"
            )
            self._rejected = replace(failure, attempts=0, detail=detail)
