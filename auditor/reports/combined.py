"""The summaries of all shares as one: what the whole audit came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auditor.records import FailureRecord
from auditor.reports.listings import Listing, ListKind, ListState
from auditor.reports.summary import listing_lines
from auditor.safe_text import safe_text

Json = Mapping[str, Any]

# What the shares of a catalog say of their own lists of tags only; the rest of it is
# the same in each, because each read it.
_OF_THE_SHARE = ("tags", "matched", "filtered", "tag_lists")
# Of how one list ended in several shares, the worst is told.
_WORST_FIRST = (
    ListState.DENIED, ListState.INCOMPLETE, ListState.SUSPICIOUS, ListState.EMPTY
)  # fmt: skip


def combined(summaries: Sequence[Json], *, output: str) -> dict[str, Any]:
    """One summary file's content out of those of the shares.

    It begins with the first share and ends with the last; `duration_s` is that of the
    slowest. Requests for a catalog count for every share that read it; the catalog
    itself is shown once.
    """
    whole: dict[str, Any] = _sum(summaries)
    return whole | {
        "schema": summaries[0]["schema"],
        "started_at": min(one["started_at"] for one in summaries),
        "finished_at": max(one["finished_at"] for one in summaries),
        "duration_s": max(one["duration_s"] for one in summaries),
        "output": output,
        "references": whole["references"]
        | {"all_listed": all(one["references"]["all_listed"] for one in summaries)},
        "lists": whole["lists"]
        | {
            str(ListKind.REPOSITORIES): _catalogs(
                [one["lists"][ListKind.REPOSITORIES] for one in summaries]
            )
        },
        "listings": _listings(one for share in summaries for one in share["listings"]),
        "allowances": _allowances(whole.get("allowances") or ()),
    }


def _sum(values: Sequence[Any]) -> Any:
    """Numbers added, yes if one says yes, objects key by key, lists in turn."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    if all(isinstance(value, bool) for value in known):
        return any(known)
    if all(isinstance(value, int | float) for value in known):
        return sum(known)
    if all(isinstance(value, Mapping) for value in known):
        keys = dict.fromkeys(key for value in known for key in value)
        return {key: _sum([value.get(key) for value in known]) for key in keys}
    if all(isinstance(value, list) for value in known):
        return [item for value in known for item in value]
    return known[0]


def with_failures(whole: Json, records: Sequence[FailureRecord]) -> dict[str, Any]:
    """The summary with failures that only show where all shares are together."""
    if not records:
        return dict(whole)
    told = [
        {
            record.failure.value: {
                "count": 1,
                "example": {"reference": record.reference, "detail": record.detail},
            }
        }
        for record in records
    ]
    kinds = {record.reference: record.failure.value for record in records}
    return {
        **whole,
        "references": _sum(
            [whole["references"], {"asked": len(records), "failed": len(records)}]
        ),
        "failures": _sum([whole["failures"], *told]),
        "listings": [
            {**one, "failure": kinds.get(one["selector"], one["failure"])}
            for one in whole["listings"]
        ],
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


def _listings(listings: Iterable[Json]) -> list[dict[str, Any]]:
    found: dict[object, dict[str, Any]] = {}
    for number, listing in enumerate(listings):
        is_catalog = listing["kind"] == ListKind.REPOSITORIES
        key = listing["selector"] if is_catalog else number
        if key in found:
            both = (found[key], listing)
            own = [{name: one[name] for name in _OF_THE_SHARE} for one in both]
            found[key] |= _sum(own) | {
                "complete": all(one["complete"] for one in both),
                "suspicious": any(one["suspicious"] for one in both),
                "failure": found[key]["failure"] or listing["failure"],
            }
        else:
            found[key] = dict(listing)
    return [Listing.from_json(one).to_json() for one in found.values()]


def _allowances(allowances: Iterable[Json]) -> list[Json]:
    least: dict[str, Json] = {}
    for one in sorted(allowances, key=lambda one: int(one["remaining"])):
        least.setdefault(one["registry"], one)
    return [least[registry] for registry in sorted(least)]


def combined_lines(whole: Json) -> Iterator[str]:
    """The same for a person."""
    references = whole["references"]
    line = f"{references['audited']} of {references['asked']} references audited"
    if references["failed"]:
        line += f", {references['failed']} failed"
    if references["to_do"] or not references["all_listed"]:
        line += f", {references['to_do']} or more still to do"
    yield line
    for kind, failure in whole["failures"].items():
        example = failure["example"]
        name = safe_text(str(example["reference"]), 500)
        yield f"  {failure['count']} {kind}, for example {name}"
        yield f"      {safe_text(str(example['detail']), 500)}"
    listings = [Listing.from_json(one) for one in whole["listings"]]
    yield from listing_lines(whole["lists"], listings)
    requests = whole["requests"].items()
    sent = ", ".join(f"{count} {kind}" for kind, count in requests if count)
    yield f"  requests: {sent or 'none'}"
