"""Finds listings that a registry truncates without a link to the next page.

Some registries send their largest page without a `Link`. The distribution-spec
("Listing Tags") lets a client ask for the entries after a given one: if there are none,
the listing is complete; if there are new ones, it was truncated. A registry that
ignores the parameter starts again, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Generic

from auditor.errors import Failure, ProtocolError
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.listing.interface import Entry, ParsedPage
from auditor.wire.response import Response

# Requests the entries after the one with this name.
ListAfter = Callable[[str], Awaitable[Response | Failure]]


class PageEnd(Enum):
    """What is known about the end of a page."""

    UNCHECKED = "unchecked"
    VERIFIED = "verified"  # the registry has no entries after it
    UNKNOWN = "unknown"  # the registry could not answer this
    TRUNCATED = "truncated"  # the listing goes on, but the registry omits the rest


class TruncationCheck(Generic[Entry]):
    """Checks the ends of one listing's pages, with at most one request a page.

    `sizes` are the page sizes at which this registry may truncate. Without
    `list_after`, nothing is checked.
    """

    def __init__(
        self,
        *,
        list_after: ListAfter | None,
        parse: Callable[[Response], ParsedPage[Entry]],
        sizes: frozenset[int] = SUSPICIOUS_COUNTS,
    ) -> None:
        self._sizes = sizes
        self._list_after = list_after
        self._parse = parse
        self._has_links = False
        self._was_truncated = False

    async def check(self, page: ParsedPage[Entry]) -> Response | PageEnd:
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

    async def _end(
        self, names: Sequence[str], list_after: ListAfter
    ) -> Response | PageEnd:
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


def _names(page: ParsedPage[Entry]) -> Sequence[str]:
    """The names on a page; entries that are not names do not count."""
    return [name for name in page.items if isinstance(name, str)]
