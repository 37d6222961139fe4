"""The listings of the registry API itself (OCI distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import Any
from urllib.parse import urlencode

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import (
    Entry,
    LazyTags,
    ListedTag,
    Page,
    ParsedPage,
)
from auditor.registry.listing.paging import read_pages
from auditor.registry.products.google import parse_tags, parse_untagged
from auditor.registry.request import RequestKind, RequestSender
from auditor.wire.response import Response

# Some registries ignore `n` and send the whole listing: a million tags of 40 characters
# fit in this (`json_fields.MAX_VALUES`).
MAX_LISTING_BYTES = 48 * 1024 * 1024
# The largest page of distribution's catalog, and of every listing of ECR.
LARGE_PAGE = 1000
# The page size after a page of the configured size timed out.
SMALL_PAGE = 100

# Statuses with which products refuse a page size.
_SIZE_REFUSED = frozenset({400, 405})


class DistributionLister:
    """The listings of a registry by its `/v2/` API."""

    def __init__(
        self,
        base_url: str,
        *,
        page_size: int,
        sender: RequestSender,
        pull_auth: Callable[[str], Authorizer],
        catalog_auth: Authorizer,
        untagged: bool = False,
    ) -> None:
        self._base_url = base_url
        self._page_size = page_size
        self._sender = sender
        self._pull_auth = pull_auth
        self._catalog_auth = catalog_auth
        self._untagged = untagged

    def authorizer(self, repository: str) -> Authorizer:
        """The authorizer of a repository's listing; "" is the catalog."""
        return self._pull_auth(repository) if repository else self._catalog_auth

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository (spec: "Listing Tags").

        They have digests if the registry adds them, as Google's do; with `untagged`,
        the manifests without a tag that it adds come with them.
        """
        return self._tags_listing(repository).pages(
            partial(_parse_tags, untagged=self._untagged), f"tags of {repository}"
        )

    def repositories(self, prefix: str | None) -> AsyncIterator[Page[str] | Failure]:
        """The whole catalog: it has no parameter for a prefix.

        Source: distribution, "HTTP API V2", section "Listing Repositories".
        """
        del prefix
        catalog = self._listing("_catalog", self._catalog_auth)
        # Of more than n repositories, go-containerregistry's registry sends any n, in
        # any order and without a link; its page without n is larger.
        return catalog.pages(fields.catalog_page, "catalog", list_whole=catalog.whole)

    async def tags_document(self, repository: str) -> dict[str, Any] | Failure:
        """The JSON of the first page of a repository's tags."""
        response = await self._tags_listing(repository).first_page()
        if isinstance(response, Failure):
            return response
        try:
            document = fields.document_of(response)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        return document if isinstance(document, dict) else {}

    def _tags_listing(self, repository: str) -> _Listing:
        return self._listing(f"{repository}/tags/list", self._pull_auth(repository))

    def _listing(self, path: str, authorizer: Authorizer) -> _Listing:
        return _Listing(
            url=f"{self._base_url}/v2/{path}",
            page_size=self._page_size,
            sender=self._sender,
            authorizer=authorizer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """Requests the pages of one listing; `url` has no query."""

    url: str
    page_size: int
    sender: RequestSender
    authorizer: Authorizer

    async def pages(
        self,
        parse: Callable[[Response], ParsedPage[Entry]],
        name: str,
        *,
        list_whole: Callable[[], Awaitable[Response | Failure]] | None = None,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        async for page in read_pages(
            await self.first_page(),
            get=self._get,
            parse=parse,
            listing=name,
            list_after=self._list_after,
            list_whole=list_whole,
            # A registry that grants the requested page size may truncate there.
            sizes=SUSPICIOUS_COUNTS | {self.page_size},
        ):
            yield page

    async def first_page(self) -> Response | Failure:
        """The first page, of a size that the registry grants.

        distribution's catalog and ECR refuse more than 1,000 (400), some registries any
        size (400, 405). After a timeout a smaller page is requested.
        """
        size: int | None = self.page_size
        while True:
            response = await self._get(
                self.url + (f"?n={size}" if size else ""),
                accepted_statuses=_SIZE_REFUSED if size else frozenset(),
            )
            if isinstance(response, Failure):
                timed_out = response.kind is FailureKind.TIMEOUT
                timed_out = timed_out or response.status == 504
                if size is None or size <= SMALL_PAGE or not timed_out:
                    return response
                size = SMALL_PAGE
            elif response.status in _SIZE_REFUSED:
                size = LARGE_PAGE if size and size > LARGE_PAGE else None
            else:
                return response

    async def whole(self) -> Response | Failure:
        """The page that the registry sends to a request without a page size."""
        return await self._get(self.url, accepted_statuses=_SIZE_REFUSED)

    async def _list_after(self, last: str) -> Response | Failure:
        """The page after the entry `last`, to which the registry gave no link."""
        size = min(self.page_size, LARGE_PAGE)
        query = urlencode({"n": size, "last": last}, safe="/")
        return await self._get(f"{self.url}?{query}", accepted_statuses=_SIZE_REFUSED)

    async def _get(
        self, url: str, *, accepted_statuses: frozenset[int] = frozenset()
    ) -> Response | Failure:
        return await self.sender.send(
            RequestKind.LIST,
            "GET",
            url,
            headers={"Accept": "application/json"},
            max_bytes=MAX_LISTING_BYTES,
            authorizer=self.authorizer,
            accepted_statuses=accepted_statuses,
        )


def _parse_tags(response: Response, *, untagged: bool = False) -> ParsedPage[ListedTag]:
    document = fields.document_of(response)
    names, unreadable = fields.names(document, "tags")
    entries: Collection[ListedTag] = LazyTags(names)
    has_digests = isinstance(document.get("manifest"), dict)
    if has_digests:
        entries = parse_tags(names, document)
        if untagged:
            entries = entries + parse_untagged(document)
    return ParsedPage(
        entries=entries,
        counted=names,
        next_url=fields.linked_page(response),
        unreadable=unreadable,
        has_untagged=has_digests and untagged,
    )
