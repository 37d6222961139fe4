"""The summary of a run: proves that it is complete, and says what to act on.

`FIELDS` is what a summary holds as JSON: where each field comes from, and what those
of several shares come to. The file, the summary of merged shares (`combined.py`), the
lines for a person (`words.py`) and the metrics follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.model import SCHEMA, FailureRecord
from auditor.report.listing_stats import Listings
from auditor.reports.summary import shares
from auditor.reports.summary.tally import Tally
from auditor.wire.rate_limit import Allowance


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
    allowances: Sequence[tuple[str, Allowance]] = ()
    blobs: Mapping[str, int] = field(default_factory=dict)

    @property
    def to_do(self) -> int:
        """References asked for that have no record."""
        tally = self.tally
        return self.asked - tally.audited - tally.failed - tally.filtered

    def to_json(self) -> dict[str, Any]:
        """The summary file."""
        return {one.name: one.of_run(self) for one in FIELDS}


@dataclass(frozen=True, slots=True)
class Field:
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


def _allowance(registry: str, seen: Allowance) -> dict[str, Any]:
    return {
        "registry": registry,
        "limit": seen.limit,
        "remaining": seen.remaining,
        "window_s": seen.window_s,
        "counted_by": seen.counted_by,
    }


def _object(name: str, *fields: Field) -> Field:
    """A field that is an object of fields."""
    return Field(
        name,
        lambda run: {one.name: one.of_run(run) for one in fields},
        lambda told: {
            one.name: one.of_shares([share[one.name] for share in told])
            for one in fields
        },
    )


FIELDS: tuple[Field, ...] = (
    Field("schema", lambda _: SCHEMA, shares.first),
    Field("kind", lambda _: "summary", shares.first),
    Field("started_at", lambda run: run.started_at, min),
    Field("finished_at", lambda run: run.finished_at, max),
    Field("duration_s", lambda run: round(run.duration_s, 3), max),
    Field("interrupted", lambda run: run.interrupted, any),
    Field("deadline_reached", lambda run: run.deadline_reached, any),
    Field(
        "resumed",
        lambda run: asdict(run.resumed) if run.resumed else None,
        shares.counts_if_any,
    ),
    Field("output", lambda run: run.output, shares.first),
    _object(
        "references",
        Field("asked", lambda run: run.asked, sum),
        Field("all_listed", lambda run: run.all_listed, all),
        Field("duplicates", lambda run: run.duplicates, sum),
        Field("audited", lambda run: run.tally.audited, sum),
        Field("failed", lambda run: run.tally.failed, sum),
        Field("filtered", lambda run: run.tally.filtered, sum),
        Field("to_do", lambda run: run.to_do, sum),
        Field("not_asked", lambda run: run.tally.not_asked, sum),
    ),
    Field("failures", lambda run: _failures(run.tally), shares.failures),
    Field(
        "warnings", lambda run: shares.ranked(run.tally.warnings), shares.ranked_counts
    ),
    Field(
        "architectures",
        lambda run: shares.ranked(run.tally.architectures),
        shares.ranked_counts,
    ),
    Field(
        "media_types",
        lambda run: shares.ranked(run.tally.media_types),
        shares.ranked_counts,
    ),
    Field("lists", lambda run: run.listings.to_json(), shares.lists),
    Field(
        "listings",
        lambda run: [listing.to_json() for listing in run.listings],
        shares.listings,
    ),
    Field("requests", lambda run: shares.by_name(run.requests), shares.counts),
    Field("max_requests", lambda run: run.max_requests, shares.sum_if_any),
    Field(
        "allowances",
        lambda run: [_allowance(*one) for one in run.allowances],
        shares.allowances,
    ),
    Field("repeated", lambda run: shares.by_name(run.repeated), shares.counts),
    Field("saved", lambda run: shares.by_name(run.saved), shares.counts),
    Field("blobs", lambda run: shares.by_name(run.blobs), shares.counts),
    _object(
        "store",
        Field("damaged", lambda run: run.damaged, sum),
        Field("not_stored", lambda run: run.not_stored, sum),
    ),
)
