"""What is known of a run's listings: whether each was read whole, and what it held.

A silent gap is the worst bug that an audit can have, so that a list was read to its
end, was empty, was denied or looks cut are four different things here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, field, fields, replace
from enum import StrEnum
from typing import Any, Self, overload

from auditor.errors import FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS
from auditor.util.text import format_count, safe_text

# Listings of a kind that are kept one by one, ordinary and remarkable ones: half a
# megabyte each. A registry of 100,000 repositories can have as many that are denied.
MAX_KEPT = 1000
# Nobody let us see the list: it may hold anything.
_DENIALS = frozenset({FailureKind.DENIED, FailureKind.NO_PULL_GRANT})


class ListKind(StrEnum):
    """What a list is of."""

    REPOSITORIES = "repositories"
    TAGS = "tags"


class ListState(StrEnum):
    """How a listing ended."""

    COMPLETE = "complete"
    EMPTY = "empty"  # complete, and there is nothing in it
    SUSPICIOUS = "suspicious"  # complete, by what the registry says
    DENIED = "denied"
    INCOMPLETE = "incomplete"  # it broke off, or was not finished


@dataclass(slots=True, kw_only=True)
class Listing:
    """One listing: of a repository's tags, or of a registry's repositories.

    `entries` counts everything that the pages held, `total` what the product says is
    in the whole list, `tags` or `repositories` what can be one, `invalid` the rest.
    Of repositories `chosen` are those that match the selector and are not `excluded`;
    what is said of tags are then the sums over their lists, and `tag_lists` says how
    these ended.
    `checked`: the registry was asked for what comes after the last entry, and it is
    nothing. `matched` are the tags that became references, but for duplicates,
    `filtered` those that match the selector and are left out by a filter.
    """

    selector: str
    kind: ListKind = ListKind.TAGS
    pages: int = 0
    entries: int = 0
    total: int | None = None
    repositories: int = 0
    chosen: int = 0
    excluded: int = 0
    tags: int = 0
    matched: int = 0
    filtered: int = 0
    invalid: int = 0
    complete: bool = False
    checked: bool = False
    suspicious: bool = False
    failure: str | None = None
    tag_lists: Counter[ListState] = field(default_factory=Counter)

    @property
    def state(self) -> ListState:
        """How it ended, or, while it goes on, `INCOMPLETE`."""
        if self.failure in _DENIALS:
            return ListState.DENIED
        # What matches nothing has a failure, too, but its list was read whole.
        if not self.complete or self.failure not in {None, FailureKind.NOT_FOUND}:
            return ListState.INCOMPLETE
        if self.suspicious:
            return ListState.SUSPICIOUS
        return ListState.COMPLETE if self.entries else ListState.EMPTY

    def count(
        self,
        *,
        pages: int,
        entries: int,
        total: int | None,
        last: bool,
        checked: bool = False,
        in_doubt: bool = False,
    ) -> None:
        """Count what a page held: `entries` of it, on answer number `pages`."""
        self.checked = checked
        self.suspicious = in_doubt
        self.pages = pages
        self.entries += entries
        self.total = total if total is not None else self.total
        self.complete = last

    @property
    def missing(self) -> int:
        """How many entries the product counts beyond those that it listed."""
        if self.total is None or not self.complete:
            return 0
        return max(0, self.total - self.entries)

    @property
    def looks_truncated(self) -> bool:
        """Whether it has a size at which servers cut, and nothing says it is whole."""
        return self.suspicious or (
            self.pages == 1
            and self.entries in SUSPICIOUS_COUNTS
            and self.total != self.entries
            and not self.checked
        )

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `to_json` made."""
        told = {one.name: found[one.name] for one in fields(cls)}
        told["kind"] = ListKind(told["kind"])
        told["tag_lists"] = Counter(
            {ListState(key): count for key, count in told["tag_lists"].items()}
        )
        return cls(**told)

    def add_shard(self, other: Listing) -> None:
        """Add what another share says of the same catalog.

        Each has read it, and only the lists of tags that it led to are their own.
        """
        self.tags += other.tags
        self.matched += other.matched
        self.filtered += other.filtered
        self.tag_lists += other.tag_lists
        self.complete = self.complete and other.complete
        self.suspicious = self.suspicious or other.suspicious
        self.failure = self.failure or other.failure

    @property
    def matches_nothing(self) -> bool:
        """Of a list of repositories: whether it is known that no tag is meant in any
        of those that are chosen."""
        fine = {ListState.COMPLETE, ListState.EMPTY, ListState.SUSPICIOUS}
        return (
            self.state in fine
            and self.chosen > 0
            and not (self.matched or self.filtered)
            and not any(n for state, n in self.tag_lists.items() if state not in fine)
        )

    def to_json(self) -> dict[str, Any]:
        """The listing in the summary file."""
        found = asdict(self)
        found["tag_lists"] = {str(key): n for key, n in sorted(self.tag_lists.items())}
        return {**found, "state": self.state}


@dataclass(slots=True)
class _Totals:
    lists: int = 0
    pages: int = 0
    entries: int = 0
    filtered: int = 0
    states: Counter[ListState] = field(default_factory=Counter)

    def add(self, listing: Listing) -> None:
        self.lists += 1
        self.pages += listing.pages
        self.entries += listing.entries
        self.filtered += listing.filtered
        self.states[listing.state] += 1

    def to_json(self) -> dict[str, Any]:
        return {
            "lists": self.lists,
            "pages": self.pages,
            "entries": self.entries,
            "filtered": self.filtered,
            **{str(state): self.states[state] for state in ListState},
        }


