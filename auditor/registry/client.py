"""One registry: manifests and blobs (OCI distribution-spec v1.1), and its lists."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci import descriptor
from auditor.oci.descriptor import ACCEPT_MANIFESTS, Descriptor, check_digest
from auditor.oci.manifest import Index, parse_manifest
from auditor.oci.reference import api_host
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.auth.credentials import Credentials
from auditor.registry.auth.scope_auth import HostAuth, ListAuth, ScopeAuth
from auditor.registry.auth.token_service import TokenService
from auditor.registry.host_limits import Quota
from auditor.registry.host_plan import HostPlan
from auditor.registry.listing.choose import lists_of
from auditor.registry.listing.distribution import DistributionLists
from auditor.registry.listing.paging import ListedTag, Lister, Page
from auditor.registry.request import (
    Exchange,
    Host,
    RequestCounts,
    RequestKind,
    RequestObserver,
)
from auditor.registry.transport.connection_probe import ConnectionProbe
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.tls import TlsFiles
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.proxy import BrokenProxy, Proxies
from auditor.wire.response import Response, complete_length, content_length, next_page
from auditor.wire.retry_policy import failure_of
from auditor.wire.url_policy import is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.oci.jws import KeySet

# -- blobs --
# Whether a registry has a blob, without fetching it.
#
# OCI distribution-spec v1.1, "Checking if content exists in the registry": HEAD, with
# 200 or 404. Registries may answer with a redirect to their storage (distribution with
# S3 does); it is followed, without the registry's Authorization, because only the
# storage knows whether the content is still there. Some products refuse HEAD, and some
# storages refuse HEAD to a URL that was signed for GET: then one byte is asked for.

_HEAD = {"Accept": "*/*"}
_FIRST_BYTE = {"Accept": "*/*", "Range": "bytes=0-0"}
# HEAD is not allowed, or not known.
_NO_HEAD = frozenset({405, 501})
# What storages say to a URL that was signed for another method.
_NOT_SIGNED_FOR = frozenset({400, 403})
# RFC 9110 section 15.5.17: there, and without a first byte, because it is empty.
_NO_SUCH_RANGE = 416
# One byte is asked for. A registry that sends the whole blob is not listened to.
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobThere:
    """The blob is there. `size` is its bytes, null where the answer does not say."""

    size: int | None


class Blobs:
    """The blobs of one registry."""

    def __init__(
        self,
        base_url: str,
        *,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._heads = True  # until the registry itself refuses one

    async def look(self, repository: str, digest: str) -> BlobThere | Failure:
        """Whether the blob is there; `NOT_FOUND` if not. Other failures say nothing."""
        url = f"{self._base_url}/v2/{repository}/blobs/{digest}"
        if self._heads:
            answer = await self._exchange.send(
                RequestKind.BLOB_CHECK,
                "HEAD",
                url,
                headers=_HEAD,
                max_bytes=0,
                authorizer=self._pull_auth(repository),
                wanted=_NO_HEAD | _NOT_SIGNED_FOR,
            )
            if isinstance(answer, Failure):
                return answer.at(Stage.BLOB)
            if answer.status < 300:
                return BlobThere(size=_length(answer))
            elsewhere = origin_of(answer.url) != origin_of(url)
            if answer.status not in _NO_HEAD and not elsewhere:
                return failure_of(answer).at(Stage.BLOB)
            self._heads = elsewhere
        return await self._first_byte(repository, url)

    async def _first_byte(self, repository: str, url: str) -> BlobThere | Failure:
        answer = await self._exchange.send(
            RequestKind.BLOB_CHECK,
            "GET",
            url,
            headers=_FIRST_BYTE,
            max_bytes=MAX_BYTES,
            authorizer=self._pull_auth(repository),
            wanted={_NO_SUCH_RANGE},
        )
        if isinstance(answer, Failure):
            if answer.kind is FailureKind.TOO_LARGE:
                return BlobThere(size=None)  # the whole of it was on its way
            return answer.at(Stage.BLOB)
        if answer.status == 200:
            return BlobThere(size=len(answer.body))
        return BlobThere(size=complete_length(answer.headers.get("Content-Range")))


def _length(answer: Response) -> int | None:
    """What GET would have sent; what is encoded has another length."""
    if (answer.headers.get("Content-Encoding") or "identity") != "identity":
        return None
    return content_length(answer.headers.get("Content-Length"))


# -- referrers --
# What refers to a manifest (OCI distribution-spec v1.1, "Listing Referrers").
#
# No filter is sent, since everything is recorded; so `OCI-Filters-Applied` says nothing
# to us. A registry with the API never answers 404 to this request ("Backwards
# Compatibility"). Those without it answer 404, other client errors, a web page, or
# redirect to one (GHCR): none of these is a list.

# A registry that keeps this many things about one image is not asked for the rest.
MAX_REFERRERS = 10_000
MAX_PAGES = 100
_HEADERS = {"Accept": descriptor.OCI_INDEX}
_NO_API = frozenset({400, 404, 405, 406, 410, 501})
# Of these, what may be said of one request: of a digest by another algorithm, say.
_NOT_FOR_THIS_ONE = frozenset({400, 406})


class Referrers:
    """The referrers of one registry. Remembers who has the API at all.

    That is asked of each namespace: behind one host there may be several registries,
    told apart by the beginning of the path, or repositories of several kinds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_bytes: int,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._max_bytes = max_bytes
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._there: dict[str, bool] = {}  # by namespace

    async def of(
        self, repository: str, digest: str
    ) -> tuple[Descriptor, ...] | Failure | None:
        """What refers to a digest, in the registry's order; null without the API."""
        namespace = repository.partition("/")[0]
        if self._there.get(namespace) is False:
            return None
        url: str | None = f"{self._base_url}/v2/{repository}/referrers/{digest}"
        found: list[Descriptor] = []
        seen: set[str] = set()
        while url is not None:
            seen.add(url)
            answer = await self._exchange.send(
                RequestKind.REFERRERS,
                "GET",
                url,
                headers=_HEADERS,
                max_bytes=self._max_bytes,
                authorizer=self._pull_auth(repository),
                redirects=False,
                wanted=_NO_API if len(seen) == 1 else (),
            )
            if len(seen) == 1 and _is_no_api(answer):
                # What once answered has the API: this is about the one repository.
                if not _is_about_this_one(answer):
                    self._there.setdefault(namespace, False)
                return None
            if isinstance(answer, Failure):
                return answer
            self._there[namespace] = True
            try:
                found += _children(answer)
                url = next_page(answer.headers.getall("Link", ()), answer.url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            too_many = len(found) > MAX_REFERRERS or len(seen) >= MAX_PAGES
            if url is not None and (too_many or url in seen):
                return Failure(
                    kind=FailureKind.INCOMPLETE_LISTING,
                    detail=f"the referrers of {digest} do not end"
                    f" (page {len(seen)}, {len(found)} so far)",
                )
        return tuple(found)


def _children(answer: Response) -> tuple[Descriptor, ...]:
    manifest = parse_manifest(answer.body, answer.content_type)
    if not isinstance(manifest, Index):
        raise ProtocolError("the list of referrers is not an index")
    return manifest.children


def _is_no_api(answer: Response | Failure) -> bool:
    if isinstance(answer, Failure):
        return answer.kind is FailureKind.REDIRECT_REFUSED
    # Web applications answer 200 to any path.
    said = descriptor.essence(answer.content_type)
    return answer.status in _NO_API or said != descriptor.OCI_INDEX


def _is_about_this_one(answer: Response | Failure) -> bool:
    return not isinstance(answer, Failure) and answer.status in _NOT_FOR_THIS_ONE


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
        witness: RequestObserver | None = None,
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

    def line(self) -> ConnectionProbe:
        """The way to it, to be gone a step at a time."""
        return self._transport.line()

    # -- manifests and blobs ---------------------------------------------------

    def get_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Response | Failure]:
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
    ) -> Awaitable[Response | Failure]:
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
    if settings.plain_http is not None:
        return "http" if settings.plain_http else "https"
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
