"""One registry: manifests and blobs (OCI distribution-spec v1.1), and its lists."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.config import RegistrySettings
from auditor.errors import Failure, ProtocolError, Stage, UsageError
from auditor.oci.descriptor import ACCEPT_MANIFESTS, check_digest
from auditor.oci.reference import api_host
from auditor.registry.auth.credentials import Credentials
from auditor.registry.auth.scope_auth import HostAuth, ListAuth, ScopeAuth
from auditor.registry.auth.token_service import TokenService
from auditor.registry.blobs import Blobs
from auditor.registry.host import Host
from auditor.registry.host_plan import HostPlan
from auditor.registry.listing.choose import lists_of
from auditor.registry.listing.distribution import DistributionLists
from auditor.registry.lists.lister import ListedTag, Lister, Page
from auditor.registry.network.timeouts import Timeouts
from auditor.registry.pacing.quota import Quota
from auditor.registry.referrers import Referrers
from auditor.registry.request import RequestCounts, RequestKind, Witness
from auditor.registry.transport.connection_probe import Line
from auditor.registry.transport.tls import TlsFiles
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.proxy import BrokenProxy, Proxies
from auditor.wire.response import Answer
from auditor.wire.url_policy import is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.oci.jws import KeySet

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
        tls: TlsFiles,
        proxies: Proxies,
        keys: KeySet | None,
        clock: Clock,
        counts: RequestCounts,
        run_quota: Quota | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        host = api_host(name)
        self.base_url = f"{_scheme(host, settings)}://{host}"
        self.origin = origin = origin_of(self.base_url)
        proxy = proxies.choose(origin)
        if isinstance(proxy, BrokenProxy):
            raise UsageError(proxy.detail)
        self._transport = Transport(
            origin=origin,
            most_at_once=settings.requests_at_once,
            timeouts=Timeouts(
                connect_s=settings.connect_timeout_s,
                read_s=settings.read_timeout_s,
                request_s=settings.request_timeout_s,
            ),
            tls=tls,
            proxies=proxies,
            allowed_hosts=_allowed_hosts(settings),
        )
        ping_url = f"{self.base_url}/v2/"
        own = Host(
            name=name,
            settings=settings,
            transport=self._transport,
            quota=_quota(name, settings, run_quota),
            clock=clock,
            counts=counts,
            witness=witness,
        )
        self.ration = own.ration()
        self._exchange = own.exchange(
            name,
            credentials_to=self.base_url,
            probe_url=ping_url,
            ration=self.ration,
        )
        # The token service has slots of its own, and lives and dies on its own.
        token_exchange = own.exchange(f"the token service of {name}")
        self.auth = HostAuth(
            registry=name,
            plan=HostPlan(
                ping_url=ping_url,
                settings=settings,
                exchange=self._exchange,
                clock=clock,
            ),
            credentials=credentials,
            service=lambda found: TokenService(
                origin=origin,
                settings=settings,
                found=found,
                keys=keys,
                exchange=token_exchange,
                clock=clock,
            ),
            clock=clock,
        )

        # The authorizer for pulling from a repository, of which few are asked at once.
        self.pull_auth = functools.lru_cache(maxsize=1024)(self._pull_auth)
        self.blobs = Blobs(
            self.base_url, exchange=self._exchange, pull_auth=self.pull_auth
        )
        self.referrers = Referrers(
            self.base_url,
            max_bytes=settings.max_manifest_bytes,
            exchange=self._exchange,
            pull_auth=self.pull_auth,
        )
        self._own_lists = DistributionLists(
            self.base_url,
            page_size=settings.page_size,
            exchange=self._exchange,
            pull_auth=lambda repository: ListAuth(self.pull_auth(repository)),
            catalog_auth=ListAuth(self.auth.for_scope(CATALOG_SCOPE)),
        )
        self._lists: Lister = lists_of(
            name,
            settings=settings,
            base_url=self.base_url,
            registry=self._own_lists,
            host=own,
            exchange=self._exchange,
            auth=self.auth,
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

    def _pull_auth(self, repository: str) -> ScopeAuth:
        return self.auth.for_scope(pull_scope(repository))

    def line(self) -> Line:
        """The way to it, to be gone a step at a time."""
        return self._transport.line()

    # -- manifests and blobs ---------------------------------------------------

    def get_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Answer | Failure]:
        """The raw answer for a tag or a digest (spec: "Pulling manifests")."""
        return self._exchange.send(
            RequestKind.MANIFEST,
            "GET",
            f"{self.base_url}/v2/{repository}/manifests/{reference}",
            headers=_MANIFEST_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )

    def head_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Answer | Failure]:
        """The answer without its body: whether it is there, and its digest."""
        return self._exchange.send(
            RequestKind.HEAD,
            "HEAD",
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

    def list_every_tag(
        self, repository: str
    ) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of the registry's own list of tags, whoever else lists them.

        An API may leave out what is attached to images: Harbor's does.
        """
        return self._own_lists.tags(repository)

    def list_repositories(
        self, below: str | None = None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the registry's repositories (see `Lister.repositories`)."""
        return self._lists.repositories(below)


def _quota(name: str, settings: RegistrySettings, run: Quota | None) -> Quota | None:
    if settings.max_requests is None:
        return run
    return Quota(settings.max_requests, whose=f"the registry {name}", run=run)


def _scheme(host: str, settings: RegistrySettings) -> str:
    """Plain HTTP where the user says so, and, as container tools have it, on a
    loopback address of which the user says nothing."""
    if settings.insecure_http is not None:
        return "http" if settings.insecure_http else "https"
    local = is_loopback_host(origin_of(f"https://{host}").host)
    over_tls = settings.ca_file is not None or settings.cert_file is not None
    return "http" if local and not over_tls else "https"


def _allowed_hosts(settings: RegistrySettings) -> frozenset[str]:
    hosts = set(settings.realm_hosts)
    if settings.token_url:
        hosts.add(origin_of(settings.token_url).host)
    if settings.api_url:
        hosts.add(origin_of(settings.api_url).host)
    return frozenset(hosts)
