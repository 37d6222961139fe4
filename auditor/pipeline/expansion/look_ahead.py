"""Listings that run ahead of the workers, in the order of the list.

A bounded number goes on at once, and each holds at most one unread page: a registry
of any size takes the same memory.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterable
from dataclasses import field

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.input.listing_cache import ListTurn, OnceListed
from auditor.input.listings import Catalog
from auditor.input.steps import CatalogBegins, CatalogEnds, Steps, TagPage, TagsOf, Turn
from auditor.oci.reference import Reference, TagPattern
from auditor.oci.reference_grammar import RepositoryPattern
from auditor.pipeline.expansion.entries import Refused
from auditor.pipeline.expansion.feed import feed
from auditor.pipeline.expansion.selection import Selection
from auditor.registry.listing.paging import Entry, ListedTag, Page
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listing
from auditor.sources.lists import Item, Listed
from auditor.util.deadline import Deadline, not_listed
from auditor.util.shard import Shard

# Selectors looked at ahead of the workers; as many listings run at once, which is
# what one registry is sent at once by default.
LOOKAHEAD = 8
# References that need no listing are handed on together: a switch of tasks for each
# would cost more than everything else that is done for it here.
TOGETHER = 64


# After the deadline, an input that says nothing for so long is not waited for: a file
# is read in milliseconds, and who writes to a pipe may have forgotten us.
SILENCE_S = 2.0

_UNREAD = Refused(
    text="(the rest of the input)",
    place="",
    failure=Failure(
        kind=FailureKind.INTERRUPTED,
        stage=Stage.INPUT,
        detail="the input had not come to its end when the deadline of the run came",
        attempts=0,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAhead:
    """Takes items and sends the steps that they lead to, each when there is room.

    With a shard, what belongs to others is passed over; every catalog is read. At the
    deadline a list that is not at its end ends with a failure, and the input with a
    refusal.
    """

    registries: Registries
    group: TaskGroup
    send: MemoryObjectSendStream[Steps]
    deadline: Deadline
    selection: Selection
    shard: Shard | None = None
    tag_lists: OnceListed[ListedTag] = field(default_factory=OnceListed)
    catalogs: OnceListed[str] = field(default_factory=OnceListed)

    async def run(self, items: Iterable[Item]) -> None:
        """Send every step, then close the stream."""
        batches = feed(items)
        number = 0
        async with self.send:
            while True:
                with self.deadline.scope(SILENCE_S) as waiting:
                    batch = await anext(batches, None)
                if waiting.cancelled_caught:
                    await self.send.send([((number + 1, 0), _UNREAD)])
                    return
                if batch is None:
                    return
                number = await self._steps(batch, number)

    async def _steps(self, batch: Iterable[Item], number: int) -> int:
        """Send what the items lead to; the number of the last one."""
        plain: Steps = []
        for item in batch:
            number += 1
            selector = item.selector if isinstance(item, Listed) else None
            if isinstance(selector, RepositoryPattern):
                plain = await self._sent(plain)
                await self._catalog(selector, item.place, number)
            elif not self._takes(selector):
                continue
            elif isinstance(selector, TagPattern):
                plain = await self._sent(plain)
                await self._tags(selector, item.place, None, (number, 0))
            else:
                plain.append(((number, 0), item))
                if len(plain) == TOGETHER:
                    plain = await self._sent(plain)
        await self._sent(plain)
        return number

    async def _sent(self, steps: Steps) -> Steps:
        if steps:
            await self.send.send(steps)
        return []

    def _takes(self, selector: Reference | TagPattern | None) -> bool:
        if self.shard is None:
            return True
        if selector is None:  # a malformed line, which is nobody's repository
            return self.shard.takes("", "")
        return self.shard.takes(selector.registry, selector.repository)

    async def _tags(
        self, pattern: TagPattern, place: str, among: Listing | None, turn: Turn
    ) -> None:
        give, pages = anyio.create_memory_object_stream[TagPage](1)
        mine = self.tag_lists.turn((pattern.registry, pattern.repository))
        self.group.start_soon(self._list, pattern, mine, give)
        tags = TagsOf(pattern=pattern, place=place, pages=pages, among=among)
        try:
            await self.send.send([(turn, tags)])
        except BaseException:
            pages.close()  # nobody will read it
            raise

    async def _list(
        self,
        pattern: TagPattern,
        mine: ListTurn[ListedTag],
        give: MemoryObjectSendStream[TagPage],
    ) -> None:
        async with give:
            registry = await self.registries.get(pattern.registry)
            pages = self.tag_lists.pages(
                mine, functools.partial(registry.list_tags, pattern.repository)
            )
            async for page in self._in_time(pages, f"the list of {pattern.repository}"):
                await give.send(page)

    async def _catalog(self, pattern: RepositoryPattern, place: str, item: int) -> None:
        catalog = Catalog(pattern, self.selection)
        number = 0
        begins = CatalogBegins(listing=catalog.listing)
        await self.send.send([((item, number), begins)])
        registry = await self.registries.get(pattern.registry)
        pages = self.catalogs.pages(
            self.catalogs.turn((pattern.registry, pattern.below)),
            functools.partial(registry.list_repositories, pattern.below),
        )
        failure: Failure | None = None
        async for page in self._in_time(pages, f"the catalog of {pattern.registry}"):
            if isinstance(page, Failure):
                failure = page
                continue
            for repository in catalog.chosen(page):
                tags = TagPattern(
                    registry=pattern.registry,
                    repository=repository,
                    pattern=pattern.pattern,
                )
                number += 1
                if self._takes(tags):
                    await self._tags(tags, place, catalog.listing, (item, number))
        shard = self.shard
        ends = CatalogEnds(
            pattern=pattern,
            place=place,
            listing=catalog.listing,
            failure=failure,
            shared=shard is not None and shard.of > 1,
            told_here=shard is None or shard.takes(pattern.registry, ""),
        )
        await self.send.send([((item, number + 1), ends)])

    async def _in_time(
        self, pages: AsyncIterator[Page[Entry] | Failure], called: str
    ) -> AsyncIterator[Page[Entry] | Failure]:
        """The pages that come before the deadline, and then, if it came, a failure."""
        while True:
            with self.deadline.scope() as waiting:
                page = await anext(pages, None)
            if waiting.cancelled_caught:
                yield not_listed(called)
                return
            if page is None:
                return
            yield page
