"""Statistics of the listings of a run: their content, and how each ended.

A listing is a list of tags or repositories that a registry returns page by page. A gap
that is not reported is the worst error of an audit, so `ListState` distinguishes
listings that were read to their end, are empty, were denied, or look truncated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from enum import StrEnum
from typing import Any, Self

from auditor.errors import FailureKind
from auditor.fast_dataclass import dataclass
from auditor.model import SUSPICIOUS_COUNTS

# Listings shown one by one for each kind, those without a problem and those with one:
# half a megabyte each. A registry of 100,000 repositories can deny all its tag lists.
MAX_SHOWN = 1000
_DENIALS = frozenset({FailureKind.DENIED, FailureKind.NO_PULL_GRANT})


class ListKind(StrEnum):
    """The kind of entries of a listing."""

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

    `entries`: all entries of its pages. `tags` or `repositories` of them have a valid
    name, `invalid` do not. `total`: the size that the registry's API reports.
    `matched`: tags that became references, duplicates included; `filtered`: tags that
    match the selector and were left out by a filter. `checked`: a request for entries
    after the last one returned none. `untagged`: manifests without a tag that became
    references; None if they were not asked for, or the API does not list them.
    `untagged_wanted`: they were asked for.

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
    untagged: int | None = None
    untagged_wanted: bool = False
    complete: bool = False
    checked: bool = False
    suspicious: bool = False
    failure: str | None = None
    tag_lists: Counter[ListState] = field(default_factory=Counter)

    @property
    def state(self) -> ListState:
        """How the listing ended; `INCOMPLETE` while it is being read."""
        if self.failure in _DENIALS:
            return ListState.DENIED
        # `NOT_FOUND` is about the selector: the listing itself was read to its end.
        if not self.complete or self.failure not in {None, FailureKind.NOT_FOUND}:
            return ListState.INCOMPLETE
        if self.suspicious:
            return ListState.SUSPICIOUS
        return ListState.COMPLETE if self.entries else ListState.EMPTY

    @property
    def missing(self) -> int:
        """The number of entries that the registry's API counts but did not list."""
        if self.total is None or not self.complete:
            return 0
        return max(0, self.total - self.entries)

    @property
    def looks_truncated(self) -> bool:
        """Whether the listing ends, unconfirmed, at a size that suggests truncation."""
        return self.suspicious or (
            self.pages == 1
            and self.entries in SUSPICIOUS_COUNTS
            and self.total != self.entries
            and not self.checked
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The listing that `to_json` returned."""
        arguments = {
            field.name: values[field.name]
            for field in fields(cls)
            if field.name in values  # an earlier version has fewer
        }
        tag_lists = {ListState(key): n for key, n in values["tag_lists"].items()}
        return cls(
            **arguments
            | {"kind": ListKind(values["kind"]), "tag_lists": Counter(tag_lists)}
        )

    def add_shard(self, other: Listing) -> None:
        """Merge the same catalog as another shard listed it.

        Every shard reads the whole catalog; only its tag lists are divided.
        """
        self.tags += other.tags
        self.matched += other.matched
        self.filtered += other.filtered
        self.untagged = sum_of_known(self.untagged, other.untagged)
        self.tag_lists += other.tag_lists
        self.complete = self.complete and other.complete
        self.suspicious = self.suspicious or other.suspicious
        self.failure = self.failure or other.failure

    @property
    def matches_nothing(self) -> bool:
        """Whether a catalog was read to its end and none of its tags matches."""
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
        """The listing as written to the summary file."""
        tag_lists = {str(key): n for key, n in sorted(self.tag_lists.items())}
        return {**asdict(self), "tag_lists": tag_lists, "state": self.state}


def sum_of_known(*counts: int | None) -> int | None:
    """The sum of the counts that are known; None without any."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class Listings:
    """The listings of a run: totals of all, and some that are shown one by one."""

    def __init__(self, listings: Iterable[Listing] = ()) -> None:
        self._ended: list[Listing] = []
        # How many more of a kind, without and with a problem, can be shown.
        self._room = Counter(
            {(kind, good): MAX_SHOWN for kind in ListKind for good in (True, False)}
        )
        self._open: list[Listing] = []
        self._totals = {kind: Counter[str]() for kind in ListKind}
        # Tag lists without their manifests that have no tag, by registry.
        self._untagged_unknown: Counter[str] = Counter()
        for listing in listings:
            self.begin(listing)
            self.end(listing)

    @property
    def shown(self) -> list[Listing]:
        """Listings in the order in which they ended, then those that are being read.

        A tag list of a catalog is shown only if it did not end as `COMPLETE` or
        `EMPTY`.
        """
        return [*self._ended, *self._open]

    def begin(self, listing: Listing) -> None:
        """Add a listing that is going to be read."""
        self._open.append(listing)

    def end(self, listing: Listing, catalog: Listing | None = None) -> None:
        """Count a listing that has ended; `catalog` is the catalog that led to it."""
        self._open.remove(listing)
        self._totals[listing.kind] += _counts_of(listing)
        if listing.untagged_wanted and listing.untagged is None and listing.complete:
            registry = listing.selector.partition("/")[0]
            if registry in self._untagged_unknown or (
                len(self._untagged_unknown) < MAX_SHOWN
            ):
                self._untagged_unknown[registry] += 1
        good = listing.state in {ListState.COMPLETE, ListState.EMPTY}
        if catalog is not None:
            catalog.tag_lists[listing.state] += 1
            catalog.tags += listing.tags
            catalog.matched += listing.matched
            catalog.filtered += listing.filtered
            catalog.untagged = sum_of_known(catalog.untagged, listing.untagged)
        if (catalog is None or not good) and self._room[listing.kind, good] > 0:
            self._room[listing.kind, good] -= 1
            self._ended.append(listing)

    def totals(self, kind: ListKind) -> dict[str, int]:
        """The sums over all listings of a kind, and their number in each state.

        Listings that are still being read count as incomplete.
        """
        totals = self._totals[kind] + sum(
            (_counts_of(listing) for listing in self._open if listing.kind is kind),
            Counter(),
        )
        return {key: totals[key] for key in (*_SUMS, *map(str, ListState))}

    def states(self) -> set[ListState]:
        """The states of all listings."""
        totals = [self.totals(kind) for kind in ListKind]
        return {state for state in ListState if any(one[state] for one in totals)}

    def to_json(self) -> dict[str, Any]:
        """The totals as written to the summary file.

        `not_shown`: listings that are only part of the totals. `untagged_unknown`: the
        number of tag lists by registry, where manifests without a tag were asked for,
        and the API does not list them.
        """
        ended = sum(totals["lists"] for totals in self._totals.values())
        return {
            **{str(kind): self.totals(kind) for kind in ListKind},
            "not_shown": ended - len(self._ended),
            "untagged_unknown": dict(sorted(self._untagged_unknown.items())),
        }


_SUMS = ("lists", "pages", "entries", "filtered", "untagged")


def _counts_of(listing: Listing) -> Counter[str]:
    return Counter(
        {
            "lists": 1,
            "pages": listing.pages,
            "entries": listing.entries,
            "filtered": listing.filtered,
            "untagged": listing.untagged or 0,
            str(listing.state): 1,
        }
    )
