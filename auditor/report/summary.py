"""The summary of a run: proves that it is complete, and says what to act on.

`SUMMARY_FIELDS` is what a summary holds as JSON: where each field comes from, and what those
of several shares come to. The file, the summary of merged shares (`merge_summaries.py`), the
lines for a person (`words.py`) and the metrics follow it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

import orjson

from auditor.errors import FailureKind, OutputError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, FailureRecord, Record
from auditor.report.listing_stats import Listing, Listings, ListKind, ListState
from auditor.util.atomic_file import atomic_file
from auditor.wire.rate_limit import RateLimit

# -- file --
# The summary of a run, or the forecast of one, as a file.


def write_summary(path: str, summary: Mapping[str, Any]) -> None:
    """Write what the summary says as JSON. Raises `OutputError`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        with atomic_file(Path(path)) as stream:
            stream.write(orjson.dumps(summary, option=options))
    except OSError as error:
        raise OutputError(
            f"{path}: the summary cannot be written: {error.strerror}"
        ) from None


# -- shares --
# What the values of a summary's field come to, each of which is that of one share.

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
            found[key].add_shard(listing)
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


# -- tally --
# What the records of a run add up to.

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


def _count(counts: Counter[str], name: str) -> None:
    """Count a name that a registry chose: new ones only as long as there are few."""
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHER
    counts[name] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What an earlier run had finished: `kept` records, counted with the others.

    `left_out` are those that the input no longer names.
    """

    kept: int
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A finished or stopped run. Times are RFC 3339 UTC, durations seconds.

    `interrupted`: by a signal, or by shares of it that failed, and the report is not
    whole. `deadline_reached`: the run's time was up, and what it had not reached are
    failures.

    `asked` counts distinct references and what could not become one; it is
    `audited + failed + filtered + to_do`, or the run lost something; `filtered` were
    fetched and found to be too old. `all_listed` says whether
    the input and its listings were read to their end: if not, more is to do.
    `requests` counts everything that was sent, by kind; `repeated` how many of these
    were sent again, and why. `not_asked` are failures that cost no request: what a
    limit, a deadline or a host that was given up left to do. `allowances` are what
    registries said last of the requests that they grant. `saved` counts what was not
    fetched, by what it is and who had it (see `words.py`); `damaged` is what the store
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
    allowances: Sequence[tuple[str, RateLimit]] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)

    @property
    def to_do(self) -> int:
        """References asked for that have no record."""
        tally = self.tally
        return self.asked - tally.audited - tally.failed - tally.filtered

    def to_json(self) -> dict[str, Any]:
        """The summary file."""
        return {one.name: one.of_run(self) for one in SUMMARY_FIELDS}


@dataclass(frozen=True, slots=True)
class SummaryField:
    """A field of the file: what a run says in it, and what several shares, each with
    a summary of its own, come to."""

    name: str
    of_run: Callable[[Summary], Any]
    of_shares: Callable[[Sequence[Any]], Any]


def failure_json(count: int, example: FailureRecord) -> dict[str, Any]:
    """What is said of the failures of one kind."""
    return {
        "count": count,
        "example": {"reference": example.reference, "detail": example.detail},
    }


def _failures(tally: Tally) -> dict[str, Any]:
    return {
        kind.value: failure_json(count, tally.examples[kind])
        for kind, count in tally.failures.most_common()
    }


def _allowance(registry: str, seen: RateLimit) -> dict[str, Any]:
    return {
        "registry": registry,
        "limit": seen.limit,
        "remaining": seen.remaining,
        "window_s": seen.window_s,
        "counted_by": seen.counted_by,
    }


def _object(name: str, *fields: SummaryField) -> SummaryField:
    """A field that is an object of fields."""
    return SummaryField(
        name,
        lambda run: {one.name: one.of_run(run) for one in fields},
        lambda told: {
            one.name: one.of_shares([share[one.name] for share in told])
            for one in fields
        },
    )


SUMMARY_FIELDS: tuple[SummaryField, ...] = (
    SummaryField("schema", lambda _: SCHEMA, first),
    SummaryField("kind", lambda _: "summary", first),
    SummaryField("started_at", lambda run: run.started_at, min),
    SummaryField("finished_at", lambda run: run.finished_at, max),
    SummaryField("duration_s", lambda run: round(run.duration_s, 3), max),
    SummaryField("interrupted", lambda run: run.interrupted, any),
    SummaryField("deadline_reached", lambda run: run.deadline_reached, any),
    SummaryField(
        "resumed",
        lambda run: asdict(run.resumed) if run.resumed else None,
        counts_if_any,
    ),
    SummaryField("output", lambda run: run.output, first),
    _object(
        "references",
        SummaryField("asked", lambda run: run.asked, sum),
        SummaryField("all_listed", lambda run: run.all_listed, all),
        SummaryField("duplicates", lambda run: run.duplicates, sum),
        SummaryField("audited", lambda run: run.tally.audited, sum),
        SummaryField("failed", lambda run: run.tally.failed, sum),
        SummaryField("filtered", lambda run: run.tally.filtered, sum),
        SummaryField("to_do", lambda run: run.to_do, sum),
        SummaryField("not_asked", lambda run: run.tally.not_asked, sum),
    ),
    SummaryField("failures", lambda run: _failures(run.tally), failures),
    SummaryField("warnings", lambda run: ranked(run.tally.warnings), ranked_counts),
    SummaryField(
        "architectures",
        lambda run: ranked(run.tally.architectures),
        ranked_counts,
    ),
    SummaryField(
        "media_types",
        lambda run: ranked(run.tally.media_types),
        ranked_counts,
    ),
    SummaryField("lists", lambda run: run.listings.to_json(), lists),
    SummaryField(
        "listings",
        lambda run: [listing.to_json() for listing in run.listings],
        listings,
    ),
    SummaryField("requests", lambda run: by_name(run.requests), counts),
    SummaryField("max_requests", lambda run: run.max_requests, sum_if_any),
    SummaryField(
        "allowances",
        lambda run: [_allowance(*one) for one in run.allowances],
        allowances,
    ),
    SummaryField("repeated", lambda run: by_name(run.repeated), counts),
    SummaryField("saved", lambda run: by_name(run.saved), counts),
    SummaryField("blobs", lambda run: by_name(run.blobs), counts),
    _object(
        "store",
        SummaryField("damaged", lambda run: run.damaged, sum),
        SummaryField("not_stored", lambda run: run.not_stored, sum),
    ),
)


# -- combined --
# The summaries of all shares as one: what the whole audit came to.


def merge_summaries(summaries: Sequence[Json], *, output: str) -> dict[str, Any]:
    """One summary file's content out of those of the shares, as `SUMMARY_FIELDS` says.

    It begins with the first share and ends with the last; `duration_s` is that of the
    slowest. Requests for a catalog count for every share that read it; the catalog
    itself is shown once.
    """
    whole = {
        one.name: one.of_shares([share[one.name] for share in summaries])
        for one in SUMMARY_FIELDS
    }
    return whole | {"output": output}


def add_failures(whole: Json, records: Sequence[FailureRecord]) -> dict[str, Any]:
    """The summary with failures that only show where all shares are together."""
    more = len(records)
    references = whole["references"]
    told = [{record.failure.value: failure_json(1, record)} for record in records]
    kinds = {record.reference: record.failure.value for record in records}
    return {
        **whole,
        "references": {
            **references,
            "asked": references["asked"] + more,
            "failed": references["failed"] + more,
        },
        "failures": failures([whole["failures"], *told]),
        "listings": [
            {**one, "failure": kinds.get(one["selector"], one["failure"])}
            for one in whole["listings"]
        ],
    }


# -- recount --
# Counting records that were written by an earlier run, from their lines.


def count_lines(tally: Tally, lines: bytes) -> None:
    """Count one record. Rows of the flat shapes do not say all that a record does:
    their warnings are not counted, and no media type but a platform's."""
    rows = [orjson.loads(line) for line in lines.splitlines()]
    first = rows[0]
    if first["kind"] == "failure":
        first |= {
            "failure": FailureKind(first["failure"]),
            "stage": Stage(first["stage"]),
        }
        tally.add(FailureRecord(**first))
        return
    tally.audited += 1
    if first["kind"] == "image":
        tally.architectures.update(first["architectures"])
        tally.warnings.update(warning["code"] for warning in first["warnings"])
        if first["media_type"]:
            tally.media_types[first["media_type"]] += 1
        return
    tally.architectures.update({row["platform"] for row in rows if row["platform"]})
