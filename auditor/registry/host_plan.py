"""The plan of a host: how it requires requests to be authorized.

A `/v2/` ping, one per host, finds this out (distribution-spec, "API version check"),
unless it is configured. After that no request is sent that is certain to get a 401.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from urllib.parse import urlsplit

from auditor.config import RegistrySettings
from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.request import RequestKind, RequestSender
from auditor.util.tasks import SingleFlight
from auditor.wire.challenge import Challenge, parse_challenges, preferred_challenge
from auditor.wire.response import Response
from auditor.wire.retry_policy import RETRYABLE_STATUSES
from auditor.wire.url_policy import origin_of

# The body of a 401 is an error message of a few sentences.
MAX_PING_BYTES = 64 * 1024
# All references of the host depend on its ping, so it has twice as many attempts as
# other requests: by default up to 16 s, about the time a registry takes to restart.
# Fewer if there seems to be no such host (`HostHealth.ping_tries`).
PING_TRIES_FACTOR = 2
# Every final status is an answer: 401 is the usual one, and some products answer 403
# or 404 and serve manifests all the same.
_PING_STATUSES = frozenset(range(300, 500)) - RETRYABLE_STATUSES


class Scheme(StrEnum):
    """The authentication scheme of a host."""

    NONE = "none"
    UNKNOWN = "unknown"  # requests go without credentials until a challenge comes
    BASIC = "basic"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthPlan:
    """The scheme, and for `BEARER` the realm and service of the challenge.

    `is_optional`: the host offered the scheme without requiring it, so that requests
    without a login are sent anonymously.
    """

    scheme: Scheme
    realm: str | None = None
    service: str | None = None
    is_optional: bool = False


class HostPlan:
    """The plan of one host, found out once and updated by later challenges.

    `known` is the plan if it is known without a request, else None.
    """

    def __init__(
        self, *, ping_url: str, settings: RegistrySettings, sender: RequestSender
    ) -> None:
        self._ping_url = ping_url
        self._settings = settings
        self._sender = sender
        self.known: AuthPlan | None = None
        self._is_forbidden = False
        if settings.token_url:
            self.known = AuthPlan(
                scheme=Scheme.BEARER,
                realm=settings.token_url,
                service=settings.service or urlsplit(ping_url).netloc,
            )
        self._pings: SingleFlight[None, AuthPlan | Failure] = SingleFlight()

    async def get(self) -> AuthPlan | Failure:
        """The plan; sends a ping if it is not known yet."""
        if self.known is not None:
            return self.known
        return await self._pings.run(None, self._ping)

    async def _ping(self) -> AuthPlan | Failure:
        tries = self._settings.tries
        response = await self._sender.send(
            RequestKind.PING,
            "GET",
            self._ping_url,
            headers={},
            max_bytes=MAX_PING_BYTES,
            accepted_statuses=_PING_STATUSES,
            max_attempts=1 if tries == 1 else PING_TRIES_FACTOR * tries,
        )
        if isinstance(response, Failure):
            return response
        self._is_forbidden = response.status == 403
        self.known = self._plan_from_ping(response)
        return self.known

    async def refuses(self, authorization: str) -> bool | None:
        """Whether a ping with this authorization is refused; None if that says nothing.

        It is what `docker login` sends to a registry with Basic.
        """
        response = await self._sender.send(
            RequestKind.PING,
            "GET",
            self._ping_url,
            headers={"Authorization": authorization},
            max_bytes=MAX_PING_BYTES,
            accepted_statuses=range(300, 600),
        )
        if isinstance(response, Failure) or self._is_redirected(response):
            return None
        if response.status == 403 and self._is_forbidden:
            return None  # to everybody
        return response.status in {401, 403}

    def _is_redirected(self, response: Response) -> bool:
        return origin_of(response.url) != origin_of(self._ping_url)

    def _plan_from_ping(self, response: Response) -> AuthPlan:
        # The challenge of a host that the ping was redirected to is not this host's:
        # it must not get this host's password.
        if not self._is_redirected(response):
            values = response.headers.getall("WWW-Authenticate", ())
            challenge = preferred_challenge(parse_challenges(values))
            if challenge is not None:
                # With another status than 401, the field offers a login: "supplying
                # credentials might affect the response" (RFC 9110 section 11.6.1). zot
                # answers 200 if everybody may see a part of its repositories.
                plan = self._plan_from_challenge(challenge)
                return replace(plan, is_optional=response.status != 401)
        is_success = 200 <= response.status < 300
        return AuthPlan(scheme=Scheme.NONE if is_success else Scheme.UNKNOWN)

    def _plan_from_challenge(self, challenge: Challenge) -> AuthPlan:
        if challenge.scheme == "basic":
            return AuthPlan(scheme=Scheme.BASIC)
        return AuthPlan(
            scheme=Scheme.BEARER,
            realm=challenge.parameters["realm"],
            service=self._settings.service or challenge.parameters.get("service"),
        )

    def update(self, challenge: Challenge) -> None:
        """Update the plan from the challenge of a 401, unless it is configured."""
        plan = self._plan_from_challenge(challenge)
        # Authorizations are valid for one plan: an equal one does not replace it.
        if not self._settings.token_url and plan != self.known:
            self.known = plan
