"""What was listed, for a person, and the lists that may not be whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.report.listing_stats import Listing, ListKind, ListState
from auditor.util.text import counted, safe_text

# One entry of a list, and several.
WORDS = {
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
                f" {counted(counts['pages'], 'page')},"
                f" {counted(counts['entries'], *WORDS[kind])}{odd}"
            )
    if filtered := lists[ListKind.TAGS]["filtered"]:
        lines.append(f"      {counted(filtered, *WORDS[ListKind.TAGS])} filtered out")
    if excluded := sum(listing.excluded for listing in listings):
        out = counted(excluded, *WORDS[ListKind.REPOSITORIES])
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
