"""A list that two selectors need is read once, if it is short.

The next one waits until the first has read it whole. One that is long, breaks off or is
not read any more is nobody's but its reader's: who waited reads it on its own, from the
beginning, because half of one list and half of a later one have a gap between them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable
from typing import Generic, TypeVar

import anyio

from auditor.errors import Failure
from auditor.fast_dataclass import dataclass
from auditor.registry.listing.paging import Page

Entry = TypeVar("Entry")
Pages = AsyncIterator[Page[Entry] | Failure]

# Entries of one list that is kept, and of all: some 100 bytes each, 400 where a product
# tells more than names. Most repositories have fewer, and the memory of a run must not
# grow with those that have more: for them another list is some more requests.
MAX_ENTRIES = 5_000
MAX_IN_ALL = 10_000
# What a list takes that holds nothing, in entries.
_EMPTY = 5


class _List(Generic[Entry]):
    """What has been read of a list. `pages` null: not to be had from here."""

    __slots__ = ("ended", "pages", "size", "waited_for")

    def __init__(self) -> None:
        self.pages: list[Page[Entry]] | None = []
        self.size = _EMPTY
        self.ended = False
        self.waited_for: anyio.Event | None = None

    def add(self, page: Page[Entry] | Failure) -> None:
        if self.pages is None:
            return
        if isinstance(page, Failure):
            self.end(whole=False)
            return
        self.size += len(page.entries)
        self.pages.append(page)
        if self.size > MAX_ENTRIES:
            self.end(whole=False)

    def take(self, pages: list[Page[Entry]]) -> None:
        """Be the same as one that was read whole."""
        self.pages = pages
        self.size = _EMPTY + sum(len(page.entries) for page in pages)
        self.end(whole=True)

    def end(self, *, whole: bool) -> None:
        """Say whether it can be had, unless that was said before."""
        if self.ended:
            return
        self.ended = True
        if not whole:
            self.pages = None
        if self.waited_for is not None:
            self.waited_for.set()

    async def whole(self) -> list[Page[Entry]] | None:
        """All pages, once they are there; null where they cannot be had."""
        if not self.ended:
            if self.waited_for is None:
                self.waited_for = anyio.Event()
            await self.waited_for.wait()
        return self.pages


@dataclass(frozen=True, slots=True)
class ListTurn(Generic[Entry]):
    """Somebody's turn at a list: `mine` is for who comes next, null where `before`,
    which came last, has been read whole."""

    key: Hashable
    mine: _List[Entry] | None
    before: _List[Entry] | None


class OnceListed(Generic[Entry]):
    """The lists of one kind that are being read, and those that were read last."""

    def __init__(self) -> None:
        # By key: who was last to begin, and what was read whole, the latest last.
        self._reading: dict[Hashable, _List[Entry]] = {}
        self._whole: OrderedDict[Hashable, _List[Entry]] = OrderedDict()
        self._size = 0

    def turn(self, key: Hashable) -> ListTurn[Entry]:
        """The next turn at a list.

        Each waits for the one before it. To be taken in the order in which lists are
        read: nobody is read to the end then who waits for one that comes later.
        """
        if (whole := self._whole.get(key)) is not None:
            self._whole.move_to_end(key)
            return ListTurn(key, None, whole)
        before, mine = self._reading.get(key), _List[Entry]()
        self._reading[key] = mine
        return ListTurn(key, mine, before)

    async def pages(
        self, turn: ListTurn[Entry], read: Callable[[], Pages[Entry]]
    ) -> Pages[Entry]:
        """The pages of a list, which `read` reads where nobody has before."""
        mine, before = turn.mine, turn.before
        try:
            pages = None if before is None else await before.whole()
            if pages is not None:
                if mine is not None:
                    mine.take(pages)
                    self._settle(turn.key, mine)
                for page in pages:
                    yield page
                return
            assert mine is not None
            async for page_or_failure in read():
                mine.add(page_or_failure)
                yield page_or_failure
            mine.end(whole=True)
        finally:
            if mine is not None:
                mine.end(whole=False)
                self._settle(turn.key, mine)

    def _settle(self, key: Hashable, mine: _List[Entry]) -> None:
        """Keep a list that has ended, if it is whole and nobody else is at it."""
        if self._reading.get(key) is not mine:
            return
        del self._reading[key]
        if mine.pages is None:
            return
        self._whole[key] = mine
        self._size += mine.size
        while self._size > MAX_IN_ALL:
            _, oldest = self._whole.popitem(last=False)
            self._size -= oldest.size
