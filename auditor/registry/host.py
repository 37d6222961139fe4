"""What the requests to one host share: slots, limits, and how the host is doing."""

from __future__ import annotations

from auditor.config import RegistrySettings
from auditor.fast_dataclass import dataclass
from auditor.registry.host_health import PATIENCE_S, Breaker
from auditor.registry.host_limits import Politeness
from auditor.registry.pacing.limits import Limits
from auditor.registry.pacing.pace import Pace
from auditor.registry.pacing.quota import Quota
from auditor.registry.pacing.ration import Ration
from auditor.registry.pacing.retry_budget import RetryBudget
from auditor.registry.pacing.unanswered import Unanswered
from auditor.registry.request import Exchange, RequestCounts, Witness, prober
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How a host is asked for anything. `quota` is the run's and the registry's."""

    name: str
    settings: RegistrySettings
    transport: Transport
    quota: Quota | None
    clock: Clock
    counts: RequestCounts
    witness: Witness | None = None

    def exchange(
        self,
        who: str,
        *,
        credentials_to: str | None = None,
        probe_url: str | None = None,
        ration: Ration | None = None,
    ) -> Exchange:
        """Requests to `who`, which is doing well or badly on its own.

        `credentials_to`: see `Exchange`; null where there is no authorizer.
        `probe_url` answers while it lives; null where only its requests tell.
        """
        settings, clock = self.settings, self.clock
        pace = None
        if settings.requests_per_second is not None:
            pace = Pace(per_second=settings.requests_per_second, clock=clock)
        limits = Limits(pace=pace, quota=self.quota, ration=ration)
        return Exchange(
            transport=self.transport,
            politeness=Politeness(most_at_once=settings.requests_at_once, clock=clock),
            breaker=Breaker(
                host=who,
                probe=prober(self.transport, self.counts, limits),
                probe_url=probe_url,
                clock=clock,
                # Who wants no second try does not want to wait either.
                patience_s=PATIENCE_S if settings.tries > 1 else 0,
            ),
            unanswered=Unanswered(host=who, clock=clock),
            budget=RetryBudget(
                most_at_once=settings.requests_at_once, tries=settings.tries
            ),
            limits=limits,
            clock=clock,
            tries=settings.tries,
            counts=self.counts,
            witness=self.witness,
            credentials_to=credentials_to,
        )

    def ration(self) -> Ration:
        """What the host grants us."""
        return Ration(
            host=self.name,
            use=self.settings.allowance,
            most_at_once=self.settings.requests_at_once,
            clock=self.clock,
        )
