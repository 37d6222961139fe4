"""The summary of a run: the proof that it is complete, and what needs action.

`Tally` counts records as they are written. `SUMMARY_FIELDS` lists every field of the
JSON form: its value for one run, and how the values of several shards are merged. The
text (summary_text.py) and the metrics (metrics.py) read the JSON form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from auditor.errors import FailureKind, OutputError, Stage
from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, ContentKind, FailureRecord, Record
from auditor.report.listing_stats import Listing, Listings, ListKind, ListState
from auditor.report.merge_hosts import MAX_HOSTS, merge_hosts, merge_hosts_left_out
from auditor.util.atomic_file import atomic_file
from auditor.util.text import terminal_safe_json
from auditor.wire.host_concurrency import HostConcurrency
from auditor.wire.rate_limit import RateLimit

Json = Mapping[str, Any]
Counts = Mapping[str, int]
Merge = Callable[[Sequence[Any]], Any]

# Different names that a tally counts one by one. Go knows some fifty platforms, but a
# registry can serve a new name with every image, and memory must not grow with images.
MAX_NAMES = 1000
OTHER = "other"


def write_summary(path: str, summary: object) -> None:
    """Write a summary or a forecast as a JSON file. Raises `OutputError`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        with atomic_file(Path(path)) as stream:
            stream.write(terminal_safe_json(orjson.dumps(summary, option=options)))
    except OSError as error:
        raise OutputError(
            f"{path}: the summary cannot be written: {error.strerror}"
        ) from None


# -- Counting records --------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """Counts over the records of a run."""

    audited: int = 0
    failed: int = 0
    filtered: int = 0
    not_asked: int = 0
    failures: Counter[FailureKind] = field(default_factory=Counter)
    examples: dict[FailureKind, FailureRecord] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    content: Counter[str] = field(default_factory=Counter)
    architectures: Counter[str] = field(default_factory=Counter)
    media_types: Counter[str] = field(default_factory=Counter)
    # Records by the registry that was asked instead of the one in the reference.
    locations: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """The references that were counted."""
        return self.audited + self.failed + self.filtered

    def add(self, record: Record) -> None:
        """Count a record."""
        if isinstance(record, FailureRecord):
            self.failed += 1
            # Nothing was to be requested for what is no reference.
            is_reference = record.failure is not FailureKind.INVALID_REFERENCE
            self.not_asked += is_reference and not record.attempts
            self.failures[record.failure] += 1
            self.examples.setdefault(record.failure, record)
            return
        self.audited += 1
        self.content[record.content] += 1
        if record.content is ContentKind.IMAGE:
            for architecture in record.architectures:
                _count_name(self.architectures, architecture)
        if record.media_type:
            _count_name(self.media_types, record.media_type)
        if record.location is not None:
            self.locations[record.location.partition("/")[0]] += 1
        for warning in record.warnings:
            self.warnings[warning.code] += 1

    def add_lines(self, lines: bytes) -> None:
        """Count a record of an earlier run by its report lines.

        The rows of the flat shapes have no warnings, and only the media types of
        platforms: these are not counted.
        """
        rows = [orjson.loads(line) for line in lines.splitlines()]
        first = rows[0]
        if first["kind"] == "failure":
            first["failure"] = FailureKind(first["failure"])
            first["stage"] = Stage(first["stage"])
            self.add(FailureRecord(**first))
            return
        self.audited += 1
        self.content[first["content"]] += 1
        is_image = first["content"] == ContentKind.IMAGE
        if first["kind"] == "image":
            if is_image:
                self.architectures.update(first["architectures"])
            self.warnings.update(warning["code"] for warning in first["warnings"])
            if first["media_type"]:
                self.media_types[first["media_type"]] += 1
            if location := first.get("location"):
                self.locations[location.partition("/")[0]] += 1
            return
        if is_image:
            platforms = {row["platform"] for row in rows if row["platform"]}
            self.architectures.update(platforms)


def _count_name(counts: Counter[str], name: str) -> None:
    """Count a name that a registry chose; names above the limit count as `OTHER`."""
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHER
    counts[name] += 1


