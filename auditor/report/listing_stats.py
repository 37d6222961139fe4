"""Statistics of the listings of a run: was each read to its end, what did it contain.

A listing is a list of tags or repositories that a registry returns page by page. A
silent gap is the worst bug an audit can have, so that `ListState` keeps apart a listing
that was read to its end, is empty, was denied, or looks truncated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, fields, replace
from enum import StrEnum
from typing import Any, Self, overload

from auditor.errors import FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS

# Listings shown one by one for each kind, those without a problem and those with one:
# half a megabyte each. A registry of 100,000 repositories can deny all its tag lists.
MAX_SHOWN = 1000
_DENIALS = frozenset({FailureKind.DENIED, FailureKind.NO_PULL_GRANT})


class ListKind(StrEnum):
    """What the entries of a listing are."""

    REPOSITORIES = "repositories"
    TAGS = "tags"


class ListState(StrEnum):
    """How a listing ended."""

    COMPLETE = "complete"
    EMPTY = "empty"  # complete, without entries
    SUSPICIOUS = "suspicious"  # complete by the protocol, but looks truncated
    DENIED = "denied"
    INCOMPLETE = "incomplete"  # it failed midway, or was not finished


@dataclass(slots=True, kw_only=True)
class Listing:
    """One listing: the tags of a repository, or the repositories of a registry.

    `entries`: all entries of its pages, of which `tags` or `repositories` have a valid
    name and `invalid` have not. `total`: the size that the registry's API reports.
    `matched`: tags that became references, duplicates included; `filtered`: tags that
    match the selector and were left out by a filter. `checked`: a request for entries
    after the last one returned none.

    For repositories, `chosen` match the selector and are not `excluded`; the tag
    counts are sums over their tag lists, and `tag_lists` counts how those ended.
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
        """How it ended; `INCOMPLETE` while it is being read."""
        if self.failure in _DENIALS:
            return ListState.DENIED
        # `NOT_FOUND` is about the selector: the listing itself was read to its end.
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
        """Count a page with `entries` entries, the `pages`-th of the listing."""
        self.checked = checked
        self.suspicious = in_doubt
        self.pages = pages
        self.entries += entries
        self.total = total if total is not None else self.total
        self.complete = last

    @property
    def missing(self) -> int:
        """Entries that the registry's API counts and did not list."""
        if self.total is None or not self.complete:
            return 0
        return max(0, self.total - self.entries)

    @property
    def looks_truncated(self) -> bool:
        """Whether it ends at a size at which registries truncate, unconfirmed."""
        return self.suspicious or (
            self.pages == 1
            and self.entries in SUSPICIOUS_COUNTS
            and self.total != self.entries
            and not self.checked
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The listing that `to_json` returned."""
        arguments = {field.name: values[field.name] for field in fields(cls)}
        arguments["kind"] = ListKind(arguments["kind"])
        arguments["tag_lists"] = Counter(
            {ListState(key): count for key, count in arguments["tag_lists"].items()}
        )
        return cls(**arguments)

    def add_shard(self, other: Listing) -> None:
        """Merge the same catalog as another shard listed it.

        Every shard reads the whole catalog; only its tag lists are divided.
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
        """Whether a catalog was read to its end and no tag of it matches."""
        read_to_end = {ListState.COMPLETE, ListState.EMPTY, ListState.SUSPICIOUS}
        return (
            self.state in read_to_end
            and self.chosen > 0
            and not (self.matched or self.filtered)
            and not any(
                n for state, n in self.tag_lists.items() if state not in read_to_end
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The listing as the summary file has it."""
        tag_lists = {str(key): n for key, n in sorted(self.tag_lists.items())}
        return {**asdict(self), "tag_lists": tag_lists, "state": self.state}


@dataclass(slots=True)
class _ListTotals:
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
    """All listings of a run: totals, and a sequence of those that are shown.

    The sequence is in the order in which they ended. A tag list that a catalog led to
    is shown only if it did not end as `COMPLETE` or `EMPTY`.
    """

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self._shown: list[Listing] = []
        # How many more of a kind, without and with a problem, can be shown.
        self._room = Counter(
            {(kind, good): MAX_SHOWN for kind in ListKind for good in (True, False)}
        )
        self._open: list[Listing] = []
        self._totals = {kind: _ListTotals() for kind in ListKind}
        for listing in listings:
            self.begin(listing)
            self.end(listing)

    def begin(self, listing: Listing) -> None:
        """Add a listing that is going to be read."""
        self._open.append(listing)

    def end(self, listing: Listing, catalog: Listing | None = None) -> None:
        """Count a listing that has ended; `catalog`: the one that led to it."""
        self._open.remove(listing)
        self._totals[listing.kind].add(listing)
        good = listing.state in {ListState.COMPLETE, ListState.EMPTY}
        if catalog is not None:
            catalog.tag_lists[listing.state] += 1
            catalog.tags += listing.tags
            catalog.matched += listing.matched
            catalog.filtered += listing.filtered
        if (catalog is None or not good) and self._room[listing.kind, good] > 0:
            self._room[listing.kind, good] -= 1
            self._shown.append(listing)

    @property
    def not_shown(self) -> int:
        """Listings that are only part of the totals."""
        ended = sum(totals.lists for totals in self._totals.values())
        return ended - len(self._shown)

    def states(self, *kinds: ListKind) -> Counter[ListState]:
        """Listings by state; those that are being read are incomplete."""
        states: Counter[ListState] = Counter()
        for kind in kinds or ListKind:
            states.update(self._with_open(kind).states)
        return states

    def totals(self, kind: ListKind) -> tuple[int, int, int]:
        """The number of listings of a kind, of their pages and of their entries."""
        totals = self._with_open(kind)
        return totals.lists, totals.pages, totals.entries

    @property
    def filtered(self) -> int:
        """Tags that match a selector and were left out by a filter."""
        return self._totals[ListKind.TAGS].filtered

    def to_json(self) -> dict[str, Any]:
        """The totals as the summary file has them."""
        return {
            **{str(kind): self._with_open(kind).to_json() for kind in ListKind},
            "not_shown": self.not_shown,
        }

    def _with_open(self, kind: ListKind) -> _ListTotals:
        """The totals of a kind, with the listings that are being read."""
        ended = self._totals[kind]
        totals = replace(ended, states=Counter(ended.states))
        for listing in self._open:
            if listing.kind is kind:
                totals.add(listing)
        return totals

    def __len__(self) -> int:
        return len(self._shown) + len(self._open)

    @overload
    def __getitem__(self, index: int) -> Listing: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Listing]: ...

    def __getitem__(self, index: int | slice) -> Listing | Sequence[Listing]:
        return [*self._shown, *self._open][index]