class Listings(Sequence[Listing]):
    """All listings of a run, counted; those that are worth it one by one.

    As a sequence: what is kept, in the order in which they ended. The lists of tags
    that a list of repositories led to are kept if there is something to say of them.
    """

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self._kept: list[Listing] = []
        self._room = Counter(
            {(kind, plain): MAX_KEPT for kind in ListKind for plain in (True, False)}
        )
        self._open: list[Listing] = []
        self._totals = {kind: _Totals() for kind in ListKind}
        for listing in listings:
            self.begin(listing)
            self.end(listing)

    def begin(self, listing: Listing) -> None:
        """Take in a listing that is going to be read."""
        self._open.append(listing)

    def end(self, listing: Listing, among: Listing | None = None) -> None:
        """Count a listing that has ended; `among`: the one that led to it."""
        self._open.remove(listing)
        self._totals[listing.kind].add(listing)
        plain = listing.state in {ListState.COMPLETE, ListState.EMPTY}
        if among is not None:
            among.tag_lists[listing.state] += 1
            among.tags += listing.tags
            among.matched += listing.matched
            among.filtered += listing.filtered
        if (among is None or not plain) and self._room[listing.kind, plain] > 0:
            self._room[listing.kind, plain] -= 1
            self._kept.append(listing)

    @property
    def not_kept(self) -> int:
        """How many are only counted."""
        ended = sum(totals.lists for totals in self._totals.values())
        return ended - len(self._kept)

    def states(self, *kinds: ListKind) -> Counter[ListState]:
        """How many ended how; those that go on are incomplete."""
        found: Counter[ListState] = Counter()
        for kind in kinds or ListKind:
            found.update(self._totals[kind].states)
        found.update(one.state for one in self._open if one.kind in (kinds or ListKind))
        return found

    def totals(self, kind: ListKind) -> tuple[int, int, int]:
        """Of the lists of a kind: how many, their pages and their entries."""
        found = self._totals[kind]
        going_on = [one for one in self._open if one.kind is kind]
        return (
            found.lists + len(going_on),
            found.pages + sum(one.pages for one in going_on),
            found.entries + sum(one.entries for one in going_on),
        )

    @property
    def filtered(self) -> int:
        """Tags that a selector meant and a filter left out."""
        return self._totals[ListKind.TAGS].filtered

    def to_json(self) -> dict[str, Any]:
        """The counts in the summary file."""
        return {
            **{str(kind): self._with_open(kind).to_json() for kind in ListKind},
            "not_shown": self.not_kept,
        }

    def _with_open(self, kind: ListKind) -> _Totals:
        """The totals of a kind, with what is not read to its end yet."""
        ended = self._totals[kind]
        totals = replace(ended, states=Counter(ended.states))
        for listing in self._open:
            if listing.kind is kind:
                totals.add(listing)
        return totals

    def __len__(self) -> int:
        return len(self._kept) + len(self._open)

    @overload
    def __getitem__(self, index: int) -> Listing: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Listing]: ...

    def __getitem__(self, index: int | slice) -> Listing | Sequence[Listing]:
        return [*self._kept, *self._open][index]


# -- listing_words --
# What was listed, for a person, and the lists that may not be whole.

# One entry of a list, and several.
ENTRY_NOUNS = {
    ListKind.REPOSITORIES: ("repository", "repositories"),
    ListKind.TAGS: ("tag", "tags"),
}
# Lines about lists that a person reads; the file has them all.
MAX_LINES = 20


def listing_lines(lists: Mapping[str, Any], listings: Sequence[Listing]) -> list[str]:
    """What was listed, and the lists that may not be whole.

    `lists` are the counts of all, as the summary file has them.
    """
    lines = []
    for kind in ListKind:
        counts = lists[kind]
        if counts["lists"]:
            odd = "".join(
                f", {counts[state]} {state}"
                for state in ListState
                if state is not ListState.COMPLETE and counts[state]
            )
            lines.append(
                f"  lists of {kind}: {counts['lists']},"
                f" {format_count(counts['pages'], 'page')},"
                f" {format_count(counts['entries'], *ENTRY_NOUNS[kind])}{odd}"
            )
    if filtered := lists[ListKind.TAGS]["filtered"]:
        lines.append(
            f"      {format_count(filtered, *ENTRY_NOUNS[ListKind.TAGS])} filtered out"
        )
    if excluded := sum(listing.excluded for listing in listings):
        out = format_count(excluded, *ENTRY_NOUNS[ListKind.REPOSITORIES])
        lines.append(f"      {out} filtered out")
    lines.extend(suspicious_lines(listings))
    return lines


def suspicious_lines(listings: Sequence[Listing]) -> Iterator[str]:
    """The lists that their registry may have cut."""
    suspicious = [one for one in listings if one.state is ListState.SUSPICIOUS]
    for listing in suspicious[:MAX_LINES]:
        yield (
            f"      {safe_text(listing.selector, 500)}: exactly {listing.entries}"
            f" {listing.kind} and no next page: the registry may have cut the list"
        )
    if len(suspicious) > MAX_LINES:
        yield f"      and {len(suspicious) - MAX_LINES} more like these"
