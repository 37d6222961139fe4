"""Finds listings that a registry truncates without a link to the next page.

Some registries send their largest page without a `Link`. The distribution-spec
("Listing Tags") lets a client ask for the entries after a given one: if there are none,
the listing is complete; if there are new ones, it was truncated. A registry that
ignores the parameter starts again, which proves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Generic

from auditor.errors import Failure, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS
from auditor.registry.listing.interface import Entry, ParsedPage
from auditor.wire.response import Response

# Requests the entries after the one with this name.
ListAfter = Callable[[str], Awaitable[Response | Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEnd:
    """What is known about the end of a page without a link.

    `rest` is the response that continues the listing. `verified`: there is nothing
    more. `unknown`: that could not be found out. `truncated`: the listing goes on, and
    the registry does not return the rest.
    """

    rest: Response | None = None
    verified: bool = False
    unknown: bool = False
    truncated: bool = False


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

    async def check(self, page: ParsedPage[Entry]) -> PageEnd:
        """How the listing ends, or goes on, after this page."""
        if page.next_url is not None:
            self._has_links = True  # from now on a missing link means the end
        if (
            self._list_after is None
            or self._has_links
            or page.total is not None
            or len(page.items) not in self._sizes
        ):
            return PageEnd()
        end = await self._end(_names(page), self._list_after)
        if end.rest is not None:
            self._was_truncated = True
        elif self._was_truncated and end.unknown:
            return PageEnd(truncated=True)
        return end

    async def _end(self, names: Sequence[str], list_after: ListAfter) -> PageEnd:
        # In a listing without order, missing entries may belong anywhere.
        if any(one >= other for one, other in pairwise(names)):
            return PageEnd(unknown=True)
        response = await list_after(names[-1])
        if isinstance(response, Failure) or not 200 <= response.status < 300:
            return PageEnd(unknown=True)
        try:
            following = _names(self._parse(response))
        except ProtocolError:
            return PageEnd(unknown=True)
        if not following:
            return PageEnd(verified=True)
        if min(following) > names[-1]:
            return PageEnd(rest=response)
        return PageEnd(unknown=True)


def _names(page: ParsedPage[Entry]) -> Sequence[str]:
    """The names on a page; entries that are not names do not count."""
    return [name for name in page.items if isinstance(name, str)]
