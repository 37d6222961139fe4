"""The summary as text for people, from its JSON form, of one run or merged shards."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from auditor.model import ContentKind
from auditor.report.listing_stats import Listing, ListKind, ListState
from auditor.util.text import format_count, format_duration, pluralize, safe_text
from auditor.wire.host_concurrency import DISTRESS, Move, per_second_text

Json = Mapping[str, Any]

# Architectures shown: most images are for few. The summary file has all.
MAX_ARCHITECTURES = 6
# Suspicious listings shown. The summary file has all.
MAX_LISTINGS = 20
# Logins that were not used, shown. The summary file has all.
MAX_LOGINS = 20
# Hosts that got fewer requests, shown. The summary file has all.
MAX_HOSTS = 5
# The longest path of Linux.
_PATH_CHARS = 4096
# References a second; what is not more is shown as 0/s.
_LEAST_RATE = 0.5
# Longer than any valid reference.
MAX_REFERENCE_CHARS = 500

_EMPTY_INPUT = "nothing was audited: the input names no reference; check the lists"
_ALL_FILTERED = "nothing was audited: the filters leave nothing of what was listed"

# Names of what is counted: singular, and a plural that does not only add an s.
ENTRY_NOUNS = {
    ListKind.REPOSITORIES: ("repository", "repositories"),
    ListKind.TAGS: ("tag", "tags"),
}
SAVED: dict[str, dict[str, tuple[str, ...]]] = {
    "reused within this run": {"manifests": ("manifest",), "configs": ("config",)},
    "from the cache": {
        "known_tags": (
            "tag, unchanged (checked with HEAD)",
            "tags, unchanged (checked with HEAD)",
        ),
        "known_digests": ("digest (checked with HEAD)", "digests (checked with HEAD)"),
        "listed_tags": (
            "tag, unchanged (by its digest in the listing)",
            "tags, unchanged (by their digests in the listing)",
        ),
        "listed_digests": (
            "manifest without a tag (by the listing)",
            "manifests without a tag (by the listing)",
        ),
        "immutable_tags": ("immutable tag (no request)", "immutable tags (no request)"),
        "stored_manifests": ("child manifest",),
        "stored_configs": ("config",),
    },
}
BLOBS = {
    "missing": "missing",
    "size_differs": "with a different size",
    "unverified": "not verified",
}
CACHE = {
    "damaged": (
        "damaged entry removed; its content was fetched again",
        "damaged entries removed; their content was fetched again",
    ),
    "not_stored": (
        "entry not stored: the disk is too slow",
        "entries not stored: the disk is too slow",
    ),
}


def summary_lines(summary: Json) -> list[str]:
    """The lines of a summary, of one run or of merged shards."""
    listings = [Listing.from_json(one) for one in summary["listings"]]
    return [
        _first_line(summary),
        *_resumed(summary["resumed"]),
        *_content(summary["content"]),
        *_architectures(summary["architectures"]),
        *_failures(summary["failures"]),
        *_ranking("warnings", summary["warnings"].items()),
        *listing_lines(summary["lists"], listings),
        *_locations(summary["locations"], summary["registries_conf"]),
        _requests(summary["requests"], summary["repeated"]),
        *unused_login_lines(
            (one["registry"], one["login"]) for one in summary["unused_logins"]
        ),
        *_rate_limits(summary["rate_limits"]),
        *_hosts(summary.get("hosts", ())),
        *_blobs(summary["blobs"]),
        *_saved(summary["saved"]),
        *_cache(summary["store"]),
    ]


def next_commands(output: str) -> Iterator[str]:
    """What to do with the report after an audit on a terminal."""
    if output == "-":
        yield "  to keep the report: -o report.jsonl; then try"
        output = "report.jsonl"
    else:
        yield f"  report: {safe_text(output, _PATH_CHARS)}; try next"
    page = output
    for suffix in (".gz", ".zst", ".jsonl"):
        page = page.removesuffix(suffix)
    yield f"      auditor html {shlex.quote(output)} -o {shlex.quote(page + '.html')}"
    yield f"      auditor query {shlex.quote(output)}"


def empty_input_sentence(summary: Json) -> str | None:
    """Why a run that read all of its input had nothing to audit; `None` if it had."""
    references = summary["references"]
    if references["asked"] or not references["all_listed"]:
        return None
    excluded = any(Listing.from_json(one).excluded for one in summary["listings"])
    is_filtered = excluded or summary["lists"][ListKind.TAGS]["filtered"]
    return _ALL_FILTERED if is_filtered else _EMPTY_INPUT


def listing_lines(lists: Json, listings: Sequence[Listing]) -> list[str]:
    """The totals of all listings (as in the summary file), and suspicious listings."""
    lines = []
    for kind in ListKind:
        totals = lists[kind]
        if totals["lists"]:
            entries = totals["entries"] - totals.get("untagged", 0)
            problems = "".join(
                f", {totals[state]:,} {state}"
                for state in ListState
                if state is not ListState.COMPLETE and totals[state]
            )
            lines.append(
                f"  listings of {kind}: {totals['lists']:,},"
                f" {format_count(totals['pages'], 'page')},"
                f" {format_count(entries, *ENTRY_NOUNS[kind])}{problems}"
            )
    filtered = lists[ListKind.TAGS]["filtered"]
    excluded = sum(listing.excluded for listing in listings)
    for count, kind in (filtered, ListKind.TAGS), (excluded, ListKind.REPOSITORIES):
        if count:
            nouns = ENTRY_NOUNS[kind]
            lines.append(f"      {format_count(count, *nouns)} filtered out")
    return [*lines, *_untagged_lines(lists), *suspicious_lines(listings)]


def _untagged_lines(lists: Json) -> Iterator[str]:
    """The manifests without a tag, and the registries that do not list them."""
    if count := lists[ListKind.TAGS].get("untagged", 0):
        yield f"      {format_count(count, 'manifest')} without a tag"
    unknown = lists.get("untagged_unknown", {})
    for registry, number in islice(unknown.items(), MAX_LISTINGS):
        yield (
            f"      {safe_text(registry)} did not list manifests without a tag"
            f" ({format_count(number, *ENTRY_NOUNS[ListKind.REPOSITORIES])}): its"
            " product has no API for them, or `lister` must name the product"
        )
    if len(unknown) > MAX_LISTINGS:
        yield f"      and {len(unknown) - MAX_LISTINGS:,} more registries like these"


def suspicious_lines(listings: Sequence[Listing]) -> Iterator[str]:
    """The listings that their registry may have truncated."""
    suspicious = [one for one in listings if one.state is ListState.SUSPICIOUS]
    for listing in suspicious[:MAX_LISTINGS]:
        selector = safe_text(listing.selector, MAX_REFERENCE_CHARS)
        yield (
            f"      {selector}: exactly {listing.entries:,} {listing.kind} and no next"
            " page: the registry may have truncated the listing"
        )
    if len(suspicious) > MAX_LISTINGS:
        yield f"      and {len(suspicious) - MAX_LISTINGS:,} more listings like these"


def _first_line(summary: Json) -> str:
    references, duration_s = summary["references"], summary["duration_s"]
    before = summary["resumed"]["kept"] if summary["resumed"] else 0
    audited_now = max(0, references["audited"] - before)
    rate = audited_now / duration_s if duration_s > 0 else 0
    line = (
        f"{references['audited']:,} of {format_count(references['asked'], 'reference')}"
        f" audited in {duration_s:.1f} s"
    )
    if rate > _LEAST_RATE:
        line += f" ({rate:,.0f}/s)"
    if references["failed"]:
        line += f", {references['failed']:,} failed"
        if references["not_asked"]:
            line += f" ({references['not_asked']:,} of them not requested)"
    if not references["all_listed"]:
        to_do = f"at least {references['to_do']:,}" if references["to_do"] else "more"
        line += f", {to_do} still to do (listing not finished)"
    elif references["to_do"]:
        line += f", {references['to_do']:,} still to do"
    if references["filtered"]:
        line += f", {references['filtered']:,} too old"
    if references["duplicates"]:
        line += f", {format_count(references['duplicates'], 'duplicate')} skipped"
    if summary["deadline_reached"]:
        line = f"deadline reached: {line}"
    return f"interrupted: {line}" if summary["interrupted"] else line


def _resumed(resumed: Json | None) -> Iterator[str]:
    if resumed is not None:
        line = f"  resumed: {resumed['kept']:,} of them from the unfinished report"
        if left_out := resumed["left_out"]:
            line += f"; {left_out:,} of its records left out: not in the input any more"
        yield line


def _content(counts: Mapping[str, int]) -> Iterator[str]:
    if counts.keys() - {ContentKind.IMAGE}:
        yield from _ranking("content", counts.items())


def _architectures(counts: Mapping[str, int]) -> Iterator[str]:
    shown = islice(counts.items(), MAX_ARCHITECTURES)
    more = len(counts) - MAX_ARCHITECTURES
    for line in _ranking(
        "architectures", ((safe_text(name, 60), count) for name, count in shown)
    ):
        yield f"{line} and {more:,} more" if more > 0 else line


def _failures(failures: Json) -> Iterator[str]:
    for kind, failure in failures.items():
        example = failure["example"]
        reference = safe_text(example["reference"], MAX_REFERENCE_CHARS)
        yield f"  {failure['count']:,} {kind}, for example {reference}"
        yield f"      {safe_text(example['detail'], 500)}"
    if failures:
        yield f"  what to do: auditor explain {' '.join(failures)}"


def _ranking(title: str, counts: Iterable[tuple[str, int]]) -> Iterator[str]:
    if text := ", ".join(f"{name} {count:,}" for name, count in counts):
        yield f"  {title}: {text}"


def _locations(counts: Mapping[str, int], files: Sequence[str]) -> Iterator[str]:
    """The registries that were asked instead of those in the references."""
    for line in _ranking("read from", counts.items()):
        named_by = f" ({safe_text(', '.join(files), 300)})" if files else ""
        yield line + named_by


def _requests(requests: Mapping[str, int], repeated: Mapping[str, int]) -> str:
    sent = ", ".join(f"{count:,} {kind}" for kind, count in requests.items() if count)
    again = ", ".join(
        f"{count:,} {'retry' if (kind, count) == ('retries', 1) else kind}"
        for kind, count in repeated.items()
        if count
    )
    return f"  requests: {sent or 'none'}" + (f" ({again})" if again else "")


def unused_login_lines(logins: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The logins that nothing asked for; each is a registry and a location."""
    for registry, location in islice(logins, MAX_LOGINS):
        yield (
            f"  login not used: {safe_text(registry)} did not ask for one, so"
            " that private repositories may be missing"
        )
        yield f"      {safe_text(location, 300)}"


