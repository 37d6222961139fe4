"""The lists of the registry API itself (OCI distribution-spec v1.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import orjson

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.answer import Answer
from auditor.protocol.link import next_page
from auditor.registry.authorization import Authorizer
from auditor.registry.exchange import Exchange, RequestKind
from auditor.registry.lister import ListedTag, Page

# A page of 1,000 tags of at most 128 characters is 132 KB. Some registries ignore
# `n` and send a whole list: a million tags fit in this.
MAX_LIST_BYTES = 128 * 1024 * 1024
# A list that is longer than this many pages is a loop that changes its links.
MAX_PAGES = 100_000
# The most that distribution grants in one page of its catalog, and ECR of anything.
LARGE_PAGE = 1000
# Asked for when a page of the configured size times out.
SMALL_PAGE = 100
# Entries handed on at once: of a list that comes whole, no more is unpacked.
PAGE_ENTRIES = 1000

_LIST_HEADERS = {"Accept": "application/json"}
# Statuses with which products refuse a page size.
_REFUSES_SIZE = frozenset({400, 405})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Want:
    """A list: where it starts, the key of its entries, and what failures call it."""

    path: str
    key: str
    called: str
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
        self._exchange = exchange
        self._pull_auth = pull_auth
        self._catalog_auth = catalog_auth

    async def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags (spec: "Listing Tags")."""
        want = _Want(
            path=f"{self._base_url}/v2/{repository}/tags/list",
            key="tags",
            called=f"the list of {repository}",
            authorizer=self._pull_auth(repository),
        )
        async for page in self._pages(want):
            if isinstance(page, Failure):
                yield page
                continue
            yield Page(
                entries=tuple(map(ListedTag, page.entries)),
                number=page.number,
                last=page.last,
                unreadable=page.unreadable,
            )

    async def repositories(
        self, below: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the catalog, which cannot be asked for a part of it.

        Source: distribution, "HTTP API V2", section "Listing Repositories".
        """
        del below
        want = _Want(
            path=f"{self._base_url}/v2/_catalog",
            key="repositories",
            called="the catalog",
            authorizer=self._catalog_auth,
        )
        async for page in self._pages(want):
            yield page

    async def _pages(self, want: _Want) -> AsyncIterator[Page[str] | Failure]:
        """The pages of a list, then nothing or one `Failure`.

        The `Link` of each page is followed as it is; a page that was seen before or
        holds nothing new ends the list as a failure.
        """
        seen_urls: set[int] = set()
        seen_pages: set[int] = set()
        number = 0
        answer: Answer | Failure = await self._first(want)
        while True:
            number += 1
            if isinstance(answer, Failure):
                yield _list_failure(answer, number - 1)
                return
            try:
                names, unreadable = _names(answer.body, want.key)
            except ProtocolError as error:
                failure = Failure(kind=error.kind, detail=error.detail)
                yield _list_failure(failure, number - 1)
                return
            following = _following(answer)
            seen_urls.add(hash(answer.url))
            del answer  # the text of a whole list may be large
            ends = following is None
            for part in _parts(names, number, unreadable=unreadable, last=ends):
                yield part
            if isinstance(following, Failure):
                yield following
            if following is None or isinstance(following, Failure):
                return
            page = hash(tuple(names))
            if (
                hash(following) in seen_urls
                or page in seen_pages
                or number >= MAX_PAGES
            ):
                yield _incomplete(f"{want.called} goes round in circles")
                return
            seen_urls.add(hash(following))
            seen_pages.add(page)
            answer = await self._get(want, following)

    async def _first(self, want: _Want) -> Answer | Failure:
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

    async def _get(
        self, want: _Want, url: str, *, wanted: frozenset[int] | tuple[()] = ()
    ) -> Answer | Failure:
        return await self._exchange.send(
            RequestKind.LIST,
            "GET",
            url,
            headers=_LIST_HEADERS,
            max_bytes=MAX_LIST_BYTES,
            authorizer=want.authorizer,
            wanted=wanted,
        )


def _following(answer: Answer) -> str | Failure | None:
    """Where the next page is; null after the last one."""
    try:
        return next_page(answer.headers.getall("Link", ()), answer.url)
    except ProtocolError as error:
        return _incomplete(error.detail)


def _parts(
    names: Sequence[str], number: int, *, unreadable: int, last: bool
) -> Iterator[Page[str]]:
    """The entries of one answer as pages of at most `PAGE_ENTRIES`."""
    for start in range(0, max(len(names), 1), PAGE_ENTRIES):
        ends = start + PAGE_ENTRIES >= len(names)
        yield Page(
            entries=tuple(names[start : start + PAGE_ENTRIES]),
            number=number,
            last=last and ends,
            unreadable=unreadable if ends else 0,
        )


def _names(body: bytes, key: str) -> tuple[list[str], int]:
    """The strings of a list answer, and how many entries are neither string nor null.

    `null` where a list should be is an empty one (Go writes it so).
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"the list is not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise ProtocolError("the list is JSON but not an object")
    if key not in document:
        raise ProtocolError(f'the list holds no "{key}"')
    entries = document[key]
    if entries is None:
        return [], 0
    if not isinstance(entries, list):
        raise ProtocolError(f'the "{key}" of the list is not a list')
    names = [name for name in entries if isinstance(name, str)]
    # Some products put a null where a name was deleted.
    nulls = sum(entry is None for entry in entries)
    return names, len(entries) - len(names) - nulls


def _timed_out(failure: Failure) -> bool:
    return failure.kind is FailureKind.TIMEOUT or failure.status == 504


def _list_failure(failure: Failure, pages: int) -> Failure:
    if pages == 0:
        return failure.at(Stage.LIST)
    return _incomplete(f"after {pages} good pages: {failure.detail}")


def _incomplete(detail: str) -> Failure:
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, detail=detail, stage=Stage.LIST)
