"""One registry: its manifests, blobs, referrers and listings.

OCI distribution-spec v1.1. `registries` puts a `Registry` together.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Container

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import (
    ACCEPT_MANIFESTS,
    OCI_INDEX,
    Descriptor,
    check_digest,
    essence,
)
from auditor.oci.manifest import ImageIndex, parse_manifest
from auditor.registry.auth.scope_auth import CatalogAuth, HostAuth, ListingAuth
from auditor.registry.host_limits import RateLimiter
from auditor.registry.listing.choose import choose_lister
from auditor.registry.listing.distribution import DistributionLister
from auditor.registry.request import RequestKind, RequestSender
from auditor.registry.transport.transport import Transport
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.redirect import Redirects
from auditor.wire.response import (
    Response,
    complete_length,
    content_codings,
    content_length,
    next_page,
)
from auditor.wire.retry_policy import failure_from_response
from auditor.wire.url_policy import origin_of

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

# Referrers and pages of one manifest, above which the listing is a failure.
MAX_REFERRERS = 10_000
MAX_PAGES = 100
MAX_REFERRERS_BYTES = 16 * 1024 * 1024
_REFERRERS_HEADERS = {"Accept": OCI_INDEX}
_NO_API = frozenset({400, 404, 405, 406, 410, 501})
# Of these, statuses that may concern one request only, such as one for a digest with
# another algorithm.
_THIS_REQUEST_ONLY = frozenset({400, 406})


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
        untagged: bool = False,
    ) -> None:
        """`untagged`: `list_tags` lists manifests without a tag, too, if it can."""
        self.name = name
        self.settings = settings
        self.base_url = base_url
        self.origin = origin_of(base_url)
        self.auth = auth
        self.rate_limiter = rate_limiter
        self.sender = sender
        self.aclose = transport.aclose
        self.connection_probe = transport.connection_probe
        # The authorizer for pulling from a repository; few are used at the same time.
        self.pull_auth = functools.lru_cache(maxsize=1024)(
            lambda repository: auth.for_scope(pull_scope(repository))
        )
        self.blobs = Blobs(self)
        self.referrers = Referrers(self)
        own_lister = DistributionLister(
            base_url,
            page_size=settings.page_size,
            sender=sender,
            pull_auth=lambda repository: ListingAuth(self.pull_auth(repository)),
            catalog_auth=CatalogAuth(auth.for_scope(CATALOG_SCOPE)),
            untagged=untagged,
        )
        lister = choose_lister(
            name,
            settings=settings,
            base_url=base_url,
            registry=own_lister,
            sender=sender,
            make_sender=make_sender,
            auth=auth,
            untagged=untagged,
        )
        self.list_tags = lister.tags
        self.list_repositories = lister.repositories
        # From `/v2/`, even if a product API lists the tags: that may leave out
        # attachments, as Harbor's does.
        self.list_every_tag = own_lister.tags

    def get_manifest(
        self, repository: str, reference: str, *, new_connection: bool = False
    ) -> Awaitable[Response | Failure]:
        """The response for a tag or a digest (spec: "Pulling manifests").

        `new_connection`: reuse none.
        """
        return self._manifest(
            _MANIFEST, "GET", repository, reference, new_connection=new_connection
        )

    def head_manifest(
        self, repository: str, reference: str
    ) -> Awaitable[Response | Failure]:
        """The response without its body: whether the manifest exists, its digest."""
        return self._manifest(_HEAD, "HEAD", repository, reference)

    def _manifest(
        self,
        kind: RequestKind,
        method: str,
        repository: str,
        reference: str,
        *,
        new_connection: bool = False,
    ) -> Awaitable[Response | Failure]:
        return self.sender.send(
            kind,
            method,
            f"{self.base_url}/v2/{repository}/manifests/{reference}",
            headers=_MANIFEST_HEADERS,
            max_bytes=self.settings.max_manifest_bytes,
            authorizer=self.pull_auth(repository),
            new_connection=new_connection,
        )

    async def get_blob(
        self,
        repository: str,
        digest: str,
        *,
        max_bytes: int | None = None,
        stage: Stage = Stage.CONFIG,
    ) -> bytes | Failure:
        """The verified bytes of a config, SBOM or signature (spec: "Pulling blobs").

        At most `max_bytes`, by default `max_manifest_bytes`: layers of images are never
        fetched. If they have another digest, they are requested once more, on a new
        connection. `stage` is that of a failure.
        """
        failure: Failure | None = None
        for new_connection in (False, True):
            response = await self.sender.send(
                RequestKind.BLOB,
                "GET",
                f"{self.base_url}/v2/{repository}/blobs/{digest}",
                headers=_BLOB_HEADERS,
                max_bytes=max_bytes or self.settings.max_manifest_bytes,
                authorizer=self.pull_auth(repository),
                new_connection=new_connection,
            )
            if isinstance(response, Failure):
                return response.at(stage)
            try:
                check_digest(response.body, digest, "blob")
            except ProtocolError as error:
                failure = Failure(kind=error.kind, detail=error.detail, stage=stage)
            else:
                return response.body
        assert failure is not None
        return failure


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStat:
    """A blob that exists. `size` is in bytes, None if the response does not say it."""

    size: int | None


class Blobs:
    """Checks which blobs a registry has, without fetching them.

    OCI distribution-spec v1.1, "Checking if content exists in the registry": HEAD. A
    redirect to an object store is followed, without Authorization, because only the
    store knows whether the blob still exists. Where HEAD is refused, by the registry or
    by a store with a URL signed for GET, one byte is requested. The same where HEAD
    says that a blob is missing or empty: some servers answer every HEAD so.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._supports_head = True  # until the registry refuses one, or GET contradicts

    async def stat(self, repository: str, digest: str) -> BlobStat | Failure:
        """The blob, or a failure: `NOT_FOUND` if it does not exist.

        After any other failure it is unknown whether the blob exists.
        """
        url = f"{self._registry.base_url}/v2/{repository}/blobs/{digest}"
        if not self._supports_head:
            return await self._get_first_byte(repository, url)
        response = await self._registry.sender.send(
            RequestKind.BLOB_CHECK,
            "HEAD",
            url,
            headers=_BLOB_HEADERS,
            max_bytes=0,
            authorizer=self._registry.pull_auth(repository),
            accepted_statuses=_NO_HEAD | _SIGNED_FOR_GET,
        )
        if isinstance(response, Failure):
            if response.kind is not FailureKind.NOT_FOUND:
                return response.at(Stage.BLOB)
            blob = await self._get_first_byte(repository, url)
            self._supports_head = isinstance(blob, Failure)
            return blob
        if response.status < 300:
            size = _size(response)
            if size != 0:
                return BlobStat(size=size)
            return await self._stat_empty(repository, url)
        is_redirected = origin_of(response.url) != origin_of(url)
        if response.status not in _NO_HEAD and not is_redirected:
            return failure_from_response(response).at(Stage.BLOB)
        self._supports_head = is_redirected
        return await self._get_first_byte(repository, url)

    async def _stat_empty(self, repository: str, url: str) -> BlobStat | Failure:
        """A blob that exists and, says HEAD, has no bytes."""
        blob = await self._get_first_byte(repository, url)
        if isinstance(blob, Failure):
            return blob if blob.kind is FailureKind.NOT_FOUND else BlobStat(size=None)
        if blob.size != 0:
            self._supports_head = False  # its sizes are of no use
        return blob

    async def _get_first_byte(self, repository: str, url: str) -> BlobStat | Failure:
        response = await self._registry.sender.send(
            RequestKind.BLOB_CHECK,
            "GET",
            url,
            headers=_FIRST_BYTE_HEADERS,
            max_bytes=MAX_FIRST_BYTE_BYTES,
            authorizer=self._registry.pull_auth(repository),
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
    """The size of the blob; None with a content coding, which has another length."""
    if content_codings(response.headers):
        return None
    return content_length(response.headers.get("Content-Length"))


class Referrers:
    """The referrers API of one registry (spec: "Listing Referrers").

    No `artifactType` filter is sent, so `OCI-Filters-Applied` is not looked at. The
    body decides: an image index is a list of referrers with any `Content-Type` (Harbor
    2.8 to 2.10 and crane's registry sent another one, harbor#19690,
    go-containerregistry#1760).

    A registry with the API never answers it with 404 (spec: "Backwards Compatibility").
    Others answer 404 or another client error, a web page, or redirect to one (GHCR). A
    redirect to the referrers of the same digest is that of a registry at another name.
    That the API is missing is remembered for each namespace (the first part of the
    path), after a second request: several registries can share one host, each with its
    own namespaces. Anything else is a failure, after which referrers are unknown.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._has_api: dict[str, bool] = {}

    async def list(
        self, repository: str, digest: str
    ) -> tuple[Descriptor, ...] | Failure | None:
        """The referrers of a digest in the registry's order; None without the API."""
        namespace = repository.partition("/")[0]
        if self._has_api.get(namespace) is False:
            return None
        url = f"{self._registry.base_url}/v2/{repository}/referrers/{digest}"
        response = await self._get(repository, url, accepted_statuses=_NO_API)
        if _is_without_api(response) and response.status not in _THIS_REQUEST_ONLY:
            response = await self._get(
                repository, url, accepted_statuses=_NO_API, new_connection=True
            )
        if _is_without_api(response):
            if self._has_api.get(namespace):
                return _unexpected(response)
            if response.status not in _THIS_REQUEST_ONLY:
                self._has_api[namespace] = False
            return None
        referrers: list[Descriptor] = []
        seen: set[str] = set()
        size = 0
        while True:
            if isinstance(response, Failure):
                return response
            seen.add(url)
            if (size := size + len(response.body)) > MAX_REFERRERS_BYTES:
                limit = f"{MAX_REFERRERS_BYTES} bytes"
                detail = f"the list of referrers of {digest} has more than {limit}"
                return Failure(kind=FailureKind.TOO_LARGE, detail=detail)
            try:
                referrers += _parse_referrers(response)
                self._has_api[namespace] = True
                next_url = next_page(response.headers.getall("Link", ()), response.url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            if next_url is None:
                return tuple(referrers)
            too_many = len(referrers) > MAX_REFERRERS or len(seen) >= MAX_PAGES
            if too_many or next_url in seen:
                return Failure(
                    kind=FailureKind.INCOMPLETE_LISTING,
                    detail=f"the list of referrers of {digest} does not end"
                    f" (page {len(seen)}, {len(referrers)} referrers so far)",
                )
            url = next_url
            response = await self._get(repository, url)

    async def _get(
        self,
        repository: str,
        url: str,
        *,
        accepted_statuses: Container[int] = (),
        new_connection: bool = False,
    ) -> Response | Failure:
        registry = self._registry
        return await registry.sender.send(
            RequestKind.REFERRERS,
            "GET",
            url,
            headers=_REFERRERS_HEADERS,
            max_bytes=registry.settings.max_manifest_bytes,
            authorizer=registry.pull_auth(repository),
            redirects=Redirects.SAME_RESOURCE,
            new_connection=new_connection,
            accepted_statuses=accepted_statuses,
        )


def _parse_referrers(response: Response) -> tuple[Descriptor, ...]:
    index = parse_manifest(response.body, OCI_INDEX)
    if not isinstance(index, ImageIndex):
        raise ProtocolError("the list of referrers is not an image index")
    return index.children


def _is_without_api(response: Response | Failure) -> bool:
    """Whether a first page shows that the registry has no such API."""
    if isinstance(response, Failure):
        return response.kind is FailureKind.REDIRECT_REFUSED
    if response.status in _NO_API:
        return True
    # Web applications answer 200 to any path.
    is_page = response.body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    return is_page and essence(response.content_type) != OCI_INDEX


def _unexpected(response: Response | Failure) -> Failure:
    """The failure of a request to an API that the registry was seen to have."""
    if isinstance(response, Failure):
        return response
    if response.status >= 300:
        return failure_from_response(response)
    detail = "the registry returned a web page, not a list of referrers"
    return Failure(
        kind=FailureKind.PROTOCOL_VIOLATION, detail=detail, status=response.status
    )
