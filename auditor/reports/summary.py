"""The summary of a run: proves that it is complete, and says what to act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from auditor.errors import FailureKind
from auditor.protocol.allowance import Allowance
from auditor.protocol.duration import duration_words
from auditor.records import SCHEMA, FailureRecord, Record
from auditor.reports.listings import Listing, Listings, ListKind, ListState
from auditor.safe_text import safe_text

# Lines about lists that a person reads; the file has them all.
MAX_LINES = 20


# Go knows some fifty platforms. A registry may name what it likes, a new one in each
# image, and memory must not grow with images.
MAX_NAMES = 1000
OTHER = "other"


@dataclass(slots=True)
class Tally:
    """What the records of a run add up to."""

    audited: int = 0
    failed: int = 0
    filtered: int = 0
    not_asked: int = 0
    failures: Counter[FailureKind] = field(default_factory=Counter)
    examples: dict[FailureKind, FailureRecord] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    architectures: Counter[str] = field(default_factory=Counter)
    media_types: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        """Count one record."""
        if isinstance(record, FailureRecord):
            self.failed += 1
            self.not_asked += not record.attempts
            self.failures[record.failure] += 1
            self.examples.setdefault(record.failure, record)
            return
        self.audited += 1
        for architecture in record.architectures:
            _count(self.architectures, architecture)
        if record.media_type:
            _count(self.media_types, record.media_type)
        for warning in record.warnings:
            self.warnings[warning.code] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What an earlier run had finished: `kept` records, counted with the others.

    `left_out` are those that the input no longer names.
    """

    kept: int
    left_out: int


