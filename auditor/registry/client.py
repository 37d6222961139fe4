"""One registry: manifests and blobs (OCI distribution-spec v1.1), and its lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.config import RegistrySettings
from auditor.errors import Failure, ProtocolError, Stage
from auditor.protocol.answer import Answer
from auditor.protocol.digest import check_digest
from auditor.protocol.media_types import ACCEPT_MANIFESTS
from auditor.protocol.realm import is_loopback_host, origin_of
from auditor.protocol.reference import api_host
from auditor.protocol.scope import CATALOG_SCOPE, pull_scope
from auditor.registry.auth import HostAuth, ScopeAuth
from auditor.registry.breaker import PATIENCE_S, Breaker
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credentials
from auditor.registry.distribution_lists import DistributionLists
from auditor.registry.exchange import Exchange, RequestCounts, RequestKind, prober
from auditor.registry.lister import ListedTag, Lister, Page
from auditor.registry.plan import HostPlan
from auditor.registry.politeness import Politeness
from auditor.registry.referrers import Referrers
from auditor.registry.retry_budget import RetryBudget
from auditor.registry.token_service import TokenService
from auditor.registry.transport import Timeouts, Transport

if TYPE_CHECKING:
    from auditor.protocol.keys import KeySet

_MANIFEST_HEADERS = {"Accept": ACCEPT_MANIFESTS}
_BLOB_HEADERS = {"Accept": "*/*"}


class Registry:
    """A registry host. Use it as an async context manager."""

    def __init__(
        self,
        name: str,
        *,
        settings: RegistrySettings,
        credentials: Credentials,
        keys: KeySet | None,
        clock: Clock,
        counts: RequestCounts,
    ) -> None:
        self.name = name
        self.settings = settings
        host = api_host(name)
        self.base_url = f"{_scheme(host, settings)}://{host}"
        origin = origin_of(self.base_url)
        self._transport = Transport(
            origin=origin,
            most_at_once=settings.requests_at_once,
            timeouts=Timeouts(
                connect_s=settings.connect_timeout_s,
                read_s=settings.read_timeout_s,
                request_s=settings.request_timeout_s,
            ),
            ca_file=settings.ca_file,
            allowed_hosts=_allowed_hosts(settings),
        )
        ping_url = f"{self.base_url}/v2/"
        self._exchange, token_exchange = (
            Exchange(
                transport=self._transport,
                politeness=Politeness(
                    most_at_once=settings.requests_at_once, clock=clock
                ),
                breaker=Breaker(
                    host=who,
                    probe=prober(self._transport, counts),
                    probe_url=probe_url,
                    clock=clock,
                    # Who wants no second try does not want to wait either.
                    patience_s=PATIENCE_S if settings.tries > 1 else 0,
                ),
                budget=RetryBudget(
                    most_at_once=settings.requests_at_once, tries=settings.tries
                ),
                clock=clock,
                tries=settings.tries,
                counts=counts,
            )
            # The token service has slots of its own, and lives and dies on its own.
            for who, probe_url in (
                (name, ping_url),
                (f"the token service of {name}", None),
            )
        )
        self.auth = HostAuth(
            registry=name,
            plan=HostPlan(
                ping_url=ping_url,
                settings=settings,
                exchange=self._exchange,
                clock=clock,
            ),
            credentials=credentials,
            service=lambda login: TokenService(
                origin=origin,
                settings=settings,
                login=login,
                keys=keys,
                exchange=token_exchange,
                clock=clock,
            ),
            clock=clock,
        )

        self.referrers = Referrers(
            self.base_url,
            max_bytes=settings.max_manifest_bytes,
            exchange=self._exchange,
            pull_auth=self.pull_auth,
        )
        self._lists: Lister = DistributionLists(
            self.base_url,
            page_size=settings.page_size,
            exchange=self._exchange,
            pull_auth=self.pull_auth,
            catalog_auth=self.auth.for_scope(CATALOG_SCOPE),
        )

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    def pull_auth(self, repository: str) -> ScopeAuth:
        """The authorizer for pulling from `repository`."""
        return self.auth.for_scope(pull_scope(repository))

    # -- manifests and blobs ---------------------------------------------------

    async def get_manifest(self, repository: str, reference: str) -> Answer | Failure:
        """The raw answer for a tag or a digest (spec: "Pulling manifests")."""
        return await self._exchange.send(
            RequestKind.MANIFEST,
            "GET",
            f"{self.base_url}/v2/{repository}/manifests/{reference}",
            headers=_MANIFEST_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )

    async def get_blob(self, repository: str, digest: str) -> bytes | Failure:
        """A small blob's verified bytes (spec: "Pulling blobs").

        The cap is that of manifests: only configs are fetched.
        """
        answer = await self._exchange.send(
            RequestKind.BLOB,
            "GET",
            f"{self.base_url}/v2/{repository}/blobs/{digest}",
            headers=_BLOB_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )
        if isinstance(answer, Failure):
            return answer.at(Stage.CONFIG)
        try:
            check_digest(answer.body, digest, "blob")
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.CONFIG)
        return answer.body

    # -- lists -----------------------------------------------------------------

    def list_tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags (see `Lister.tags`)."""
        return self._lists.tags(repository)

    def list_repositories(
        self, below: str | None = None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the registry's repositories (see `Lister.repositories`)."""
        return self._lists.repositories(below)


def _scheme(host: str, settings: RegistrySettings) -> str:
    """Plain HTTP where the user says so, and, as container tools have it, on a
    loopback address of which the user says nothing."""
    if settings.insecure_http is not None:
        return "http" if settings.insecure_http else "https"
    local = is_loopback_host(origin_of(f"https://{host}").host)
    return "http" if local and settings.ca_file is None else "https"


def _allowed_hosts(settings: RegistrySettings) -> frozenset[str]:
    hosts = set(settings.realm_hosts)
    if settings.token_url:
        hosts.add(origin_of(settings.token_url).host)
    return frozenset(hosts)
