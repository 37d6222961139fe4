"""From answer to answer of a list, to its end or to what is wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeVar

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.protocol.listed import SUSPICIOUS_COUNTS, Reading
from auditor.registry.lists.cut_lists import After, End, Ends, counted_of
from auditor.registry.lists.lister import Page
from auditor.wire.response import Answer

# A list that is longer than this many pages is a loop that changes its links.
MAX_PAGES = 100_000
# Entries handed on at once: of a list that comes whole, no more is unpacked.
PAGE_ENTRIES = 1000

Entry = TypeVar("Entry")


async def pages(
    first: Answer | Failure,
    *,
    get: Callable[[str], Awaitable[Answer | Failure]],
    read: Callable[[Answer], Reading[Entry]],
    called: str,
    after: After | None = None,
    sizes: frozenset[int] = SUSPICIOUS_COUNTS,
) -> AsyncIterator[Page[Entry] | Failure]:
    """The pages of the list that `first` begins, then nothing or one `Failure`.

    What follows is followed as it is; a page that was seen before or holds nothing
    new ends the list as a failure, and so does an end before everything that the
    product counts has come. In a list without links, an end that looks as if it had
    been cut there is held against what `after` says comes next: it has one of `sizes`.
    Failures call the list `called`.
    """
    seen_urls: set[int] = set()
    seen_pages: set[int] = set()
    tally = _Tally()
    ends = Ends(after=after, read=read, sizes=sizes)
    number = 0
    answer = first
    del first  # the text of a whole list may be large: see below
    while True:
        number += 1
        if isinstance(answer, Failure):
            yield _list_failure(answer, number - 1)
            return
        try:
            found = read(answer)
        except ProtocolError as error:
            failure = Failure(kind=error.kind, detail=error.detail)
            yield _list_failure(failure, number - 1)
            return
        seen_urls.add(hash(answer.url))
        del answer
        tally.add(found)
        following = found.following
        end = await ends.of(found)
        goes_on = following is not None or end.rest is not None
        cut = None if goes_on else _cut(tally, end, called)
        for part in _parts(
            found,
            number,
            last=not goes_on and cut is None,
            total=tally.total_of_entries(found, ended=following is None),
            end=end,
        ):
            yield part
        if isinstance(following, Failure):
            yield following
            return
        if not goes_on:
            if cut is not None:
                yield cut
            return
        page = hash(tuple(counted_of(found)))
        if hash(following) in seen_urls or page in seen_pages or number >= MAX_PAGES:
            yield incomplete(f"{called} goes round in circles")
            return
        seen_pages.add(page)
        if following is not None:
            seen_urls.add(hash(following))
            answer = await get(following)
        elif end.rest is not None:
            answer = end.rest


def _cut(tally: _Tally, end: End, called: str) -> Failure | None:
    """Why a list is not whole though it ends."""
    if end.lost:
        return incomplete(f"{called} is cut, and its rest cannot be asked for")
    return tally.cut(called)


class _Tally:
    """What has come, held against what the product says there is."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._came: set[int] = set()
        self._unnamed = 0
        self._entries = 0

    def add(self, found: Reading[Entry]) -> None:
        counted = counted_of(found)
        # What came and could not be read is there, too, if it is entries that count.
        unreadable = found.unreadable if found.counted is None else 0
        self._entries += len(found.entries) + found.unreadable
        if found.total is not None:
            # The latest counts: things come and go while a list is read.
            self._total = found.total
        if self._total is None:
            # Most lists count nothing; theirs are not held.
            self._unnamed += len(counted) + unreadable
        else:
            # Of what is told twice, as pages shift, one counts.
            self._came.update(map(hash, counted))
            self._unnamed += unreadable

    def cut(self, called: str) -> Failure | None:
        """The failure of a list that ends before all of it has come."""
        came = len(self._came) + self._unnamed
        if self._total is None or came >= self._total:
            return None
        return incomplete(
            f"{called} has {self._total} entries by the product's own account, and"
            f" {came} came"
        )

    def total_of_entries(self, found: Reading[Entry], *, ended: bool) -> int | None:
        """How many entries there are by the product's account, where it counts them,
        or counts what they come from and all of that has come."""
        if found.total is None or found.counted is None:
            return found.total
        return self._entries if ended else None


def _parts(
    found: Reading[Entry],
    number: int,
    *,
    last: bool,
    total: int | None,
    end: End,
) -> Iterator[Page[Entry]]:
    """The entries of one answer as pages of at most `PAGE_ENTRIES`."""
    entries = found.entries
    for start in range(0, max(len(entries), 1), PAGE_ENTRIES):
        ends = start + PAGE_ENTRIES >= len(entries)
        yield Page(
            entries=tuple(entries[start : start + PAGE_ENTRIES]),
            number=number,
            last=last and ends,
            unreadable=found.unreadable if ends else 0,
            total=total,
            checked=end.checked and last and ends,
            in_doubt=end.in_doubt and last and ends,
        )


def _list_failure(failure: Failure, pages: int) -> Failure:
    if pages == 0:
        # What the token service refused, the list was never asked for.
        return failure if failure.stage is Stage.TOKEN else failure.at(Stage.LIST)
    return incomplete(f"after {pages} good pages: {failure.detail}")


def incomplete(detail: str) -> Failure:
    """The failure of a list that could not be read to its end."""
    return Failure(kind=FailureKind.INCOMPLETE_LISTING, detail=detail, stage=Stage.LIST)
