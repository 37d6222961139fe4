"""What one host's requests have to keep to beside its slots."""

from __future__ import annotations

from auditor.errors import Failure
from auditor.registry.pacing.pace import Pace
from auditor.registry.pacing.quota import Quota
from auditor.registry.pacing.ration import Ration
from auditor.wire.rate_limit import allowance_of
from auditor.wire.response import Answer


class Limits:
    """The pace, the registry's allowance and the quota of one host, where it has them.

    `active`: a request needs leave. Without, there is nothing to ask for.
    """

    __slots__ = ("_pace", "_quota", "active", "ration")

    def __init__(
        self,
        *,
        pace: Pace | None = None,
        quota: Quota | None = None,
        ration: Ration | None = None,
    ) -> None:
        self._pace = pace
        self._quota = quota
        self.ration = ration
        self.active = pace is not None or quota is not None

    async def leave(self, *, manifest: bool) -> Failure | None:
        """Wait until one more request may be sent, or say why it may not.

        `manifest`: it fetches one. No slot may be held meanwhile.
        """
        if self._quota is not None and (refused := self._quota.refusal()) is not None:
            return refused
        if manifest and self.ration is not None:
            refusal = await self.ration.leave()
            if refusal is not None:
                return refusal
        if self._pace is not None:
            await self._pace.turn()
        return None

    def take(self, *, manifest: bool) -> Failure | None:
        """Count the request that is about to be sent, or say why it may not be."""
        if manifest and self.ration is not None:
            refusal = self.ration.take()
            if refusal is not None:
                return refusal
        return None if self._quota is None else self._quota.take()

    def learn(self, outcome: Answer | Failure) -> None:
        """Take over what an answer says of the allowance."""
        if self.ration is None or isinstance(outcome, Failure):
            return
        seen = allowance_of(outcome.headers)
        if seen is not None:
            self.ration.learn(seen)
            self.active = True