def _rate_limits(rate_limits: Iterable[Json]) -> Iterator[str]:
    for one in rate_limits:
        line = f"  rate limit of {one['registry']}: {one['remaining']:,}"
        if one["limit"] is not None:
            line += f" of {one['limit']:,}"
        count = one["remaining"] if one["limit"] is None else one["limit"]
        line += f" {pluralize(count, 'request')} left"
        if one["window_s"] is not None:
            line += f" in {format_duration(one['window_s'])}"
        if one["counted_by"] is not None:
            line += f", counted by {one['counted_by']}"
        yield line


def _hosts(hosts: Iterable[Json]) -> Iterator[str]:
    """The hosts that got fewer requests at once because of distress.

    Not those that never answered: the failures say that.
    """
    silent = {Move.CONNECTION, Move.TIMEOUT}
    shown = [
        one
        for one in hosts
        if (
            (causes := DISTRESS & one["moves"].keys())
            and (not causes <= silent or one["round_trip_min_ms"] is not None)
        )
        or one.get("lowest_per_second") is not None
    ]
    for one in shown[:MAX_HOSTS]:
        counts = ", ".join(
            f"{move.replace('_', ' ')} {count:,}"
            for move, count in one["moves"].items()
            if move in DISTRESS
        )
        why = f" (lowered after: {counts})" if counts else ""
        runs = one.get("runs", 1)
        together = f" ({runs} runs together)" if runs > 1 else ""
        yield (
            f"  requests at once to {safe_text(one['host'])}{together}: {one['limit']}"
            f" at the end, {one['lowest']} to {one['highest']}{why}{_pace(one)}"
        )
    if len(shown) > MAX_HOSTS:
        yield f"      and {len(shown) - MAX_HOSTS:,} more hosts like these"


def _pace(host: Json) -> str:
    """The pace of requests that was found for a host."""
    now, lowest = host.get("per_second"), host.get("lowest_per_second")
    if lowest is None:
        return ""
    end = "" if now is None else f"{per_second_text(now)} at the end, "
    return f"; {end}{per_second_text(lowest)} at the slowest"


def _blobs(counts: Mapping[str, int]) -> Iterator[str]:
    if counts:
        problems = [f"{counts[key]} {BLOBS[key]}" for key in BLOBS if counts.get(key)]
        shown = ", ".join(problems) or "all present"
        yield f"  blobs: {counts.get('checked', 0)} checked, {shown}"


def _saved(counts: Mapping[str, int]) -> Iterator[str]:
    for title, names in SAVED.items():
        shown = [
            format_count(counts[key], *names[key]) for key in names if counts.get(key)
        ]
        if shown:
            yield f"  {title}: {'; '.join(shown)}"


def _cache(counts: Mapping[str, int]) -> Iterator[str]:
    for key, nouns in CACHE.items():
        if counts[key]:
            yield f"  cache: {format_count(counts[key], *nouns)}"
