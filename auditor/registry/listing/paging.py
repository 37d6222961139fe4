"""Reads the pages of a listing, to its end or to the first error.

Some registries truncate a listing: they send their largest page without a `Link`. The
distribution-spec ("Listing Tags") lets a client ask for the entries after a given one:
if the response is empty, the listing is complete; if it has new entries, the listing
was truncated. A registry that ignores the parameter starts again, which proves nothing;
its whole listing may be what it sends to a request without a page size.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import islice, pairwise
from typing import Any

from auditor.errors import Failure, ProtocolError, Stage
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.listing.interface import (
    MAX_PAGES,
    Entry,
    Page,
    ParsedPage,
    incomplete,
)
from auditor.wire.response import Response

# Entries in a `Page`: a larger response is unpacked piece by piece.
PAGE_ENTRIES = 1000

# Requests the entries after the one with this name.
ListAfter = Callable[[str], Awaitable[Response | Failure]]
# Requests the listing without a page size.
ListWhole = Callable[[], Awaitable[Response | Failure]]


async def read_pages(
    first: Response | Failure,
    *,
    get: Callable[[str], Awaitable[Response | Failure]],
    parse: Callable[[Response], ParsedPage[Entry]],
    listing: str,
    list_after: ListAfter | None = None,
    list_whole: ListWhole | None = None,
    sizes: frozenset[int] = SUSPICIOUS_COUNTS,
) -> AsyncIterator[Page[Entry] | Failure]:
    """The pages of the listing that begins with `first`, then at most one `Failure`.

    Links are followed as they are. The listing fails if a page repeats, if it goes on
    beyond `MAX_PAGES`, or if it ends with fewer entries than the product counts. A page
    without a link and with one of `sizes` entries may be truncated: `list_after` is
    then asked for the rest, and if this does not help on the first page, `list_whole`
    for everything. `listing` names the listing in messages.
    """
    seen_urls: set[int] = set()
    seen_pages: set[int] = set()
    tally = _Tally()
    truncation = TruncationCheck(list_after, list_whole, parse, sizes)
    number = 0
    response = first
    del first  # a response may be large: it is freed once it is parsed
    while True:
        number += 1
        if isinstance(response, Failure):
            yield _listing_failure(response, number - 1)
            return
        try:
            page = parse(response)
        except ProtocolError as error:
            failure = Failure(kind=error.kind, detail=error.detail)
            yield _listing_failure(failure, number - 1)
            return
        seen_urls.add(hash(response.url))
        del response
        page, end = await truncation.larger(page)
        page = tally.add(page)
        next_url = page.next_url
        has_more = isinstance(next_url, str) or isinstance(end, Response)
        problem = next_url if isinstance(next_url, Failure) else None
        if end is PageEnd.TRUNCATED:
            problem = incomplete(
                f"{listing}: truncated by the registry, which does not return the rest"
            )
        elif not has_more and problem is None:
            problem = tally.missing(listing)
        for part in _parts(
            page,
            number,
            last=not has_more and problem is None,
            total=tally.total_entries(page, ended=next_url is None),
            end=end,
        ):
            yield part
        if problem is not None:
            yield problem
        if not has_more:
            return
        content = hash(tuple(page.items))
        if hash(next_url) in seen_urls or content in seen_pages or number >= MAX_PAGES:
            yield incomplete(f"{listing}: the pages repeat without an end")
            return
        seen_pages.add(content)
        if isinstance(end, Response):
            response = end
        elif isinstance(next_url, str):
            seen_urls.add(hash(next_url))
            response = await get(next_url)


class PageEnd(Enum):
    """What is known about the end of a page."""

    UNCHECKED = "unchecked"
    VERIFIED = "verified"  # the registry has no entries after it
    UNKNOWN = "unknown"  # the registry could not answer this
    TRUNCATED = "truncated"  # the listing goes on, but the registry omits the rest


class TruncationCheck:
    """Checks the ends of one listing's pages, with at most one request a page.

    `sizes` are the page sizes at which this registry may truncate. Without
    `list_after`, nothing is checked. `list_whole` requests a page without a size.
    """

    def __init__(
        self,
        list_after: ListAfter | None,
        list_whole: ListWhole | None,
        parse: Callable[[Response], ParsedPage[Any]],
        sizes: frozenset[int],
    ) -> None:
        self._list_after = list_after
        self._list_whole = list_whole
        self._parse = parse
        self._sizes = sizes
        self._has_links = False
        self._was_truncated = False

    async def check(self, page: ParsedPage[Any]) -> Response | PageEnd:
        """The response that continues a truncated page, or how the page ends."""
        if page.next_url is not None:
            self._has_links = True  # from now on a missing link means the end
        if (
            self._list_after is None
            or self._has_links
            or page.total is not None
            or len(page.items) not in self._sizes
        ):
            return PageEnd.UNCHECKED
        end = await self._end(_names(page), self._list_after)
        if isinstance(end, Response):
            self._was_truncated = True
        elif self._was_truncated and end is PageEnd.UNKNOWN:
            return PageEnd.TRUNCATED
        return end

    async def larger(
        self, page: ParsedPage[Entry]
    ) -> tuple[ParsedPage[Entry], Response | PageEnd]:
        """A page, or the same without a size if it has more; and how it ends."""
        end = await self.check(page)
        # Only of a first page: a later one is linked, or the rest of a truncated one.
        if end is not PageEnd.UNKNOWN or self._list_whole is None:
            return page, end
        whole = _larger_page(await self._list_whole(), self._parse, page)
        if whole is None:
            return page, end
        end = await self.check(whole)
        # Without a size, the registry may have a limit of its own.
        is_round = whole.next_url is None and len(whole.items) % 100 == 0
        if end is PageEnd.UNCHECKED and is_round:
            end = PageEnd.UNKNOWN
        return whole, end

    async def _end(self, names: list[str], list_after: ListAfter) -> Response | PageEnd:
        # In a listing without order, missing entries may belong anywhere.
        if any(one >= other for one, other in pairwise(names)):
            return PageEnd.UNKNOWN
        response = await list_after(names[-1])
        if isinstance(response, Failure) or not 200 <= response.status < 300:
            return PageEnd.UNKNOWN
        try:
            following = _names(self._parse(response))
        except ProtocolError:
            return PageEnd.UNKNOWN
        if not following:
            return PageEnd.VERIFIED
        return response if min(following) > names[-1] else PageEnd.UNKNOWN


def _larger_page(
    response: Response | Failure,
    parse: Callable[[Response], ParsedPage[Entry]],
    page: ParsedPage[Entry],
) -> ParsedPage[Entry] | None:
    """The page in a response, if it has all entries of another one and more."""
    if isinstance(response, Failure) or not 200 <= response.status < 300:
        return None
    try:
        larger = parse(response)
    except ProtocolError:
        return None
    has_more = len(larger.items) > len(page.items)
    return larger if has_more and set(_names(larger)) >= set(_names(page)) else None


def _names(page: ParsedPage[Any]) -> list[str]:
    """The names on a page; entries that are not names do not count."""
    return [name for name in page.items if isinstance(name, str)]


class _Tally:
    """Compares the entries received with the product's own count."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._seen: set[int] = set()
        self._seen_entries: set[int] = set()
        self._uncompared = 0
        self._entries = 0

    def add(self, page: ParsedPage[Entry]) -> ParsedPage[Entry]:
        """Count a page; return it without the entries that came before.

        Only where the product counts other items, of which an entry can have several on
        several pages: elsewhere a listing can be too long to remember.
        """
        if page.repeats or (page.total is not None and page.counted is not None):
            new = {hash(entry): entry for entry in page.entries}
            new = {key: new[key] for key in new if key not in self._seen_entries}
            self._seen_entries.update(new)
            page = replace(page, entries=tuple(new.values()))
        # Unreadable entries are in the product's count, too, if it counts entries.
        unreadable = page.unreadable if page.counted is None else 0
        self._entries += len(page.entries) + page.unreadable
        if page.total is not None:
            self._total = page.total  # the latest: the listing may change meanwhile
        if self._total is None:
            self._uncompared += len(page.items) + unreadable
        else:
            # An entry that comes twice, because pages shift, counts once.
            self._seen.update(map(hash, page.items))
            self._uncompared += unreadable
        return page

    def missing(self, listing: str) -> Failure | None:
        """The failure of a listing that ends before all entries are received."""
        received = len(self._seen) + self._uncompared
        if self._total is None or received >= self._total:
            return None
        return incomplete(
            f"{listing}: the registry counts {self._total} entries, but returned only"
            f" {received}"
        )

    def total_entries(self, page: ParsedPage[Entry], *, ended: bool) -> int | None:
        """The number of entries in the whole listing, if it is known.

        If the product counts other items than entries, the number is known at the end.
        """
        if page.total is None or page.counted is None:
            return page.total
        return self._entries if ended else None


def _parts(
    page: ParsedPage[Entry],
    number: int,
    *,
    last: bool,
    total: int | None,
    end: Response | PageEnd,
) -> Iterator[Page[Entry]]:
    """The entries of one response, in pages of at most `PAGE_ENTRIES`."""
    entries = iter(page.entries)
    for start in range(0, max(len(page.entries), 1), PAGE_ENTRIES):
        ends = start + PAGE_ENTRIES >= len(page.entries)
        yield Page(
            entries=tuple(islice(entries, PAGE_ENTRIES)),
            number=number,
            last=last and ends,
            unreadable=page.unreadable if ends else 0,
            total=total,
            end_verified=end is PageEnd.VERIFIED and last and ends,
            end_unknown=end is PageEnd.UNKNOWN and last and ends,
            has_untagged=page.has_untagged,
        )


def _listing_failure(failure: Failure, pages: int) -> Failure:
    if pages == 0:
        # After a failure of the token service, the listing was not requested.
        return failure if failure.stage is Stage.TOKEN else failure.at(Stage.LIST)
    return incomplete(f"failed after {pages} pages: {failure.detail}")
