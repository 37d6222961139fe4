"""One registry: its manifests, blobs, referrers and listings.

OCI distribution-spec v1.1. `make_registry` puts a `Registry` together.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import ACCEPT_MANIFESTS, check_digest
from auditor.oci.reference import api_host
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.auth.credentials import CredentialStore
from auditor.registry.auth.docker_config import FoundCredential
from auditor.registry.auth.scope_auth import HostAuth, ListingAuth
from auditor.registry.auth.token_service import TokenService
from auditor.registry.host_limits import RateLimiter, RequestQuota
from auditor.registry.host_plan import HostPlan
from auditor.registry.listing.choose import choose_lister
from auditor.registry.listing.distribution import DistributionLister
from auditor.registry.referrers import Referrers
from auditor.registry.request import (
    RequestCounts,
    RequestKind,
    RequestObserver,
    RequestSender,
)
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.tls import TlsFiles
from auditor.registry.transport.transport import Transport
from auditor.util.clock import Clock
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.proxy import InvalidProxy, Proxies
from auditor.wire.response import Response, complete_length, content_length
from auditor.wire.retry_policy import failure_from_response
from auditor.wire.url_policy import is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.wire.token_keys import KeySet

# Looked up once (see `request`).
_MANIFEST, _HEAD = RequestKind.MANIFEST, RequestKind.HEAD
_MANIFEST_HEADERS = {"Accept": ACCEPT_MANIFESTS}
_BLOB_HEADERS = {"Accept": "*/*"}
_FIRST_BYTE_HEADERS = {"Accept": "*/*", "Range": "bytes=0-0"}
# HEAD is not allowed, or not implemented.
_NO_HEAD = frozenset({405, 501})
# What object stores answer to HEAD with a URL that was signed for GET.
_SIGNED_FOR_GET = frozenset({400, 403})
# RFC 9110 section 15.5.17: an empty blob has no first byte.
_RANGE_NOT_SATISFIABLE = 416
# The response to a request for one byte; a registry may send the whole blob.
MAX_FIRST_BYTE_BYTES = 64 * 1024


class Registry:
    """One registry host.

    `auth` holds its authorizations, `blobs` and `referrers` are parts of its API,
    `list_tags` and `list_repositories` return the pages of its listings (see `Lister`),
    `rate_limiter.latest` is the rate limit it announced last.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: RegistrySettings,
        base_url: str,
        transport: Transport,
        sender: RequestSender,
        auth: HostAuth,
        rate_limiter: RateLimiter,
        make_sender: Callable[..., RequestSender],
    ) -> None:
        self.name = name
        self.settings = settings
        self.base_url = base_url
        self.origin = origin_of(base_url)
        self.auth = auth
        self.rate_limiter = rate_limiter
        self._sender = sender
        self.aclose = transport.aclose
        self.connection_probe = transport.connection_probe
        # The authorizer for pulling from a repository; few are used at the same time.
        self.pull_auth = functools.lru_cache(maxsize=1024)(
            lambda repository: auth.for_scope(pull_scope(repository))
        )
        self.blobs = Blobs(base_url, sender=sender, pull_auth=self.pull_auth)
        self.referrers = Referrers(
            base_url,
            max_bytes=settings.max_manifest_bytes,
            sender=sender,
            pull_auth=self.pull_auth,
        )
        own_lister = DistributionLister(
            base_url,
            page_size=settings.page_size,
            sender=sender,
            pull_auth=lambda repository: ListingAuth(self.pull_auth(repository)),
            catalog_auth=ListingAuth(auth.for_scope(CATALOG_SCOPE)),
        )
        lister = choose_lister(
            name,
            settings=settings,
            base_url=base_url,
            registry=own_lister,
            sender=sender,
            make_sender=make_sender,
            auth=auth,
        )
        self.list_tags = lister.tags
        self.list_repositories = lister.repositories
        # From `/v2/`, even if a product API lists the tags: that may leave out
        # attachments, as Harbor's does.
        self.list_every_tag = own_lister.tags

    def get_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Response | Failure]:
        """The response for a tag or a digest (spec: "Pulling manifests")."""
        return self._manifest(_MANIFEST, "GET", repository, reference)

    def head_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Response | Failure]:
        """The response without its body: whether the manifest exists, its digest."""
        return self._manifest(_HEAD, "HEAD", repository, reference)

    def _manifest(
        self, kind: RequestKind, method: str, repository: str, reference: str
    ) -> Awaitable[Response | Failure]:
        return self._sender.send(
            kind,
            method,
            f"{self.base_url}/v2/{repository}/manifests/{reference}",
            headers=_MANIFEST_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )

    async def get_blob(self, repository: str, digest: str) -> bytes | Failure:
        """The verified bytes of a config (spec: "Pulling blobs").

        At most `max_manifest_bytes`: layers are never fetched.
        """
        response = await self._sender.send(
            RequestKind.BLOB,
            "GET",
            f"{self.base_url}/v2/{repository}/blobs/{digest}",
            headers=_BLOB_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
        )
        if isinstance(response, Failure):
            return response.at(Stage.CONFIG)
        try:
            check_digest(response.body, digest, "blob")
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail, stage=Stage.CONFIG)
        return response.body


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    """A blob that exists. `size` is in bytes, None if the response does not say it."""

    size: int | None


