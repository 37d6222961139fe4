"""Selectors to references, page by page, in the order of the list.

Listings of the coming selectors run ahead, a bounded number at once, each holding at
most one unread page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from auditor.errors import Failure, FailureKind, Stage
from auditor.pipeline.deadline import Deadline, not_listed
from auditor.pipeline.feed import feed
from auditor.protocol.reference import Reference, TagPattern, is_digest, is_tag
from auditor.registry.lister import ListedTag, Page
from auditor.registry.registries import Registries
from auditor.sources.lists import Item, Listed, Malformed

# Selectors looked at ahead of the workers; as many listings run at once.
LOOKAHEAD = 8
# Sizes at which servers are known to cut a list without saying so.
SUSPICIOUS_COUNTS = frozenset({100, 1000})
# After the deadline, an input that says nothing for so long is not waited for: a file
# is read in milliseconds, and who writes to a pipe may have forgotten us.
SILENCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A reference to audit. `listed`: the registry named its tag.

    `digest` is what the listing said that the tag names, if it did.
    """

    reference: Reference
    listed: bool = False
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something in the input that stands for no reference, and why."""

    text: str
    place: str
    failure: Failure
    pattern: TagPattern | None = None


Entry = Asked | Refused

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


@dataclass(slots=True, kw_only=True)
class Listing:
    """What is known of one listing, for the summary.

    `entries` counts everything that the pages held, `tags` what can be a tag.
    """

    selector: str
    pages: int = 0
    entries: int = 0
    tags: int = 0
    matched: int = 0
    invalid: int = 0
    complete: bool = False
    suspicious: bool = False
    failure: str | None = None


@dataclass(slots=True)
class Expansion:
    """Counts of an expansion while it goes on."""

    asked: int = 0
    duplicates: int = 0
    cut: bool = False  # the input was not read to its end
    listings: list[Listing] = field(default_factory=list)


_Page = Page[ListedTag] | Failure
_Tags = MemoryObjectReceiveStream[_Page]


_Ahead = tuple[Item | Refused, _Tags | None]


async def expand(
    items: Iterable[Item],
    *,
    registries: Registries,
    group: TaskGroup,
    seen: Expansion,
    deadline: Deadline,
) -> AsyncIterator[Entry]:
    """The entries that the items stand for, each reference once.

    The listings run in `group`; end it to end them. A list that is not read to its
    end at the deadline ends with a failure; so does the input.
    """
    send, ahead = anyio.create_memory_object_stream[_Ahead](LOOKAHEAD)
    group.start_soon(_look_ahead, items, registries, group, send, deadline)
    known: set[str] = set()
    async with ahead:
        async for item, tags in ahead:
            if tags is None:
                seen.cut = item is _UNREAD
                entry = _plain(item)
                if _is_new(entry, known, seen):
                    yield entry
                continue
            assert isinstance(item, Listed)
            assert isinstance(item.selector, TagPattern)
            listing = Listing(selector=str(item.selector))
            seen.listings.append(listing)
            async with tags:
                async for entry in _listed(item, item.selector, tags, listing):
                    if _is_new(entry, known, seen):
                        yield entry


def _is_new(entry: Entry, known: set[str], seen: Expansion) -> bool:
    if isinstance(entry, Asked):
        name = str(entry.reference)
        if name in known:
            seen.duplicates += 1
            return False
        known.add(name)
    seen.asked += 1
    return True


async def _look_ahead(
    items: Iterable[Item],
    registries: Registries,
    group: TaskGroup,
    send: MemoryObjectSendStream[_Ahead],
    deadline: Deadline,
) -> None:
    batches = feed(items)
    async with send:
        while True:
            with deadline.scope(SILENCE_S) as waiting:
                batch = await anext(batches, None)
            if waiting.cancelled_caught:
                await send.send((_UNREAD, None))
                return
            if batch is None:
                return
            for item in batch:
                tags = None
                if isinstance(item, Listed) and isinstance(item.selector, TagPattern):
                    give, tags = anyio.create_memory_object_stream[_Page](1)
                    group.start_soon(_list, item.selector, registries, give, deadline)
                await send.send((item, tags))


async def _list(
    pattern: TagPattern,
    registries: Registries,
    give: MemoryObjectSendStream[_Page],
    deadline: Deadline,
) -> None:
    async with give:
        registry = await registries.get(pattern.registry)
        pages = registry.list_tags(pattern.repository)
        while True:
            with deadline.scope() as waiting:
                page = await anext(pages, None)
            if waiting.cancelled_caught:
                await give.send(not_listed(pattern.repository))
                return
            if page is None:
                return
            await give.send(page)


def _plain(item: Item | Refused) -> Entry:
    if isinstance(item, Refused):
        return item
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
    assert isinstance(item.selector, Reference)
    return Asked(reference=item.selector)


async def _listed(
    item: Listed, pattern: TagPattern, tags: _Tags, listing: Listing
) -> AsyncIterator[Entry]:
    def refused(failure: Failure) -> Refused:
        listing.failure = failure.kind
        return Refused(
            text=str(pattern), place=item.place, failure=failure, pattern=pattern
        )

    failed = False
    async for page in tags:
        if isinstance(page, Failure):
            failed = True
            yield refused(page)
            continue
        listing.pages = page.number
        listing.complete = page.last
        listing.entries += len(page.entries) + page.unreadable
        listing.invalid += page.unreadable
        for found in page.entries:
            tag = found.name
            if is_digest(tag):
                continue  # some products list digests among the tags
            listing.tags += 1
            if not is_tag(tag):
                listing.invalid += 1
            elif pattern.matches(tag):
                listing.matched += 1
                reference = Reference(
                    registry=pattern.registry,
                    repository=pattern.repository,
                    tag=tag,
                    digest=None,
                )
                yield Asked(reference=reference, listed=True, digest=found.digest)
    listing.suspicious = listing.pages == 1 and listing.entries in SUSPICIOUS_COUNTS
    if listing.invalid:
        yield refused(
            Failure(
                kind=FailureKind.INCOMPLETE_LISTING,
                stage=Stage.LIST,
                detail=f"the list of {pattern.repository} holds {listing.invalid}"
                " names that are no tags",
            )
        )
    elif (
        not failed and not listing.matched and (listing.tags or pattern.pattern != "*")
    ):
        yield refused(
            Failure(
                kind=FailureKind.NOT_FOUND,
                stage=Stage.LIST,
                detail=f"none of the {listing.tags} tags of {pattern.repository}"
                f" matches {pattern.pattern}",
            )
        )
