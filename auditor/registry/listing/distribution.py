"""The lists of the registry API itself (OCI distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

from auditor.errors import Failure, FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.listing.paging import (
    SUSPICIOUS_COUNTS,
    ListedTag,
    NamedTags,
    Page,
    Reading,
    pages,
)
from auditor.registry.products import api
from auditor.registry.products.google import listed_tags
from auditor.registry.request import Exchange, RequestKind
from auditor.wire.response import Response

# A page of 1,000 tags of at most 128 characters is 132 KB. Some registries ignore
# `n` and send a whole list: a million tags fit in this.
MAX_LIST_BYTES = 128 * 1024 * 1024
# The most that distribution grants in one page of its catalog, and ECR of anything.
LARGE_PAGE = 1000
# Asked for when a page of the configured size times out.
SMALL_PAGE = 100

_LIST_HEADERS = {"Accept": "application/json"}
# Statuses with which products refuse a page size.
_REFUSES_SIZE = frozenset({400, 405})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Want:
    """A list: where it starts, and who asks for it."""

    path: str
    authorizer: Authorizer

    def url(self, size: int | None) -> str:
        return self.path if size is None else f"{self.path}?{urlencode({'n': size})}"


class DistributionLists:
    """A registry's lists, as its `/v2/` API gives them."""

    def __init__(
        self,
        base_url: str,
        *,
        page_size: int,
        exchange: Exchange,
        pull_auth: Callable[[str], Authorizer],
        catalog_auth: Authorizer,
    ) -> None:
        self._base_url = base_url
        self._page_size = page_size
        # Whoever grants the size that is asked for cuts there.
        self._sizes = SUSPICIOUS_COUNTS | {page_size}
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._catalog_auth = catalog_auth

    async def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags (spec: "Listing Tags").

        With digests where the registry adds them, as Google's do.
        """
        want = self._tags_wanted(repository)
        async for page in pages(
            await self._first(want),
            get=lambda url: self._get(want, url),
            read=_read_tags,
            called=f"the list of {repository}",
            after=lambda name: self._after(want, name),
            sizes=self._sizes,
        ):
            yield page

    async def repositories(
        self, below: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the catalog, which cannot be asked for a part of it.

        Source: distribution, "HTTP API V2", section "Listing Repositories".
        """
        del below
        want = _Want(
            path=f"{self._base_url}/v2/_catalog", authorizer=self._catalog_auth
        )
        async for page in pages(
            await self._first(want),
            get=lambda url: self._get(want, url),
            read=_read_catalog,
            called="the catalog",
            after=lambda name: self._after(want, name),
            sizes=self._sizes,
        ):
            yield page

    async def whole_tag_list(self, repository: str) -> dict[str, Any] | Failure:
        """The first answer of a repository's list of tags, as it is."""
        answer = await self._first(self._tags_wanted(repository))
        if isinstance(answer, Failure):
            return answer
        try:
            document = api.document_of(answer)
        except ProtocolError as error:
            return Failure(kind=error.kind, detail=error.detail)
        return document if isinstance(document, dict) else {}

    def _tags_wanted(self, repository: str) -> _Want:
        return _Want(
            path=f"{self._base_url}/v2/{repository}/tags/list",
            authorizer=self._pull_auth(repository),
        )

    async def _first(self, want: _Want) -> Response | Failure:
        """The answer for the first page, of a size that the registry grants.

        distribution's catalog and ECR refuse more than 1,000 (400), others any size
        (400, 405); a registry that takes too long for a page gets a smaller one.
        """
        size: int | None = self._page_size
        while True:
            answer = await self._get(
                want, want.url(size), wanted=() if size is None else _REFUSES_SIZE
            )
            if isinstance(answer, Failure):
                if size is None or size <= SMALL_PAGE or not _timed_out(answer):
                    return answer
                size = SMALL_PAGE
            elif answer.status in _REFUSES_SIZE:
                size = LARGE_PAGE if size is not None and size > LARGE_PAGE else None
            else:
                return answer

    async def _after(self, want: _Want, name: str) -> Response | Failure:
        """The answer for what comes after a name, which its registry did not link."""
        size = min(self._page_size, LARGE_PAGE)
        query = urlencode({"n": size, "last": name}, safe="/")
        return await self._get(want, f"{want.path}?{query}", wanted=_REFUSES_SIZE)

    async def _get(
        self, want: _Want, url: str, *, wanted: frozenset[int] | tuple[()] = ()
    ) -> Response | Failure:
        return await self._exchange.send(
            RequestKind.LIST,
            "GET",
            url,
            headers=_LIST_HEADERS,
            max_bytes=MAX_LIST_BYTES,
            authorizer=want.authorizer,
            wanted=wanted,
        )


def _read_tags(answer: Response) -> Reading[ListedTag]:
    document = api.document_of(answer)
    names, unreadable = _names(document, "tags")
    told = isinstance(document.get("manifest"), dict)
    return Reading(
        entries=listed_tags(names, document) if told else NamedTags(names),
        counted=names,
        following=api.linked(answer),
        unreadable=unreadable,
    )


def _read_catalog(answer: Response) -> Reading[str]:
    names, unreadable = _names(api.document_of(answer), "repositories")
    return Reading(entries=names, following=api.linked(answer), unreadable=unreadable)


def _names(document: Any, key: str) -> tuple[list[str], int]:
    """The strings of a list answer, and how many entries are neither string nor null.

    `null` where a list should be is an empty one (Go writes it so).
    """
    entries = api.entries_of(document, key)
    names = [name for name in entries if isinstance(name, str)]
    # Some products put a null where a name was deleted.
    nulls = sum(entry is None for entry in entries)
    return names, len(entries) - len(names) - nulls


def _timed_out(failure: Failure) -> bool:
    return failure.kind is FailureKind.TIMEOUT or failure.status == 504
