"""Selectors to references, page by page, in the order of the list.

Listings of the coming selectors run ahead (`look_ahead`); here their pages become
references, and what they held is counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.input.listings import end_of_catalog
from auditor.input.seen_references import Known
from auditor.input.steps import CatalogBegins, CatalogEnds, Steps, TagsOf, Turn
from auditor.oci.reference import Reference
from auditor.pipeline.expansion.entries import Asked, Entry, Expansion, Refused
from auditor.pipeline.expansion.look_ahead import LOOKAHEAD, LookAhead
from auditor.pipeline.expansion.selection import Selection
from auditor.pipeline.expansion.tag_list import TagList
from auditor.registry.registries import Registries
from auditor.sources.lists import Item, Listed, Malformed
from auditor.util.deadline import Deadline
from auditor.util.shard import Shard


async def expand(
    items: Iterable[Item],
    *,
    registries: Registries,
    group: TaskGroup,
    seen: Expansion,
    deadline: Deadline,
    selection: Selection,
    shard: Shard | None = None,
    placed: Callable[[Turn], None] | None = None,
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
    known = Known()

    def is_new(entry: Entry, turn: Turn) -> bool:
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


def _is_new(entry: Entry, known: Known, seen: Expansion) -> bool:
    if isinstance(entry, Asked) and not known.add(str(entry.reference)):
        seen.duplicates += 1
        return False
    seen.asked += 1
    return True


@asynccontextmanager
async def _none_left_open(
    ahead: MemoryObjectReceiveStream[Steps], known: Known
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
