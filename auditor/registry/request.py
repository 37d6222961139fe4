"""One request until it is decided: slots, authorization, waiting, sending again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import field, replace
from enum import StrEnum

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.admission import Admission
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.health import Health
from auditor.registry.host_health import Breaker, Probe
from auditor.registry.host_limits import Politeness
from auditor.registry.pacing.limits import Limits
from auditor.registry.pacing.retry_budget import RetryBudget
from auditor.registry.pacing.unanswered import Unanswered
from auditor.registry.transport.transport import Transport
from auditor.registry.trouble import Progress, Trouble
from auditor.util.clock import Clock
from auditor.wire.response import Answer
from auditor.wire.url_policy import origin_of

# What a probe is answered is a few sentences, or a token.
MAX_PROBE_BYTES = 64 * 1024


class RequestKind(StrEnum):
    """What a request was for; the summary counts by it."""

    PING = "ping"
    TOKEN = "token"
    HEAD = "head"  # of a manifest: is it there, and which is it
    MANIFEST = "manifest"
    BLOB = "blob"
    BLOB_CHECK = "blob_check"
    LIST = "list"
    REFERRERS = "referrers"


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What was sent, by kind, and how much of it was sent again, by the reason."""

    sent: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)


# Is told what came of each request, for who wants to see more than the result.
Witness = Callable[[RequestKind, Answer | Failure], None]


class Exchange:
    """Requests to one host. Counts what it sends.

    What an authorizer gives goes to the origin of `credentials_to` and nowhere else:
    a list that was redirected may go on at another host.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        politeness: Politeness,
        breaker: Breaker,
        unanswered: Unanswered,
        budget: RetryBudget,
        limits: Limits,
        clock: Clock,
        tries: int,
        counts: RequestCounts,
        witness: Witness | None = None,
        credentials_to: str | None = None,
    ) -> None:
        self._transport = transport
        # What only begins like the host of a login has another slash before it.
        self._own = None if credentials_to is None else f"{credentials_to}/"
        self._unanswered = unanswered
        self._limits = limits
        self._tries = tries
        self._counts = counts
        self._witness = witness
        self._admission = Admission(
            politeness=politeness,
            breaker=breaker,
            unanswered=unanswered,
            limits=limits,
            clock=clock,
            tries=tries,
        )
        self._health = Health(
            politeness=politeness, breaker=breaker, budget=budget, tries=tries
        )
        self._trouble = Trouble(
            admission=self._admission,
            health=self._health,
            politeness=politeness,
            unanswered=unanswered,
            clock=clock,
            repeated=counts.repeated,
        )

    async def send(
        self,
        kind: RequestKind,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None = None,
        authorizer: Authorizer | None = None,
        redirects: bool = True,
        wanted: Container[int] = (),
        tries: int | None = None,
    ) -> Answer | Failure:
        """The good answer (2xx or `wanted`), or the failure after the last try.

        No slot is held while waiting.
        """
        own = self._own
        if own is None or not (url.startswith(own) or _same_origin(url, own)):
            authorizer = None
        if self._admission.is_closed and (closed := self._admission.refusal()):
            return closed
        is_ping = kind is RequestKind.PING
        progress = Progress()
        while True:
            ready = await self._admission.enter(
                url,
                authorizer,
                progress.authorization,
                is_ping=is_ping,
                is_manifest=kind is RequestKind.MANIFEST and method == "GET",
            )
            if isinstance(ready, Failure):
                return replace(ready, attempts=ready.attempts or progress.tries)
            authorization, sent_at = ready
            progress.authorization = authorization
            progress.tries += 1
            outcome: Answer | Failure | None = None
            try:
                self._counts.sent[kind] += 1
                outcome = await self._transport.request(
                    method,
                    url,
                    headers=(
                        headers
                        if authorization is None or authorization.header is None
                        else {**headers, "Authorization": authorization.header}
                    ),
                    max_bytes=max_bytes,
                    body=body,
                    redirects=redirects,
                )
            finally:
                self._admission.leave(authorization, outcome)
            if self._witness is not None:
                self._witness(kind, outcome)
            if isinstance(outcome, Answer):
                self._limits.learn(outcome)
                if self._unanswered.any and not is_ping:
                    self._unanswered.answered(url)
                if 200 <= outcome.status < 300 or outcome.status in wanted:
                    # Nearly every answer: there is nothing to decide.
                    if not self._health.is_well:
                        self._health.good(progress.tries - 1)
                    return outcome
            ended = await self._trouble.after(
                outcome,
                url,
                sent_at,
                progress,
                authorizer=authorizer,
                tries=self._tries if tries is None else tries,
                is_ping=is_ping,
            )
            if ended is not None:
                return ended


def prober(transport: Transport, counts: RequestCounts, limits: Limits) -> Probe:
    """What a `Breaker` probes with: one small request without a credential."""

    async def probe(url: str) -> Answer | Failure:
        if refusal := limits.take(manifest=False):
            return refusal
        counts.sent[RequestKind.PING] += 1
        return await transport.request(
            "GET", url, headers={}, max_bytes=MAX_PROBE_BYTES, redirects=False
        )

    return probe


def _same_origin(url: str, own: str) -> bool:
    return origin_of(url) == origin_of(own)
