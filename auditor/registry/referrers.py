"""The referrers API: manifests that refer to a manifest.

OCI distribution-spec v1.1, "Listing Referrers". No `artifactType` filter is sent, so
`OCI-Filters-Applied` is not looked at. A registry with the API never answers it with
404 ("Backwards Compatibility"). Registries without it answer 404 or another client
error, a web page, or redirect to one (GHCR).
"""

from __future__ import annotations

from collections.abc import Callable

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.oci.descriptor import OCI_INDEX, Descriptor, essence
from auditor.oci.manifest import ImageIndex, parse_manifest
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.request import RequestKind, RequestSender
from auditor.wire.response import Response, next_page

# Referrers and pages of one manifest, above which the listing is a failure.
MAX_REFERRERS = 10_000
MAX_PAGES = 100
_HEADERS = {"Accept": OCI_INDEX}
_NO_API = frozenset({400, 404, 405, 406, 410, 501})
# Of these, statuses that may concern one request only, such as one for a digest with
# another algorithm.
_THIS_REQUEST_ONLY = frozenset({400, 406})


class Referrers:
    """The referrers API of one registry.

    Remembers by namespace (the first part of the path) whether there is the API:
    several registries can share one host, told apart by namespace.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_bytes: int,
        sender: RequestSender,
        pull_auth: Callable[[str], Authorizer],
    ) -> None:
        self._base_url = base_url
        self._max_bytes = max_bytes
        self._sender = sender
        self._pull_auth = pull_auth
        self._has_api: dict[str, bool] = {}

    async def list(
        self, repository: str, digest: str
    ) -> tuple[Descriptor, ...] | Failure | None:
        """The referrers of a digest in the registry's order; None without the API."""
        namespace = repository.partition("/")[0]
        if self._has_api.get(namespace) is False:
            return None
        url: str | None = f"{self._base_url}/v2/{repository}/referrers/{digest}"
        referrers: list[Descriptor] = []
        seen: set[str] = set()
        while url is not None:
            is_first = not seen
            seen.add(url)
            response = await self._sender.send(
                RequestKind.REFERRERS,
                "GET",
                url,
                headers=_HEADERS,
                max_bytes=self._max_bytes,
                authorizer=self._pull_auth(repository),
                redirects=False,
                accepted_statuses=_NO_API if is_first else (),
            )
            if is_first and _is_without_api(response):
                # A namespace that listed referrers before has the API.
                if not _concerns_this_request_only(response):
                    self._has_api.setdefault(namespace, False)
                return None
            if isinstance(response, Failure):
                return response
            self._has_api[namespace] = True
            try:
                referrers += _parse_referrers(response)
                url = next_page(response.headers.getall("Link", ()), response.url)
            except ProtocolError as error:
                return Failure(kind=error.kind, detail=error.detail)
            too_many = len(referrers) > MAX_REFERRERS or len(seen) >= MAX_PAGES
            if url is not None and (too_many or url in seen):
                return Failure(
                    kind=FailureKind.INCOMPLETE_LISTING,
                    detail=f"the list of referrers of {digest} does not end"
                    f" (page {len(seen)}, {len(referrers)} referrers so far)",
                )
        return tuple(referrers)


def _parse_referrers(response: Response) -> tuple[Descriptor, ...]:
    index = parse_manifest(response.body, response.content_type)
    if not isinstance(index, ImageIndex):
        raise ProtocolError("the list of referrers is not an image index")
    return index.children


def _is_without_api(response: Response | Failure) -> bool:
    if isinstance(response, Failure):
        return response.kind is FailureKind.REDIRECT_REFUSED
    # Web applications answer 200 to any path.
    media_type = essence(response.content_type)
    return response.status in _NO_API or media_type != OCI_INDEX


def _concerns_this_request_only(response: Response | Failure) -> bool:
    return not isinstance(response, Failure) and response.status in _THIS_REQUEST_ONLY