# -- The summary of one run --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A finished or stopped run. Times are RFC 3339 in UTC, durations in seconds.

    `interrupted`: stopped by a signal, or by failed shards; the report is incomplete.
    `deadline_reached`: references not audited by then are failures. `resumed`: records
    of the unfinished report, `kept` or `left_out` (not in the input any more).

    `asked`: distinct references, and input entries that are not references. It is
    always `audited + failed + filtered + to_do`; otherwise the run has lost entries.
    `filtered` references were fetched and are too old. `all_listed`: the input and its
    listings were read to their end; otherwise more than `to_do` is left. `not_asked`:
    failures that cost no request, because of a limit, a deadline or a host that is
    down.

    `registries_conf`: the files of registries.conf that were in force.
    `unused_logins`: registry and location of logins that were not sent, because the
    registry did not ask for one. `requests`: everything sent, by kind; `repeated`: the
    repeated requests among them, by reason; `rate_limits`: the last rate limit of each
    registry; `hosts`: the concurrent requests of each host, `MAX_HOSTS` at most.
    `saved`: numbers of fetches avoided, by reason (`SAVED` in
    summary_text.py). `damaged`: unusable cache entries; `not_stored`: entries dropped
    because of a slow disk. `blobs`: verified
    blobs, each once per repository: `checked` is the sum of `there`, `missing` and
    `unverified`; `size_differs` counts manifests with a wrong size.
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
    requests: Counts
    repeated: Counts
    saved: Counts
    damaged: int = 0
    not_stored: int = 0
    listings: Listings
    resumed: Counts | None = None
    max_requests: int | None = None
    rate_limits: Sequence[tuple[str, RateLimit]] = ()
    blobs: Counts = field(default_factory=dict)
    unused_logins: Sequence[tuple[str, str]] = ()
    hosts: Sequence[HostConcurrency] = ()
    registries_conf: Sequence[str] = ()

    @property
    def to_do(self) -> int:
        """References without a record."""
        tally = self.tally
        return self.asked - tally.audited - tally.failed - tally.filtered

    def to_json(self) -> dict[str, Any]:
        """The summary as written to its file."""
        return {field.name: field.of_run(self) for field in SUMMARY_FIELDS}


def _failures(tally: Tally) -> dict[str, Any]:
    """Failure counts by kind, each with its first example."""
    return {
        str(kind): _failure(count, tally.examples[kind])
        for kind, count in tally.failures.most_common()
    }


def _failure(count: int, example: FailureRecord) -> dict[str, Any]:
    return {
        "count": count,
        "example": {"reference": example.reference, "detail": example.detail},
    }


def _rate_limit(registry: str, rate_limit: RateLimit) -> dict[str, Any]:
    names = ("limit", "remaining", "window_s", "counted_by")
    return {"registry": registry} | {name: getattr(rate_limit, name) for name in names}


def _by_name(counts: Counts) -> dict[str, int]:
    return {str(name): count for name, count in sorted(counts.items())}


def _by_count(counts: Counts) -> dict[str, int]:
    return {str(name): count for name, count in Counter(counts).most_common()}


# -- Merging the values of shards --------------------------------------------------

# A listing that ended differently in several shards counts as the worst of these.
_WORST_FIRST = (
    ListState.DENIED, ListState.INCOMPLETE, ListState.SUSPICIOUS, ListState.EMPTY
)  # fmt: skip


def _first(values: Sequence[Any]) -> Any:
    """A value that is the same in all shards."""
    return values[0]


def _union(values: Sequence[Sequence[str]]) -> list[str]:
    """Every text once, in the order of the shards."""
    return list(dict.fromkeys(chain(*values)))


def _or_none(merge: Merge) -> Merge:
    """Merges the values that are not None, if there are any."""

    def merge_present(values: Sequence[Any]) -> Any:
        present = [value for value in values if value is not None]
        return merge(present) if present else None

    return merge_present


