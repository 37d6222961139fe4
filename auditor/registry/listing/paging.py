"""From answer to answer of a list, to its end or to what is wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import KW_ONLY, replace
from datetime import datetime
from itertools import pairwise
from typing import Generic, Protocol, TypeVar, overload

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS
from auditor.wire.response import Response

# -- listed --
# What lists say: tags, and what one answer of a list holds.

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag, and what the listing says of it; most listings only name it.

    `digest` and `media_type` are those of the manifest that the tag names. `size` is
    compressed bytes, `created` when the image was made and `pushed` when the tag was
    last put there, both with their time zone.
    """

    name: str
    _: KW_ONLY
    digest: str | None = None
    media_type: str | None = None
    size: int | None = None
    created: datetime | None = None
    pushed: datetime | None = None


class LazyTags(Sequence[ListedTag]):
    """Tags of which only the names are known, made when they are looked at.

    A list that comes whole may have a million, which are looked at page by page.
    """

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ListedTag: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ListedTag]: ...

    def __getitem__(self, index: int | slice) -> ListedTag | Sequence[ListedTag]:
        if isinstance(index, slice):
            return [ListedTag(name) for name in self._names[index]]
        return ListedTag(self._names[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPage(Generic[Entry]):
    """What one answer of a list holds.

    `following` is the URL of the next one, null on the last, or why it is not known.
    `unreadable` counts what was neither an entry nor null. `total` is how many things
    the product says the whole list has: entries, or what `counted` names of this
    answer, as an artifact may have several tags, or none.
    """

    entries: Sequence[Entry]
    following: str | Failure | None
    unreadable: int = 0
    total: int | None = None
    counted: Sequence[str] | None = None


# -- cut_lists --
# Lists that a server may have cut without saying so.
#
# Some send their largest page and no `Link`. The distribution-spec ("Listing Tags") lets
# a client name the last entry that it has seen and ask for what comes after: where
# nothing comes, the list is whole; where something new does, it was cut there. A server
# that does not know the parameter begins again, and it stays unknown.

# Gives the answer that lists what comes after an entry.
After = Callable[[str], Awaitable[Response | Failure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What is known of the end of an answer that names no next page.

    `rest` goes on with the list, which was cut there; `checked`: nothing comes after
    it; `in_doubt`: that could not be found out. `lost`: the list is known to be cut,
    and how this part goes on is not told.
    """

    rest: Response | None = None
    checked: bool = False
    lost: bool = False
    in_doubt: bool = False


class Ends(Generic[Entry]):
    """Judges the ends of one list's answers; without `after`, it knows nothing.

    `sizes` are those at which the server may have cut it.
    """

    def __init__(
        self,
        *,
        after: After | None,
        read: Callable[[Response], ParsedPage[Entry]],
        sizes: frozenset[int] = SUSPICIOUS_COUNTS,
    ) -> None:
        self._sizes = sizes
        self._after = after
        self._read = read
        self._has_links = False
        self._was_cut = False

    async def of(self, found: ParsedPage[Entry]) -> End:
        """Whether the list ends with this answer, of which each is asked about once."""
        if found.following is not None:
            self._has_links = True  # so a missing one has a meaning
        if self._after is None or self._has_links or not self._may_be_cut(found):
            return End()
        end = await self._asked(names_of(found), self._after)
        if end.rest is not None:
            self._was_cut = True
        elif self._was_cut and not end.checked:
            return End(lost=True)
        return replace(end, in_doubt=end.rest is None and not end.checked)

    def _may_be_cut(self, found: ParsedPage[Entry]) -> bool:
        """Whether an answer has a size at which servers cut, and no count to prove
        it."""
        return found.total is None and len(counted_of(found)) in self._sizes

    async def _asked(self, names: Sequence[str], after: After) -> End:
        # In a list without order, what is missing may be anywhere.
        if any(one >= other for one, other in pairwise(names)):
            return End()
        answer = await after(names[-1])
        if isinstance(answer, Failure) or not 200 <= answer.status < 300:
            return End()
        try:
            more = names_of(self._read(answer))
        except ProtocolError:
            return End()
        if not more:
            return End(checked=True)
        return End(rest=answer if min(more) > names[-1] else None)


def names_of(found: ParsedPage[Entry]) -> Sequence[str]:
    """The entries of an answer that are names, or what it says of their names."""
    return [name for name in counted_of(found) if isinstance(name, str)]


def counted_of(found: ParsedPage[Entry]) -> Sequence[object]:
    """What the product counts of an answer."""
    return found.entries if found.counted is None else found.counted


# -- lister --
# Who lists what a registry holds: the registry API, or a product's own.

__all__ = ["Entry", "ListedTag", "Lister", "Page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Entry]):
    """Some of the entries of a list, in its order.

    `number` counts from 1 the answers that were read, of which a large one is handed
    on in several `Page`s. `last`: the list ends here. `unreadable` counts what was
    neither an entry nor null, `total` is how many entries the product says the whole
    list has. `checked`: it ends here, and the registry was asked what comes after
    the last entry, which is nothing; `in_doubt`: it ends here with as many entries as
    a page has, and the registry could not say what comes after them.
    """

    entries: tuple[Entry, ...]
    number: int
    last: bool
    unreadable: int = 0
    total: int | None = None
    checked: bool = False
    in_doubt: bool = False


class Lister(Protocol):
    """Lists of one registry, a page at a time.

    Names come as the registry gives them: whoever asks checks them. A list that
    cannot be read, or only in part, ends with one `Failure` after what was read.
    """

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags, then nothing or one `Failure`."""

    def repositories(self, below: str | None) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the registry's repositories, then nothing or one `Failure`.

        Only those below the path `below` (`team` or `team/sub`, whole components) are
        wanted, null: all. One that cannot ask for so few may give the others too.
        """


# A list that is longer than this many pages is a loop that changes its links.
MAX_PAGES = 100_000
# Entries handed on at once: of a list that comes whole, no more is unpacked.
PAGE_ENTRIES = 1000


async def pages(
    first: Response | Failure,
    *,
    get: Callable[[str], Awaitable[Response | Failure]],
    read: Callable[[Response], ParsedPage[Entry]],
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

    def add(self, found: ParsedPage[Entry]) -> None:
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

    def total_of_entries(self, found: ParsedPage[Entry], *, ended: bool) -> int | None:
        """How many entries there are by the product's account, where it counts them,
        or counts what they come from and all of that has come."""
        if found.total is None or found.counted is None:
            return found.total
        return self._entries if ended else None


def _parts(
    found: ParsedPage[Entry],
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
