"""Requests to one registry and to the hosts it names, with redirects.

`Transport` picks the client of each request: `http1` for everything but request bodies
and proxies, which go over `aiohttp_client` (docs/development/adr/0005). Every
exception becomes a `Failure`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.errors import Failure, FailureKind, FailureReason, ProtocolError
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.connection_probe import ConnectionProbe
from auditor.registry.transport.failures import (
    failure_of,
    is_cut_off,
    too_large,
    with_reason,
)
from auditor.registry.transport.http1 import Dialer, Http1Client
from auditor.registry.transport.http1_parser import TlsExpectedError
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import NameLookups
from auditor.registry.transport.ssrf_guard import SsrfGuard
from auditor.registry.transport.tls import SYSTEM_TRUST, TlsFiles, tls_context
from auditor.util.secret import KnownSecrets
from auditor.util.text import safe_url
from auditor.wire.proxy import NO_PROXIES, InvalidProxy, Proxies
from auditor.wire.redirect import Redirects, follow_redirect
from auditor.wire.response import Response, expects_tls
from auditor.wire.url_policy import Origin, is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.registry.transport.aiohttp_client import AiohttpClient

log = logging.getLogger("auditor.http")

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Other origins with an `Http1Client`: token services, CDNs, object stores and their
# regions. A registry has a handful; requests to further ones go over aiohttp.
MAX_OTHER_ORIGINS = 32
# What lets a registry pass that only an image named.
ALLOW_REGISTRY = 'allow the registry with a section [registry."HOST"]'


class Transport:
    """Sends requests to one registry and to the hosts it names.

    `allowed_hosts` are those named by the user. `budget` and `names` are shared with
    other transports. `secrets` are masked in error responses. `use_http1` is false
    where every request must go over aiohttp. A registry that is not `is_named_by_user`
    has its address checked by the SSRF guard, too.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        max_in_flight: int,
        timeouts: Timeouts,
        tls: TlsFiles = SYSTEM_TRUST,
        proxies: Proxies = NO_PROXIES,
        allowed_hosts: frozenset[str] = frozenset(),
        budget: ConnectionBudget | None = None,
        names: NameLookups | None = None,
        secrets: KnownSecrets | None = None,
        use_http1: bool = True,
        is_named_by_user: bool = True,
    ) -> None:
        self._origin = origin
        self._base = str(origin)
        self._proxies = proxies
        self._use_http1 = use_http1
        self._max_in_flight = max_in_flight
        self._timeouts = timeouts
        self._tls = tls
        self._budget = ConnectionBudget() if budget is None else budget
        self._names = NameLookups() if names is None else names
        self._secrets = KnownSecrets() if secrets is None else secrets
        self._is_named_by_user = is_named_by_user
        if is_named_by_user:
            self._guard = SsrfGuard(
                registry_is_loopback=is_loopback_host(origin.host),
                allowed_hosts=allowed_hosts,
            )
        else:
            self._guard = SsrfGuard(
                registry_is_loopback=False,
                allowed_hosts=allowed_hosts,
                advice=ALLOW_REGISTRY,
            )
        self._client: Http1Client | None = None
        if use_http1 and proxies.choose(origin) is None:
            self._client = self._new_client(
                origin, tls, guard=None if is_named_by_user else self._guard
            )
        self._other_clients: dict[Origin, Http1Client] = {}
        self._aiohttp: AiohttpClient | None = None

    async def aclose(self) -> None:
        """Close all connections."""
        for client in (self._client, *self._other_clients.values(), self._aiohttp):
            if client is not None:
                await client.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        max_bytes: int,
        body: bytes | None = None,
        redirects: Redirects = Redirects.FOLLOWED,
        new_connection: bool = False,
        hops: int = 0,
    ) -> Response | Failure:
        """The response to one request, after the redirects that `redirects` allows.

        `headers` go to the origin of `url`; after a redirect to another one only
        `Accept` and `Range` are sent. A `body` cannot be redirected. A response above
        `max_bytes` is the failure `TOO_LARGE`. `new_connection`: reuse none, so that an
        answer to another request cannot be taken for this one's. `hops`: the redirects
        so far.
        """
        assert body is None or redirects is Redirects.REFUSED
        client, target = self._client, _target(url, self._base)
        if target is None:
            try:
                origin = origin_of(url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            client, target = self._other_client(origin), _target(url, str(origin))
        response: Response | Failure | None
        if client is None or target is None or body is not None:
            response = await self._aiohttp_client().request(
                method, url, headers, max_bytes, body, new_connection=new_connection
            )
        else:
            try:
                response = await client.request(
                    method,
                    url,
                    target,
                    headers=headers,
                    max_bytes=max_bytes,
                    new_connection=new_connection,
                )
            except (OSError, ValueError) as error:
                return self._failure(error, method, url, client)
        if response is None:
            return too_large(max_bytes)
        if isinstance(response, Failure) or response.status < 300:
            return response
        is_plain = url.startswith("http:")
        if response.status == 400 and is_plain and expects_tls(response.body):
            failure = failure_of(TlsExpectedError(), safe_url(url), self._timeouts)
            return replace(failure, status=400)
        if response.status not in REDIRECTS:
            sent = headers.get("Authorization")
            body = self._secrets.mask(response.body, authorization=sent)
            return replace(response, body=body)
        if redirects is not Redirects.REFUSED:
            return await self._follow(
                method,
                response,
                headers,
                redirects,
                max_bytes=max_bytes,
                new_connection=new_connection,
                hops=hops + 1,
            )
        return _not_followed(response)

    async def _follow(
        self,
        method: str,
        redirect: Response,
        headers: Mapping[str, str],
        redirects: Redirects,
        *,
        max_bytes: int,
        new_connection: bool,
        hops: int,
    ) -> Response | Failure:
        """The response that redirect number `hops` leads to."""
        try:
            hop = follow_redirect(
                redirect.url,
                redirect.headers.get("Location"),
                hops,
                allowed_hosts=self._guard.allowed_hosts,
            )
        except ProtocolError as error:
            detail = self._secrets.mask_text(error.detail)
            return Failure(kind=error.kind, detail=detail)
        if not redirects.allows(redirect.url, hop.url):
            return _not_followed(redirect)
        outcome = await self.request(
            method,
            hop.url,
            headers=hop.kept_headers(headers),
            max_bytes=max_bytes,
            redirects=redirects,
            new_connection=new_connection,
            hops=hops,
        )
        if not isinstance(outcome, Failure):
            return _with_round_trip_of(redirect, outcome)
        # The SSRF guard refused the target of a redirect, not a realm.
        is_realm = outcome.kind is FailureKind.REALM_REFUSED
        return replace(
            outcome,
            kind=FailureKind.REDIRECT_REFUSED if is_realm else outcome.kind,
            # It names the Location, which may repeat the password.
            detail=self._secrets.mask_text(outcome.detail),
        )

    def _failure(
        self, error: Exception, method: str, url: str, client: Http1Client
    ) -> Failure:
        failure = failure_of(
            error, safe_url(url), self._timeouts, has_answered=client.has_answered
        )
        if client.is_tls and not client.has_answered and is_cut_off(error):
            failure = with_reason(failure, FailureReason.CLIENT_CERTIFICATE_REQUIRED)
        log.debug("%s %s %s", method, safe_url(url), failure.detail)
        return failure

    # -- clients ---------------------------------------------------------------

    def _new_client(
        self, origin: Origin, files: TlsFiles, guard: SsrfGuard | None
    ) -> Http1Client:
        tls = tls_context(files) if origin.scheme == "https" else None
        return Http1Client(
            origin,
            Dialer(
                origin,
                names=self._names,
                tls=tls,
                timeouts=self._timeouts,
                guard=guard,
                turns=self._budget.turns,
            ),
            budget=self._budget,
            request_s=self._timeouts.request_s,
            max_idle=2 * self._max_in_flight,
            # Hosts that the registry named get few requests.
            max_ahead=self._max_in_flight if origin == self._origin else 0,
        )

    def _other_client(self, origin: Origin) -> Http1Client | None:
        """The client for a host that the registry named; None for aiohttp."""
        if client := self._other_clients.get(origin):
            return client
        if (
            not self._use_http1
            or origin == self._origin
            or len(self._other_clients) >= MAX_OTHER_ORIGINS
            or self._proxies.choose(origin) is not None
        ):
            return None
        # The registry and hosts that the user named are shown the client certificate.
        is_allowed = origin.host in self._guard.allowed_hosts
        files = self._tls if is_allowed else self._tls.without_certificate()
        client = self._new_client(origin, files, self._guard)
        self._other_clients[origin] = client
        return client

    def _aiohttp_client(self) -> AiohttpClient:
        if self._aiohttp is None:
            # Imports aiohttp (0.1 s), which most audits do not need.
            from auditor.registry.transport.aiohttp_client import AiohttpClient  # noqa: PLC0415

            self._aiohttp = AiohttpClient(
                origin=self._origin if self._is_named_by_user else None,
                max_in_flight=self._max_in_flight,
                timeouts=self._timeouts,
                tls=self._tls,
                proxies=self._proxies,
                guard=self._guard,
                budget=self._budget,
                names=self._names,
            )
        return self._aiohttp

    def connection_probe(self) -> ConnectionProbe:
        """A probe of the registry, or of the proxy before it."""
        proxy = self._proxies.choose(self._origin)
        assert not isinstance(proxy, InvalidProxy), "Registries refuses it"
        return ConnectionProbe(
            self._origin if proxy is None else proxy.origin,
            proxy=proxy,
            tls=self._tls,
            timeouts=self._timeouts,
            names=self._names,
        )


def _with_round_trip_of(redirect: Response, response: Response) -> Response:
    """The response that a redirect led to, with the time that both took.

    The request occupies a slot of the registry for as long. With the time of the other
    host alone, a queue in the registry would not show.
    """
    if redirect.round_trip_s is None or response.round_trip_s is None:
        return replace(response, round_trip_s=None)
    return replace(
        response,
        round_trip_s=redirect.round_trip_s + response.round_trip_s,
        waited_s=redirect.waited_s + response.waited_s,
    )


def _not_followed(response: Response) -> Failure:
    return Failure(
        kind=FailureKind.REDIRECT_REFUSED,
        status=response.status,
        detail=f"{safe_url(response.url)} redirects; a request that may carry a"
        " credential is not redirected",
    )


def _target(url: str, base: str) -> str | None:
    """Path and query of `url` if it begins with the origin `base`, else None.

    None also for a URL that spells the origin in another way.
    """
    if not url.startswith(base):
        return None
    target = url[len(base) :]
    if "#" in target:
        target = target.partition("#")[0]
    if target.startswith("/"):
        return target
    return f"/{target}" if target.startswith("?") else None
