"""What the outcomes of requests say of the whole host, and what follows for each."""

from __future__ import annotations

from dataclasses import replace

from auditor.errors import Failure, FailureKind
from auditor.fast_dataclass import dataclass
from auditor.registry.host_health import SILENCE, Breaker, Verdict
from auditor.registry.host_limits import Politeness
from auditor.registry.pacing.retry_budget import RetryBudget
from auditor.wire.retry_policy import Fail, Wait

_DISTRESS = frozenset(
    {FailureKind.RATE_LIMITED, FailureKind.SERVER_ERROR, FailureKind.TIMEOUT}
)


@dataclass(frozen=True, slots=True)
class Forgive:
    """Send again, with all its tries: it was the whole host that was down."""


class Health:
    """How one host is doing.

    `is_well`: nothing was wrong since everything was well, so that a good answer has
    nothing to make up for. Else tell `good`.
    """

    __slots__ = ("_breaker", "_budget", "_politeness", "_tries", "is_well")

    def __init__(
        self,
        *,
        politeness: Politeness,
        breaker: Breaker,
        budget: RetryBudget,
        tries: int,
    ) -> None:
        self._politeness = politeness
        self._breaker = breaker
        self._budget = budget
        self._tries = tries
        self.is_well = True

    def good(self, retries: int) -> None:
        """A request was answered well after so many retries."""
        self._politeness.ease()
        self._breaker.answered()
        self._budget.good(retries)
        self.is_well = self._politeness.is_easy and self._budget.is_full

    def forgiven(self, retries: int) -> None:
        """So many retries are not held against anybody."""
        self._budget.good(retries)

    async def weigh(
        self,
        decision: Wait | Fail,
        url: str,
        sent_at: float,
        forgiven: int,
        *,
        is_ping: bool,
    ) -> Wait | Fail | Forgive:
        """The decision on a request that was forgiven so often, in view of the host."""
        self.is_well = False
        failure = decision.failure
        if failure.kind in _DISTRESS:
            self._politeness.distress(sent_at)
        if is_ping:  # a probe itself, planned by itself
            return decision
        if failure.kind not in SILENCE:
            # A throttled request takes nothing from the budget: the host asks for
            # patience, and everybody waits together.
            self._breaker.answered()
            return decision
        wait_s = 0.0
        if isinstance(decision, Wait) and decision.host_wide:
            wait_s = decision.seconds
        verdict = await self._breaker.failed(failure, url=url, wait_s=wait_s)
        self.is_well = False  # others may have been answered well meanwhile
        if isinstance(verdict, Failure):
            return Fail(failure=replace(verdict, attempts=failure.attempts))
        if verdict is Verdict.BACK and forgiven < self._tries:
            return Forgive()
        if isinstance(decision, Fail) or self._budget.take():
            return decision
        self._politeness.hold_back(wait_s)
        detail = f"{failure.detail}; not tried again, as too much of this host fails"
        return Fail(failure=replace(failure, detail=detail))
