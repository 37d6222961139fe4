"""The summaries of all shares as one: what the whole audit came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from auditor.reports.listings import ListKind
from auditor.safe_text import safe_text

Json = Mapping[str, Any]

# What the shares of a catalog say of their own lists of tags only; the rest of it is
# the same in each, because each read it.
_OF_THE_SHARE = ("tags", "matched", "tag_lists")


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


def _listings(listings: Iterable[Json]) -> list[dict[str, Any]]:
    found: dict[object, dict[str, Any]] = {}
    for number, listing in enumerate(listings):
        is_catalog = listing["kind"] == ListKind.REPOSITORIES
        key = listing["selector"] if is_catalog else number
        if key in found:
            own = [
                {name: one[name] for name in _OF_THE_SHARE}
                for one in (found[key], listing)
            ]
            # One share alone says what is wrong with the catalog.
            wrong = listing["failure"] or found[key]["failure"]
            found[key] |= _sum(own) | {"failure": wrong}
        else:
            found[key] = dict(listing)
    return list(found.values())


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
    requests = whole["requests"].items()
    sent = ", ".join(f"{count} {kind}" for kind, count in requests if count)
    yield f"  requests: {sent or 'none'}"
