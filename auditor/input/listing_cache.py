"""A listing that two selectors need is read once, if it is short.

The second reader waits until the first has read it to the end. A listing that is long,
fails or is not read to its end is not shared: the second reader lists again from the
beginning, because half of one listing and half of a later one have a gap between them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Generic, TypeVar

import anyio

from auditor.errors import Failure
from auditor.registry.listing.interface import Page

Entry = TypeVar("Entry")
Pages = AsyncIterator[Page[Entry] | Failure]

# Entries of one listing that is kept, and of all: some 100 bytes each, 400 if the
# product lists more than names. Most repositories have fewer; for those with more,
# listing again costs a few requests and no memory.
MAX_LISTING_ENTRIES = 5_000
MAX_ENTRIES = 10_000
# The size of an empty listing, in entries.
_EMPTY_SIZE = 5


class ListingCache(Generic[Entry]):
    """The listings of one kind that are being read, and the last complete ones."""

    def __init__(self) -> None:
        # The last reader of each listing, and complete listings, the latest last.
        self._reading: dict[Hashable, ListingTurn[Entry]] = {}
        self._complete: OrderedDict[Hashable, ListingTurn[Entry]] = OrderedDict()
        self._size = 0

    def turn(self, key: Hashable) -> ListingTurn[Entry]:
        """The next turn at a listing.

        Turns must be taken in the order in which their pages are read: then no reader
        waits for a listing that is read after its own.
        """
        if (complete := self._complete.get(key)) is not None:
            self._complete.move_to_end(key)
            return ListingTurn(key, complete)
        turn = self._reading[key] = ListingTurn(key, self._reading.get(key))
        return turn

    async def pages(
        self, turn: ListingTurn[Entry], read: Callable[[], Pages[Entry]]
    ) -> Pages[Entry]:
        """The pages of a listing; calls `read` if no earlier reader completed it."""
        before, turn.before = turn.before, None
        try:
            if before is not None:
                await before.ended.wait()
            if before is not None and before.pages is not None:
                turn.pages, turn.size = before.pages, before.size
                turn.end(is_complete=True)
                self._settle(turn)
                for page in before.pages:
                    yield page
                return
            async for page_or_failure in read():
                turn.add(page_or_failure)
                yield page_or_failure
            turn.end(is_complete=True)
        finally:
            turn.end(is_complete=False)
            self._settle(turn)

    def _settle(self, turn: ListingTurn[Entry]) -> None:
        """Keep a listing that has ended, if it is complete and has no later reader."""
        if self._reading.get(turn.key) is not turn:
            return
        del self._reading[turn.key]
        if turn.pages is None:
            return
        self._complete[turn.key] = turn
        self._size += turn.size
        while self._size > MAX_ENTRIES:
            _, oldest = self._complete.popitem(last=False)
            self._size -= oldest.size


class ListingTurn(Generic[Entry]):
    """The turn of one reader, which waits for the listing of the reader `before` it.

    `pages` are those it has read so far, `None` once they cannot be shared.
    """

    __slots__ = ("before", "ended", "key", "pages", "size")

    def __init__(self, key: Hashable, before: ListingTurn[Entry] | None) -> None:
        self.key = key
        self.before = before
        self.pages: list[Page[Entry]] | None = []
        self.size = _EMPTY_SIZE
        self.ended = anyio.Event()

    def add(self, page: Page[Entry] | Failure) -> None:
        """Add a page; a failure or too many entries end the listing."""
        if self.pages is not None and not isinstance(page, Failure):
            self.size += len(page.entries)
            self.pages.append(page)
        if isinstance(page, Failure) or self.size > MAX_LISTING_ENTRIES:
            self.end(is_complete=False)

    def end(self, *, is_complete: bool) -> None:
        """End the listing, unless it has ended."""
        if not self.ended.is_set():
            self.ended.set()
            if not is_complete:
                self.pages = None
