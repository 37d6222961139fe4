"""What the values of a summary's field come to, each of which is that of one share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.report.listing_stats import Listing, ListKind, ListState

Json = Mapping[str, Any]

# Of how one list ended in several shares, the worst is told.
_WORST_FIRST = (
    ListState.DENIED, ListState.INCOMPLETE, ListState.SUSPICIOUS, ListState.EMPTY
)  # fmt: skip


def first(values: Sequence[Any]) -> Any:
    """What is the same in all."""
    return values[0]


def sum_if_any(values: Sequence[int | None]) -> int | None:
    """The sum of those that there are; null for none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def by_name(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts in the order of their names."""
    return {str(name): count for name, count in sorted(counts.items())}


def ranked(counts: Counter[str]) -> dict[str, int]:
    """Counts, the greatest first."""
    return {str(name): count for name, count in counts.most_common()}


def counts(values: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name, added."""
    return by_name(_added(values))


def ranked_counts(values: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts, added, the greatest first."""
    return ranked(_added(values))


def counts_if_any(values: Sequence[Mapping[str, int] | None]) -> dict[str, int] | None:
    """Those that there are, added; null for none."""
    known = [value for value in values if value is not None]
    return dict(_added(known)) if known else None


def _added(values: Sequence[Mapping[str, int]]) -> Counter[str]:
    # A zero is told, too: `+` of counters would leave it out.
    added: Counter[str] = Counter()
    for value in values:
        added.update(value)
    return added


def failures(values: Sequence[Json]) -> dict[str, Json]:
    """Failures by kind, each with its first example."""
    number = _added([{kind: one[kind]["count"] for kind in one} for one in values])
    example = {
        kind: failure["example"]
        for one in reversed(values)
        for kind, failure in one.items()
    }
    return {
        kind: {"count": count, "example": example[kind]}
        for kind, count in number.most_common()
    }


def lists(values: Sequence[Json]) -> dict[str, Any]:
    """The counts of lists; a catalog that every share has read is one."""
    return {
        str(ListKind.REPOSITORIES): _catalogs(
            [one[ListKind.REPOSITORIES] for one in values]
        ),
        str(ListKind.TAGS): dict(_added([one[ListKind.TAGS] for one in values])),
        "not_shown": sum(one["not_shown"] for one in values),
    }


def _catalogs(totals: Sequence[Json]) -> dict[str, Any]:
    """The counts of lists that every share has read, each once."""
    found = {key: max(one[key] for one in totals) for key in totals[0]}
    left = found["lists"]
    for state in _WORST_FIRST:
        found[state] = min(found[state], left)
        left -= found[state]
    found[ListState.COMPLETE] = left
    return {**found, "filtered": sum(one["filtered"] for one in totals)}


def listings(values: Sequence[Sequence[Json]]) -> list[Json]:
    """The listings one by one; a catalog that every share has read is one."""
    found: dict[object, Listing] = {}
    for number, told in enumerate(one for share in values for one in share):
        listing = Listing.from_json(told)
        is_catalog = listing.kind is ListKind.REPOSITORIES
        key = listing.selector if is_catalog else number
        if key in found:
            found[key].take_share(listing)
        else:
            found[key] = listing
    return [listing.to_json() for listing in found.values()]


def allowances(values: Sequence[Sequence[Json]]) -> list[Json]:
    """What the share was told that heard last of each registry's: the least left."""
    least: dict[str, Json] = {}
    told = (one for share in values for one in share)
    for one in sorted(told, key=lambda one: int(one["remaining"])):
        least.setdefault(one["registry"], one)
    return [least[registry] for registry in sorted(least)]