def _sum_counts(values: Sequence[Counts]) -> dict[str, int]:
    # `+` of counters would drop names with a count of 0.
    total: Counter[str] = Counter()
    for value in values:
        total.update(value)
    return dict(total)


def _merge_failures(values: Sequence[Json]) -> dict[str, Any]:
    merged: dict[str, dict[str, Any]] = {}
    for kind, failure in (item for shard in values for item in shard.items()):
        if kind in merged:
            merged[kind]["count"] += failure["count"]
        else:
            merged[kind] = dict(failure)
    return dict(sorted(merged.items(), key=lambda item: -item[1]["count"]))


def _merge_lists(values: Sequence[Json]) -> dict[str, Any]:
    """Totals of listings; a catalog, which every shard reads, counts once."""
    return {
        str(ListKind.REPOSITORIES): _merge_catalogs(
            [shard[ListKind.REPOSITORIES] for shard in values]
        ),
        str(ListKind.TAGS): _sum_counts([shard[ListKind.TAGS] for shard in values]),
        "not_shown": sum(shard["not_shown"] for shard in values),
        "untagged_unknown": _sum_counts(
            [shard.get("untagged_unknown", {}) for shard in values]
        ),
    }


def _merge_catalogs(totals: Sequence[Json]) -> dict[str, Any]:
    merged = {key: max(one[key] for one in totals) for key in totals[0]}
    left = merged["lists"]
    for state in _WORST_FIRST:
        merged[state] = min(merged[state], left)
        left -= merged[state]
    merged[ListState.COMPLETE] = left
    sums = {key: sum(one[key] for one in totals) for key in ("filtered", "untagged")}
    return {**merged, **sums}


def _merge_listings(values: Sequence[Sequence[Json]]) -> list[Json]:
    """The listings one by one; a catalog, which every shard reads, is shown once."""
    merged: dict[object, Listing] = {}
    for number, entry in enumerate(entry for shard in values for entry in shard):
        listing = Listing.from_json(entry)
        is_catalog = listing.kind is ListKind.REPOSITORIES
        key = listing.selector if is_catalog else number
        if key in merged:
            merged[key].add_shard(listing)
        else:
            merged[key] = listing
    return [listing.to_json() for listing in merged.values()]


def _merge_rate_limits(values: Sequence[Sequence[Json]]) -> list[Json]:
    """The last rate limit of each registry: the one with the least remaining."""
    least: dict[str, Json] = {}
    rate_limits = (one for shard in values for one in shard)
    for one in sorted(rate_limits, key=lambda one: int(one["remaining"])):
        least.setdefault(one["registry"], one)
    return [least[registry] for registry in sorted(least)]


def _merge_unused_logins(values: Sequence[Sequence[Json]]) -> list[Json]:
    """The logins that no shard has used, each once."""
    unused = {(one["registry"], one["login"]): one for one in chain(*values)}
    return [unused[key] for key in sorted(unused)]


@dataclass(frozen=True, slots=True)
class SummaryField:
    """A field of the JSON form: its value for one run, and how values are merged.

    `merges_summaries`: `merge` gets the whole summaries of the shards, not the values.
    """

    name: str
    of_run: Callable[[Summary], Any]
    merge: Merge
    merges_summaries: bool = False

    def of_shards(self, summaries: Sequence[Json]) -> Any:
        """Its value for all shards."""
        if self.merges_summaries:
            return self.merge(summaries)
        return self.merge([shard[self.name] for shard in summaries])


def _attribute(name: str, merge: Merge, of: str | None = None) -> SummaryField:
    """A field that is an attribute of the run, by default that of the same name."""
    return SummaryField(name, attrgetter(of or name), merge)


def _counts(
    name: str, order: Callable[[Counts], dict[str, int]], of: str | None = None
) -> SummaryField:
    """A field of counts in this order, by default the attribute of the same name."""
    counts = attrgetter(of or name)
    return SummaryField(
        name, lambda run: order(counts(run)), lambda values: order(_sum_counts(values))
    )