class Blobs:
    """Checks which blobs a registry has, without fetching them.

    OCI distribution-spec v1.1, "Checking if content exists in the registry": HEAD. A
    redirect to an object store is followed, without Authorization, because only the
    store knows whether the blob still exists. Where HEAD is refused, by the registry
    or by a store whose URL was signed for GET, one byte is requested.
    """

    def __init__(
        self,
        base_url: str,
        *,
        sender: RequestSender,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._sender = sender
        self._pull_auth = pull_auth
        self._supports_head = True  # until the registry itself refuses one

    async def stat(self, repository: str, digest: str) -> BlobStat | Failure:
        """The blob, or a failure: `NOT_FOUND` if it does not exist.

        After any other failure it is unknown whether the blob exists.
        """
        url = f"{self._base_url}/v2/{repository}/blobs/{digest}"
        if not self._supports_head:
            return await self._get_first_byte(repository, url)
        response = await self._sender.send(
            RequestKind.BLOB_CHECK,
            "HEAD",
            url,
            headers=_BLOB_HEADERS,
            max_bytes=0,
            authorizer=self._pull_auth(repository),
            accepted_statuses=_NO_HEAD | _SIGNED_FOR_GET,
        )
        if isinstance(response, Failure):
            return response.at(Stage.BLOB)
        if response.status < 300:
            return BlobStat(size=_size(response))
        is_redirected = origin_of(response.url) != origin_of(url)
        if response.status not in _NO_HEAD and not is_redirected:
            return failure_from_response(response).at(Stage.BLOB)
        self._supports_head = is_redirected
        return await self._get_first_byte(repository, url)

    async def _get_first_byte(self, repository: str, url: str) -> BlobStat | Failure:
        response = await self._sender.send(
            RequestKind.BLOB_CHECK,
            "GET",
            url,
            headers=_FIRST_BYTE_HEADERS,
            max_bytes=MAX_FIRST_BYTE_BYTES,
            authorizer=self._pull_auth(repository),
            accepted_statuses={_RANGE_NOT_SATISFIABLE},
        )
        if isinstance(response, Failure):
            if response.kind is FailureKind.TOO_LARGE:
                return BlobStat(size=None)  # the registry sent all of it
            return response.at(Stage.BLOB)
        if response.status == 200:
            return BlobStat(size=len(response.body))
        return BlobStat(size=complete_length(response.headers.get("Content-Range")))


def _size(response: Response) -> int | None:
    """The size that a GET would return; a content coding has another length."""
    if (response.headers.get("Content-Encoding") or "identity") != "identity":
        return None
    return content_length(response.headers.get("Content-Length"))


def make_registry(
    name: str,
    *,
    settings: RegistrySettings,
    credentials: CredentialStore,
    tls: TlsFiles,
    proxies: Proxies,
    keys: KeySet | None,
    clock: Clock,
    counts: RequestCounts,
    run_quota: RequestQuota | None = None,
    observer: RequestObserver | None = None,
) -> Registry:
    """The registry `name`, with a transport, limits and authorizations of its own.

    `run_quota` is shared by all registries of a run. Raises `UsageError` for a proxy
    that cannot be used.
    """
    host = api_host(name)
    base_url = f"{_scheme(host, settings)}://{host}"
    origin = origin_of(base_url)
    proxy = proxies.choose(origin)
    if isinstance(proxy, InvalidProxy):
        raise UsageError(proxy.detail)
    transport = Transport(
        origin=origin,
        max_in_flight=settings.requests_at_once,
        timeouts=Timeouts(
            connect_s=settings.connect_timeout_s,
            read_s=settings.read_timeout_s,
            request_s=settings.request_timeout_s,
        ),
        tls=tls,
        proxies=proxies,
        allowed_hosts=_allowed_hosts(settings),
    )
    quota = run_quota
    if settings.max_requests is not None:
        owner = f"the registry {name}"
        quota = RequestQuota(settings.max_requests, owner=owner, run=run_quota)
    new_sender = functools.partial(
        RequestSender,
        settings=settings,
        transport=transport,
        quota=quota,
        clock=clock,
        counts=counts,
        observer=observer,
    )
    rate_limiter = RateLimiter(
        host=name,
        policy=settings.rate_limit_policy,
        max_in_flight=settings.requests_at_once,
        clock=clock,
    )
    ping_url = f"{base_url}/v2/"
    sender = new_sender(
        name, credential_base=base_url, probe_url=ping_url, rate_limiter=rate_limiter
    )
    # The token service has slots and health of its own.
    token_sender = new_sender(f"the token service of {name}")

    def token_service(credential: FoundCredential | None) -> TokenService:
        return TokenService(
            origin=origin,
            settings=settings,
            found=credential,
            keys=keys,
            sender=token_sender,
            clock=clock,
        )

    auth = HostAuth(
        registry=name,
        plan=HostPlan(ping_url=ping_url, settings=settings, sender=sender),
        credentials=credentials,
        service=token_service,
        clock=clock,
    )
    return Registry(
        name,
        settings=settings,
        base_url=base_url,
        transport=transport,
        sender=sender,
        auth=auth,
        rate_limiter=rate_limiter,
        make_sender=new_sender,
    )


def _scheme(host: str, settings: RegistrySettings) -> str:
    """The setting `plain_http`; without it HTTP on loopback, as container tools do.

    A CA or certificate file means TLS.
    """
    if settings.plain_http is not None:
        return "http" if settings.plain_http else "https"
    is_loopback = is_loopback_host(origin_of(f"https://{host}").host)
    over_tls = settings.ca_file is not None or settings.cert_file is not None
    return "http" if is_loopback and not over_tls else "https"


def _allowed_hosts(settings: RegistrySettings) -> frozenset[str]:
    """Hosts named by the user, which the SSRF guard lets pass."""
    urls = filter(None, (settings.token_url, settings.api_url))
    return frozenset({*settings.realm_hosts, *(origin_of(url).host for url in urls)})
