"""Expansion: the items of the input become references, each once, in their order.

`LookAhead` starts the listings; here their pages become references, duplicates are left
out, and the listings are counted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.input.entries import (
    ExpansionCounts,
    InputEntry,
    ReferenceEntry,
    RejectedEntry,
)
from auditor.input.input_items import InputItem, InputSelector, MalformedLine
from auditor.input.listings import CatalogEnd, CatalogListing, TagListing
from auditor.input.look_ahead import MAX_AHEAD, LookAhead, Steps
from auditor.input.seen_references import SeenReferences
from auditor.input.tag_filter import Selection
from auditor.model import InputPosition
from auditor.oci.reference import Reference
from auditor.registry.registries import Registries
from auditor.util.deadline import Deadline
from auditor.util.shard import Shard


async def expand(
    items: Iterable[InputItem],
    *,
    registries: Registries,
    group: TaskGroup,
    counts: ExpansionCounts,
    deadline: Deadline,
    selection: Selection,
    shard: Shard | None = None,
    on_position: Callable[[InputPosition], None] | None = None,
) -> AsyncIterator[InputEntry]:
    """The entries of the items, each reference once; `counts` is updated.

    With a `shard`, only those of its repositories. `on_position` is called with the
    position of each entry in the whole input. The listings run in `group`; cancelling
    it ends them. At the deadline, unfinished listings and the input end with a failure.
    """
    send, steps = anyio.create_memory_object_stream[Steps](MAX_AHEAD)
    look_ahead = LookAhead(
        registries=registries,
        group=group,
        send=send,
        deadline=deadline,
        selection=selection,
        shard=shard,
    )
    group.start_soon(look_ahead.run, items)
    with SeenReferences() as seen:

        def is_new(entry: InputEntry, position: InputPosition) -> bool:
            if isinstance(entry, ReferenceEntry) and not seen.add(str(entry.reference)):
                counts.duplicates += 1
                return False
            counts.entries += 1
            if on_position is not None:
                on_position(position)
            return True

        async with steps, _close_unread(steps):
            async for batch in steps:
                for position, step in batch:
                    if isinstance(step, InputSelector | MalformedLine):
                        entry = _entry_of(step)
                        if is_new(entry, position):
                            yield entry
                        continue
                    async for entry in _entries_of(step, counts):
                        if is_new(entry, position):
                            yield entry


async def _entries_of(
    step: TagListing | CatalogListing | CatalogEnd | RejectedEntry,
    counts: ExpansionCounts,
) -> AsyncIterator[InputEntry]:
    match step:
        case TagListing():
            counts.listings.begin(step.listing)
            async with step.pages:
                async for entry in step.entries():
                    yield entry
            counts.listings.end(step.listing, step.catalog)
        case CatalogListing():
            counts.listings.begin(step.listing)
        case CatalogEnd():
            for rejected in step.rejected():
                yield rejected
            counts.listings.end(step.catalog.listing)
        case RejectedEntry():
            counts.cut_off = True
            yield step


@asynccontextmanager
async def _close_unread(
    steps: MemoryObjectReceiveStream[Steps],
) -> AsyncIterator[None]:
    """Close the tag lists that were not read when the run stops."""
    try:
        yield
    finally:
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while True:
                for _, step in steps.receive_nowait():
                    if isinstance(step, TagListing):
                        step.pages.close()


def _entry_of(item: InputItem) -> InputEntry:
    if isinstance(item, MalformedLine):
        return RejectedEntry(
            text=item.text,
            place=item.place,
            failure=Failure(
                kind=FailureKind.INVALID_REFERENCE,
                stage=Stage.INPUT,
                detail=f"{item.place}: {item.detail}",
            ),
        )
    assert isinstance(item.selector, Reference)
    return ReferenceEntry(reference=item.selector)
