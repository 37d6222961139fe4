"""A summary for a person: what was done, what failed, what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from auditor.report.listing_stats import Listing, listing_lines
from auditor.util.text import format_count, format_duration, pluralize, safe_text

Json = Mapping[str, Any]

# Most images are for few of them; the file has them all.
MAX_ARCHITECTURES = 6

# An empty list is right where there is nothing to try again, and else a mistake that
# nobody sees: what was to write it failed.
EMPTY_INPUT = "nothing was audited: the lists name no reference"

# What was not fetched, and how a person is told of it: of one, and of several.
SAVED = {
    "not fetched twice": {
        "manifests": ("manifest", "manifests"),
        "configs": ("config", "configs"),
    },
    "known from earlier runs": {
        "known_tags": ("tag (HEAD was enough)", "tags (HEAD was enough)"),
        "known_digests": ("digest (HEAD was enough)", "digests (HEAD was enough)"),
        "listed_tags": (
            "tag as the list says (no request)",
            "tags as the list says (no request)",
        ),
        "immutable_tags": (
            "immutable tag (no request)",
            "immutable tags (no request)",
        ),
        "stored_manifests": ("manifest below them", "manifests below them"),
        "stored_configs": ("config", "configs"),
    },
}
REPEATED = {"retries": ("retry", "retries")}
BLOBS = {
    "missing": ("missing", "missing"),
    "size_differs": ("of another size", "of another size"),
    "unverified": ("that could not be checked", "that could not be checked"),
}
STORE = {
    "damaged": (
        "damaged entry removed; its content was fetched again",
        "damaged entries removed; their content was fetched again",
    ),
    "not_stored": (
        "entry not stored: the disk was too slow for it",
        "entries not stored: the disk was too slow for them",
    ),
}


def summary_lines(whole: Json) -> list[str]:
    """The lines of what a summary file holds, of one run or of shares together."""
    listings = [Listing.from_json(one) for one in whole["listings"]]
    return [
        _first_line(whole),
        *_resumed(whole["resumed"]),
        *_architectures(whole["architectures"]),
        *_failures(whole["failures"]),
        *_warnings(whole["warnings"]),
        *listing_lines(whole["lists"], listings),
        _requests(whole["requests"], whole["repeated"]),
        *_allowances(whole["allowances"]),
        *_blobs(whole["blobs"]),
        *_saved(whole["saved"]),
        *_store(whole["store"]),
    ]


def is_empty_input(whole: Json) -> bool:
    """Whether a run came to the end of its lists, and nothing stood in them."""
    references = whole["references"]
    return bool(references["all_listed"] and not references["asked"])


def _first_line(whole: Json) -> str:
    references, duration_s = whole["references"], whole["duration_s"]
    before = whole["resumed"]["kept"] if whole["resumed"] else 0
    done = max(0, references["audited"] - before)
    rate = done / duration_s if duration_s > 0 else 0
    first = (
        f"{references['audited']} of {format_count(references['asked'], 'reference')}"
        f" audited in {duration_s:.1f} s ({rate:.0f}/s)"
    )
    if references["failed"]:
        first += f", {references['failed']} failed"
        if references["not_asked"]:
            first += f" ({references['not_asked']} of them not asked for)"
    if not references["all_listed"]:
        first += f", {references['to_do']} and what was not listed yet still to do"
    elif references["to_do"]:
        first += f", {references['to_do']} still to do"
    if references["filtered"]:
        first += f", {references['filtered']} too old"
    if references["duplicates"]:
        first += f", {format_count(references['duplicates'], 'duplicate')} skipped"
    if whole["deadline_reached"]:
        first = f"the deadline came: {first}"
    return ("interrupted: " if whole["interrupted"] else "") + first


def _resumed(resumed: Json | None) -> Iterator[str]:
    if resumed is not None:
        line = f"  resumed: {resumed['kept']} of them were finished before"
        if gone := resumed["left_out"]:
            line += f"; {gone} left out that the input and its lists do not name"
        yield line


def _architectures(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        common = _counted(
            (safe_text(name, 60), count)
            for name, count in islice(counts.items(), MAX_ARCHITECTURES)
        )
        more = len(counts) - MAX_ARCHITECTURES
        yield f"  architectures: {common}" + (f" and {more} more" if more > 0 else "")


def _failures(failures: Json) -> Iterator[str]:
    for kind, failure in failures.items():
        example = failure["example"]
        # Some 500 characters are the longest reference that can be one.
        reference = safe_text(example["reference"], 500)
        yield f"  {failure['count']} {kind}, for example {reference}"
        yield f"      {safe_text(example['detail'], 500)}"


def _warnings(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        yield f"  warnings: {_counted(counts.items())}"


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts)


def _requests(requests: Mapping[str, int], repeated: Mapping[str, int]) -> str:
    again = ", ".join(
        format_count(count, *REPEATED.get(kind, (kind, kind)))
        for kind, count in repeated.items()
        if count
    )
    return f"  requests: {_sent(requests) or 'none'}" + (f" ({again})" if again else "")


def _sent(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _allowances(allowances: Iterable[Json]) -> Iterator[str]:
    for one in allowances:
        line = f"  allowance at {one['registry']}: {one['remaining']}"
        if one["limit"] is not None:
            line += f" of {one['limit']}"
        whole = one["remaining"] if one["limit"] is None else one["limit"]
        line += f" {pluralize(whole, 'request')} left"
        if one["window_s"] is not None:
            line += f" in {format_duration(one['window_s'])}"
        if one["counted_by"] is not None:
            line += f", counted by {one['counted_by']}"
        yield line


def _blobs(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        found = _told(counts, BLOBS) or "all there"
        yield f"  blobs: {counts.get('checked', 0)} checked, {found}"


def _saved(counts: Mapping[str, int]) -> Iterator[str]:
    for said, names in SAVED.items():
        if spared := _told(counts, names):
            yield f"  {said}: {spared}"


def _told(counts: Mapping[str, int], words: Mapping[str, tuple[str, str]]) -> str:
    """Those of the counts that are not 0, in words."""
    return ", ".join(
        format_count(count, *word)
        for name, word in words.items()
        if (count := counts.get(name))
    )


def _store(counts: Mapping[str, int]) -> Iterator[str]:
    for name, word in STORE.items():
        if counts[name]:
            yield f"  the store: {format_count(counts[name], *word)}"