def _count(counts: Counter[str], name: str) -> None:
    """Count a name that a registry chose: new ones only as long as there are few."""
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHER
    counts[name] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A finished or stopped run. Times are RFC 3339 UTC, durations seconds.

    `interrupted`: by a signal, and the report is not whole. `deadline_reached`: the
    run's time was up, and what it had not reached are failures.

    `asked` counts distinct references and what could not become one; it is
    `audited + failed + filtered + to_do`, or the run lost something; `filtered` were
    fetched and found to be too old. `all_listed` says whether
    the input and its listings were read to their end: if not, more is to do.
    `requests` counts everything that was sent, by kind; `repeated` how many of these
    were sent again, and why. `not_asked` are failures that cost no request: what a
    limit, a deadline or a host that was given up left to do. `allowances` are what
    registries said last of the requests that they grant. `saved` counts what was not
    fetched, by what it is and who had it (see `SAVED`); `damaged` is what the store
    held and could not be used, `not_stored` what a slow disk left no time to store.
    `blobs` counts those that were verified, each once in its repository: `checked` are
    `there`, `missing` or `unverified`; `size_differs` counts what manifests say of
    them.
    """

    started_at: str
    finished_at: str
    duration_s: float
    interrupted: bool
    deadline_reached: bool = False
    output: str
    asked: int
    all_listed: bool
    duplicates: int
    tally: Tally
    requests: Mapping[str, int]
    repeated: Mapping[str, int]
    saved: Mapping[str, int]
    damaged: int = 0
    not_stored: int = 0
    listings: Listings
    resumed: Resumed | None = None
    max_requests: int | None = None
    allowances: Sequence[tuple[str, Allowance]] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)

    @property
    def to_do(self) -> int:
        """References asked for that have no record."""
        tally = self.tally
        return self.asked - tally.audited - tally.failed - tally.filtered

    def to_json(self) -> dict[str, Any]:
        """The summary file."""
        tally = self.tally
        return {
            "schema": SCHEMA,
            "kind": "summary",
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "duration_s": round(self.duration_s, 3),
            "interrupted": self.interrupted,
            "deadline_reached": self.deadline_reached,
            "resumed": asdict(self.resumed) if self.resumed else None,
            "output": self.output,
            "references": {
                "asked": self.asked,
                "all_listed": self.all_listed,
                "duplicates": self.duplicates,
                "audited": tally.audited,
                "failed": tally.failed,
                "filtered": tally.filtered,
                "to_do": self.to_do,
                "not_asked": tally.not_asked,
            },
            "failures": {
                kind.value: {
                    "count": count,
                    "example": {
                        "reference": tally.examples[kind].reference,
                        "detail": tally.examples[kind].detail,
                    },
                }
                for kind, count in tally.failures.most_common()
            },
            "warnings": {str(code): n for code, n in tally.warnings.most_common()},
            "architectures": dict(tally.architectures.most_common()),
            "media_types": dict(tally.media_types.most_common()),
            "lists": self.listings.to_json(),
            "listings": [listing.to_json() for listing in self.listings],
            "requests": {str(kind): n for kind, n in sorted(self.requests.items())},
            "max_requests": self.max_requests,
            "allowances": [
                {
                    "registry": registry,
                    "limit": seen.limit,
                    "remaining": seen.remaining,
                    "window_s": seen.window_s,
                    "counted_by": seen.counted_by,
                }
                for registry, seen in self.allowances
            ],
            "repeated": dict(sorted(self.repeated.items())),
            "saved": dict(sorted(self.saved.items())),
            "blobs": dict(sorted(self.blobs.items())),
            "store": {"damaged": self.damaged, "not_stored": self.not_stored},
        }


# What was not fetched, and how a person is told of it.
SAVED = {
    "not fetched twice": {"manifests": "manifests", "configs": "configs"},
    "known from earlier runs": {
        "known_tags": "tags (HEAD was enough)",
        "known_digests": "digests (HEAD was enough)",
        "listed_tags": "tags as the list says (no request)",
        "immutable_tags": "immutable tags (no request)",
        "stored_manifests": "manifests below them",
        "stored_configs": "configs",
    },
}


def summary_lines(summary: Summary) -> list[str]:
    """The summary for a person: what was done, what failed, what to do about it."""
    tally = summary.tally
    lines = [_first_line(summary)]
    if summary.resumed is not None:
        kept = summary.resumed.kept
        lines.append(f"  resumed: {kept} of them were finished before")
        if gone := summary.resumed.left_out:
            lines[-1] += f"; {gone} left out that the input and its lists do not name"
    if tally.architectures:
        common = ", ".join(
            f"{safe_text(name, 60)} {count}"
            for name, count in tally.architectures.most_common(6)
        )
        more = len(tally.architectures) - 6
        lines.append(
            f"  architectures: {common}" + (f" and {more} more" if more > 0 else "")
        )
    for kind, count in tally.failures.most_common():
        example = tally.examples[kind]
        # Some 500 characters are the longest reference that can be one.
        reference = safe_text(example.reference, 500)
        lines.append(f"  {count} {kind.value}, for example {reference}")
        lines.append(f"      {safe_text(example.detail, 500)}")
    if tally.warnings:
        named = ", ".join(
            f"{code} {count}" for code, count in tally.warnings.most_common()
        )
        lines.append(f"  warnings: {named}")
    lines.extend(listing_lines(summary.listings.to_json(), summary.listings))
    sent = ", ".join(
        f"{count} {kind}" for kind, count in sorted(summary.requests.items()) if count
    )
    again = ", ".join(
        f"{count} {why}" for why, count in sorted(summary.repeated.items()) if count
    )
    lines.append(f"  requests: {sent or 'none'}" + (f" ({again})" if again else ""))
    lines.extend(_allowance_lines(summary.allowances))
    if summary.blobs:
        lines.append(_blob_line(summary.blobs))
    lines.extend(_saved_lines(summary))
    return lines


def _saved_lines(summary: Summary) -> list[str]:
    lines = []
    for said, names in SAVED.items():
        spared = ", ".join(
            f"{count} {what}"
            for name, what in names.items()
            if (count := summary.saved.get(name, 0))
        )
        if spared:
            lines.append(f"  {said}: {spared}")
    if summary.damaged:
        lines.append(
            f"  the store: {summary.damaged} damaged entries removed; their content"
            " was fetched again"
        )
    if summary.not_stored:
        lines.append(
            f"  the store: {summary.not_stored} entries not stored: the disk was too"
            " slow for them"
        )
    return lines


def _first_line(summary: Summary) -> str:
    tally = summary.tally
    before = summary.resumed.kept if summary.resumed else 0
    done = max(0, tally.audited - before)
    rate = done / summary.duration_s if summary.duration_s > 0 else 0
    first = (
        f"{tally.audited} of {summary.asked} references audited"
        f" in {summary.duration_s:.1f} s ({rate:.0f}/s)"
    )
    if tally.failed:
        first += f", {tally.failed} failed"
        if tally.not_asked:
            first += f" ({tally.not_asked} of them not asked for)"
    if not summary.all_listed:
        first += f", {summary.to_do} and what was not listed yet still to do"
    elif summary.to_do:
        first += f", {summary.to_do} still to do"
    if tally.filtered:
        first += f", {tally.filtered} too old"
    if summary.duplicates:
        first += f", {summary.duplicates} duplicates skipped"
    if summary.deadline_reached:
        first = f"the deadline came: {first}"
    return ("interrupted: " if summary.interrupted else "") + first


def _allowance_lines(allowances: Sequence[tuple[str, Allowance]]) -> Iterator[str]:
    for registry, seen in allowances:
        line = f"  allowance at {registry}: {seen.remaining}"
        if seen.limit is not None:
            line += f" of {seen.limit}"
        line += " requests left"
        if seen.window_s is not None:
            line += f" in {duration_words(seen.window_s)}"
        if seen.counted_by is not None:
            line += f", counted by {seen.counted_by}"
        yield line


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
                f"  lists of {kind}: {counts['lists']}, {counts['pages']} pages,"
                f" {counts['entries']} {kind}{odd}"
            )
    if filtered := lists[ListKind.TAGS]["filtered"]:
        lines.append(f"      {filtered} tags filtered out")
    if excluded := sum(listing.excluded for listing in listings):
        lines.append(f"      {excluded} repositories filtered out")
    lines.extend(suspicious_lines(listings))
    return lines


def _blob_line(blobs: Mapping[str, int]) -> str:
    words = {
        "missing": "missing",
        "size_differs": "of another size",
        "unverified": "that could not be checked",
    }
    found = [f"{blobs[key]} {word}" for key, word in words.items() if blobs.get(key)]
    checked = blobs.get("checked", 0)
    return f"  blobs: {checked} checked, {', '.join(found) or 'all there'}"


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
