"""How one host wants to be asked.

One `/v2/` ping per host tells it (distribution-spec, "API version check"), or the
configuration does. After that no request is sent that is known to be answered 401.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from urllib.parse import urlsplit

from auditor.config import RegistrySettings
from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.request import Exchange, RequestKind
from auditor.util.clock import Clock
from auditor.util.single_flight import SingleFlight
from auditor.wire.challenge import Challenge, parse_challenges, preferred
from auditor.wire.retry_policy import RETRYABLE_STATUSES
from auditor.wire.url_policy import origin_of

# A 401 has a few sentences for a body.
MAX_PING_BYTES = 64 * 1024
# Every reference of the host hangs on its ping, so it is tried twice as often as other
# requests: by default for up to 16 s, about what a registry takes to restart.
PING_TRIES_FACTOR = 2
# A host whose ping failed is given this long before somebody tries again.
DEAD_HOST_S = 30.0
# Everything final but 2xx that a ping may say: 401 is the usual answer, and some
# products answer 403 or 404 there and serve manifests all the same.
_PING_STATUSES = frozenset(range(300, 500)) - RETRYABLE_STATUSES


class Scheme(StrEnum):
    """How the host wants to be asked."""

    NONE = "none"
    UNKNOWN = "unknown"  # asked without a credential until a challenge comes
    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the challenge or the configuration says."""

    scheme: Scheme
    realm: str | None = None
    service: str | None = None


class HostPlan:
    """The plan of one host: found out once, and corrected by later challenges.

    `known`: the plan, if it is known without asking.
    """

    def __init__(
        self,
        *,
        ping_url: str,
        settings: RegistrySettings,
        exchange: Exchange,
        clock: Clock,
    ) -> None:
        self._ping_url = ping_url
        self._settings = settings
        self._exchange = exchange
        self._clock = clock
        self.known: Plan | None = None
        if settings.token_url:
            self.known = Plan(
                scheme=Scheme.BEARER,
                realm=settings.token_url,
                service=settings.service or urlsplit(ping_url).netloc,
            )
        self._dead: tuple[Failure, float] | None = None
        self._pings: SingleFlight[str, Plan | Failure] = SingleFlight()

    async def get(self) -> Plan | Failure:
        """How the host wants to be asked; a ping where that is not known."""
        if self.known is not None:
            return self.known
        if self._dead is not None and self._clock.monotonic() < self._dead[1]:
            return replace(self._dead[0], attempts=0)
        return await self._pings.run("ping", self._ping)

    async def _ping(self) -> Plan | Failure:
        answer = await self._exchange.send(
            RequestKind.PING,
            "GET",
            self._ping_url,
            headers={},
            max_bytes=MAX_PING_BYTES,
            wanted=_PING_STATUSES,
            tries=PING_TRIES_FACTOR * self._settings.tries,
        )
        if isinstance(answer, Failure):
            self._dead = (answer, self._clock.monotonic() + DEAD_HOST_S)
            return answer
        plan = Plan(scheme=Scheme.UNKNOWN)
        if 200 <= answer.status < 300:
            plan = Plan(scheme=Scheme.NONE)
        # What another host asks for, to which the ping was redirected, is not what
        # this one asks for: its password is not for them.
        elif answer.status == 401 and _same_origin(answer.url, self._ping_url):
            values = answer.headers.getall("WWW-Authenticate", ())
            challenge = preferred(parse_challenges(values))
            if challenge is not None:
                plan = self._plan_of(challenge)
        self.known = plan
        return plan

    def _plan_of(self, challenge: Challenge) -> Plan:
        if challenge.scheme == "basic":
            return Plan(scheme=Scheme.BASIC)
        return Plan(
            scheme=Scheme.BEARER,
            realm=challenge.parameters["realm"],
            service=self._settings.service or challenge.parameters.get("service"),
        )

    def learn(self, challenge: Challenge) -> None:
        """Take over what a 401 says, unless the configuration has said it."""
        if not self._settings.token_url:
            self.known = self._plan_of(challenge)


def _same_origin(url: str, other: str) -> bool:
    return url == other or origin_of(url) == origin_of(other)
