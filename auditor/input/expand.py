"""Selectors to references, page by page, in the order of the list.

Listings of the coming selectors run ahead (`look_ahead`); here their pages become
references, and what they held is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import field
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.fast_dataclass import dataclass
from auditor.input.listing_cache import ListTurn, OnceListed
from auditor.input.listings import Catalog, TagList, end_of_catalog
from auditor.input.lists import Item, Listed, Malformed
from auditor.input.seen_references import SeenReferences
from auditor.input.steps import (
    Asked,
    CatalogBegins,
    CatalogEnds,
    Entry,
    Expansion,
    Refused,
    Steps,
    TagPage,
    TagsOf,
)
from auditor.input.tag_filter import Selection
from auditor.model import InputPosition
from auditor.oci.reference import Reference, RepositoryPattern, TagPattern
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.registries import Registries
from auditor.report.listing_stats import Listing
from auditor.util.deadline import Deadline, listing_not_finished
from auditor.util.shard import Shard

# -- feed --
# Items from an iterable that may block, such as a list on standard input.
#
# The iterable is read in a thread of its own, so that a slow producer holds up nothing
# that is under way. The thread is a daemon: a read that never returns does not keep the
# program from ending.

FeedItem = TypeVar("FeedItem")
# What a listing holds: tags or names of repositories.
ListEntry = TypeVar("ListEntry")

# Items that may wait for the consumer: some 100 KB, and few enough switches.
BUFFER = 1024


class _Feed(Generic[FeedItem]):
    def __init__(self, items: Iterable[FeedItem]) -> None:
        self._items = items
        self._ready: list[FeedItem] = []
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._wakeup = asyncio.Event()
        self._ended = False
        self._abandoned = False
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    while len(self._ready) >= BUFFER and not self._abandoned:
                        self._changed.wait()
                    if self._abandoned:
                        return
                    was_empty = not self._ready
                    self._ready.append(item)
                if was_empty:
                    self._wake()
        except BaseException as error:  # noqa: BLE001  (raised again where it is awaited)
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits: the loop is closed
            self._loop.call_soon_threadsafe(self._wakeup.set)

    async def batches(self) -> AsyncIterator[list[FeedItem]]:
        try:
            while True:
                ended = self._ended  # before looking: what came last is seen
                with self._changed:
                    batch, self._ready = self._ready, []
                    self._changed.notify()
                if batch:
                    yield batch
                elif ended:
                    break
                else:
                    await self._wakeup.wait()
                    self._wakeup.clear()
            if self._error is not None:
                raise self._error
        finally:
            with self._changed:
                self._abandoned = True
                self._changed.notify()


async def feed(items: Iterable[FeedItem]) -> AsyncIterator[list[FeedItem]]:
    """The items, in batches of what is there; exceptions of the iterable come out."""
    source = _Feed(items)
    threading.Thread(target=source.run, name="auditor-list", daemon=True).start()
    async for batch in source.batches():
        yield batch


# -- look_ahead --
# Listings that run ahead of the workers, in the order of the list.
#
# A bounded number goes on at once, and each holds at most one unread page: a registry
# of any size takes the same memory.

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
        self,
        pattern: TagPattern,
        place: str,
        among: Listing | None,
        turn: InputPosition,
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
        self, pages: AsyncIterator[Page[ListEntry] | Failure], called: str
    ) -> AsyncIterator[Page[ListEntry] | Failure]:
        """The pages that come before the deadline, and then, if it came, a failure."""
        while True:
            with self.deadline.scope() as waiting:
                page = await anext(pages, None)
            if waiting.cancelled_caught:
                yield listing_not_finished(called)
                return
            if page is None:
                return
            yield page


async def expand(
    items: Iterable[Item],
    *,
    registries: Registries,
    group: TaskGroup,
    seen: Expansion,
    deadline: Deadline,
    selection: Selection,
    shard: Shard | None = None,
    placed: Callable[[InputPosition], None] | None = None,
) -> AsyncIterator[Entry]:
    """The entries that the items stand for, each reference once.

    With a `shard`, those of its repositories. `placed` is told of each entry where it
    stands in the whole input. The listings run in `group`; end it to end them. A list
    that is not read to its end at the deadline ends with a failure; so does the input.
    """
    send, ahead = anyio.create_memory_object_stream[Steps](LOOKAHEAD)
    look = LookAhead(
        registries=registries,
        group=group,
        send=send,
        deadline=deadline,
        selection=selection,
        shard=shard,
    )
    group.start_soon(look.run, items)
    known = SeenReferences()

    def is_new(entry: Entry, turn: InputPosition) -> bool:
        new = _is_new(entry, known, seen)
        if new and placed is not None:
            placed(turn)
        return new

    async with ahead, _none_left_open(ahead, known):
        async for steps in ahead:
            for turn, step in steps:
                if isinstance(step, Listed | Malformed):
                    plain = _plain(step)
                    if is_new(plain, turn):
                        yield plain
                    continue
                async for entry in _entries(step, seen, selection):
                    if is_new(entry, turn):
                        yield entry


async def _entries(
    step: TagsOf | CatalogBegins | CatalogEnds | Refused,
    seen: Expansion,
    selection: Selection,
) -> AsyncIterator[Entry]:
    match step:
        case TagsOf():
            tags = TagList(step, selection)
            seen.listings.begin(tags.listing)
            async with step.pages:
                async for entry in tags.entries():
                    yield entry
            seen.listings.end(tags.listing, step.among)
        case CatalogBegins():
            seen.listings.begin(step.listing)
        case CatalogEnds():
            for failure in end_of_catalog(step):
                step.listing.failure = failure.kind
                yield Refused(
                    text=str(step.pattern),
                    place=step.place,
                    failure=failure,
                    pattern=step.pattern,
                )
            seen.listings.end(step.listing)
        case Refused():
            seen.cut = True
            yield step


def _is_new(entry: Entry, known: SeenReferences, seen: Expansion) -> bool:
    if isinstance(entry, Asked) and not known.add(str(entry.reference)):
        seen.duplicates += 1
        return False
    seen.asked += 1
    return True


@asynccontextmanager
async def _none_left_open(
    ahead: MemoryObjectReceiveStream[Steps], known: SeenReferences
) -> AsyncIterator[None]:
    """Close the lists that nobody came to read, when the run is stopped."""
    try:
        with known:
            yield
    finally:
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while True:
                for _, step in ahead.receive_nowait():
                    if isinstance(step, TagsOf):
                        step.pages.close()


def _plain(item: Item) -> Entry:
    if isinstance(item, Malformed):
        return Refused(
            text=item.text,
            place=item.place,
            failure=Failure(
                kind=FailureKind.INVALID_REFERENCE,
                stage=Stage.INPUT,
                detail=f"{item.place}: {item.detail}",
            ),
        )
    assert isinstance(item, Listed)
    assert isinstance(item.selector, Reference)
    return Asked(reference=item.selector)