def _object(name: str, *members: SummaryField) -> SummaryField:
    """A field that is an object with these members."""
    return SummaryField(
        name,
        lambda run: {member.name: member.of_run(run) for member in members},
        lambda values: {
            member.name: member.merge([value[member.name] for value in values])
            for member in members
        },
    )


SUMMARY_FIELDS: tuple[SummaryField, ...] = (
    SummaryField("schema", lambda _: SCHEMA, _first),
    SummaryField("kind", lambda _: "summary", _first),
    _attribute("started_at", min),
    _attribute("finished_at", max),
    SummaryField("duration_s", lambda run: round(run.duration_s, 3), max),
    _attribute("interrupted", any),
    _attribute("deadline_reached", any),
    _attribute("resumed", _or_none(_sum_counts)),
    _attribute("output", _first),
    _object(
        "references",
        _attribute("asked", sum),
        _attribute("all_listed", all),
        _attribute("duplicates", sum),
        _attribute("audited", sum, of="tally.audited"),
        _attribute("failed", sum, of="tally.failed"),
        _attribute("filtered", sum, of="tally.filtered"),
        _attribute("to_do", sum),
        _attribute("not_asked", sum, of="tally.not_asked"),
    ),
    SummaryField("failures", lambda run: _failures(run.tally), _merge_failures),
    _counts("content", _by_count, of="tally.content"),
    _counts("warnings", _by_count, of="tally.warnings"),
    _counts("architectures", _by_count, of="tally.architectures"),
    _counts("media_types", _by_count, of="tally.media_types"),
    SummaryField("lists", lambda run: run.listings.to_json(), _merge_lists),
    SummaryField(
        "listings",
        lambda run: [listing.to_json() for listing in run.listings.shown],
        _merge_listings,
    ),
    _counts("locations", _by_count, of="tally.locations"),
    SummaryField("registries_conf", lambda run: list(run.registries_conf), _union),
    _counts("requests", _by_name),
    _attribute("max_requests", _or_none(sum)),
    SummaryField(
        "unused_logins",
        lambda run: [
            {"registry": registry, "login": location}
            for registry, location in run.unused_logins
        ],
        _merge_unused_logins,
    ),
    SummaryField(
        "rate_limits",
        lambda run: [_rate_limit(*one) for one in run.rate_limits],
        _merge_rate_limits,
    ),
    SummaryField(
        "hosts",
        lambda run: [one.to_json() for one in run.hosts[:MAX_HOSTS]],
        merge_hosts,
        merges_summaries=True,
    ),
    SummaryField(
        "hosts_left_out",
        lambda run: max(0, len(run.hosts) - MAX_HOSTS),
        merge_hosts_left_out,
        merges_summaries=True,
    ),
    _counts("repeated", _by_name),
    _counts("saved", _by_name),
    # Set by `cli.side_outputs`: SBOMs are read after the report is complete.
    SummaryField("sboms", lambda _: None, _first),
    _counts("blobs", _by_name),
    _object("store", _attribute("damaged", sum), _attribute("not_stored", sum)),
)


def merge_summaries(summaries: Sequence[Json], *, output: str) -> dict[str, Any]:
    """The JSON form of a sharded audit's summary.

    Its times are the start of the first shard and the end of the last; `duration_s` is
    that of the slowest shard. Requests for a catalog count for each shard that read it;
    the catalog itself is shown once.
    """
    merged = {field.name: field.of_shards(summaries) for field in SUMMARY_FIELDS}
    return merged | {"output": output}


def add_failures(summary: Json, records: Sequence[FailureRecord]) -> dict[str, Any]:
    """A merged summary with failures that only the merge of all shards shows."""
    count = len(records)
    references = dict(summary["references"])
    references["asked"] += count
    references["failed"] += count
    failures = [{str(record.failure): _failure(1, record)} for record in records]
    kinds = {record.reference: str(record.failure) for record in records}
    return {
        **summary,
        "references": references,
        "failures": _merge_failures([summary["failures"], *failures]),
        "listings": [
            {**one, "failure": kinds.get(one["selector"], one["failure"])}
            for one in summary["listings"]
        ],
    }
