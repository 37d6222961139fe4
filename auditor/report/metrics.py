"""Metrics of a run or a policy check, as a file for Prometheus.

All metrics are gauges: each run replaces the values of the last one. Every state,
failure and warning has a sample, 0 if it did not occur, so that alerts can resolve.

The file is for node_exporter's textfile collector (Prometheus text format 0.0.4). The
collector reads all `*.prom` files of a folder as one exposition, in which no sample may
occur twice: so each sample has the label `audit`, the file's name without `.prom`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from auditor.errors import FailureKind, OutputError
from auditor.fast_dataclass import dataclass
from auditor.model import WarningCode
from auditor.report.listing_stats import ListKind, ListState
from auditor.util.atomic_file import atomic_file
from auditor.util.text import safe_text
from auditor.version import __version__

# Registries choose these names, and each value is a time series that stays: the usual
# platforms and manifest types are two dozen.
MAX_LABEL_VALUES = 40
OTHER = "other"
NAME_LABEL = "audit"
# States of a listing from which nothing is missing.
_COMPLETE = frozenset({ListState.COMPLETE, ListState.EMPTY})


# Labels besides `audit`, and the HELP text. If files of one folder have different texts
# for a metric, as two versions of auditor write them, node_exporter drops the samples
# of all but one. So a text stays as it was released; a metric that means something else
# gets another name.
DEFINITIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "auditor_run_info": (
        ("version",),
        "Always 1; the version of auditor is a label.",
    ),
    "auditor_run_started_timestamp_seconds": (
        (),
        "When the last run started.",
    ),
    "auditor_run_finished_timestamp_seconds": (
        (),
        "When the last run ended.",
    ),
    "auditor_run_duration_seconds": (
        (),
        "How long the last run took.",
    ),
    "auditor_run_complete": (
        (),
        "1 if all listings were read completely, all references requested; else 0.",
    ),
    "auditor_references": (
        ("state",),
        "References of the last run by outcome.",
    ),
    "auditor_references_not_asked": (
        (),
        "References not requested because of a limit or a registry that is down.",
    ),
    "auditor_rate_limit_remaining": (
        ("registry",),
        "Requests left in the rate limit of a registry.",
    ),
    "auditor_requests_at_once": (
        ("host",),
        "Concurrent requests that a host was sent at the end of the last run, "
        "by all processes or shards together.",
    ),
    "auditor_requests_at_once_highest": (
        ("host",),
        "The most concurrent requests to a host; an upper bound with several "
        "processes or shards.",
    ),
    "auditor_requests_at_once_moves": (
        ("host", "cause"),
        "How often the limit of concurrent requests to a host moved, by cause.",
    ),
    "auditor_requests_per_second": (
        ("host",),
        "The pace of requests that was learned for a host at the end of the last run; "
        "no value without one.",
    ),
    "auditor_round_trip_seconds": (
        ("host",),
        "Round trips of a host at the end of the last run.",
    ),
    "auditor_round_trip_min_seconds": (
        ("host",),
        "Round trips of a host without a queue.",
    ),
    "auditor_failures": (
        ("failure", "blame"),
        "References that failed, by failure and by who can fix it.",
    ),
    "auditor_warnings": (
        ("code",),
        "Warnings in records, by code.",
    ),
    "auditor_listings": (
        ("state",),
        "Listings of repositories and tags by how they ended.",
    ),
    "auditor_architectures": (
        ("architecture",),
        "Images that have an architecture.",
    ),
    "auditor_media_types": (
        ("media_type",),
        "References by the media type of their manifest.",
    ),
    "auditor_sboms": (
        ("state",),
        "Attached SBOMs by how reading them ended; no value without a new file.",
    ),
    "auditor_requests": (
        ("kind",),
        "HTTP requests of the last run, by kind.",
    ),
    "auditor_saved_requests": (
        ("reason",),
        "Requests that were not needed, by reason.",
    ),
    "auditor_check_finished_timestamp_seconds": (
        (),
        "When the last check ended.",
    ),
    "auditor_check_violations": (
        ("rule",),
        "Violations of the policy that are not waived, by rule.",
    ),
    "auditor_check_waived": (
        ("rule",),
        "Violations of the policy that are waived, by rule.",
    ),
    "auditor_night_finished_timestamp_seconds": (
        (),
        "When the last night ended, also if it failed.",
    ),
    "auditor_night_exit_code": (
        (),
        "The exit code of the last night.",
    ),
    "auditor_night_complete": (
        (),
        "1 if the last night is complete, else 0.",
    ),
    "auditor_night_changes": (
        ("change",),
        "Differences from the previous complete night, by change; no value if the"
        " night was compared with none.",
    ),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A gauge of `DEFINITIONS`: its name with unit, and its values by label values."""

    name: str
    values: Mapping[tuple[str, ...], float]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the label values."""
        return DEFINITIONS[self.name][0]

    @property
    def help(self) -> str:
        """What it means, in a sentence."""
        return DEFINITIONS[self.name][1]


def audit_metrics(summary: Mapping[str, Any]) -> list[Metric]:
    """The metrics of an audit, from the JSON form of its summary."""
    references, lists = summary["references"], summary["lists"]
    failures = {kind: one["count"] for kind, one in summary["failures"].items()}
    warnings = dict.fromkeys(WarningCode, 0) | summary["warnings"]
    states = {
        state: sum(lists[kind][state] for kind in ListKind) for state in ListState
    }
    complete = (
        references["all_listed"]
        and not references["to_do"]
        and not summary["interrupted"]
        and FailureKind.INTERRUPTED not in failures
        and not references["not_asked"]
        and not any(states[state] for state in states.keys() - _COMPLETE)
    )
    return [
        _counts("auditor_run_info", {__version__: 1}),
        _one("auditor_run_started_timestamp_seconds", _epoch(summary["started_at"])),
        _one("auditor_run_finished_timestamp_seconds", _epoch(summary["finished_at"])),
        _one("auditor_run_duration_seconds", summary["duration_s"]),
        _one("auditor_run_complete", complete),
        _counts(
            "auditor_references",
            {state: references[state] for state in ("audited", "failed", "to_do")},
        ),
        _one("auditor_references_not_asked", references["not_asked"]),
        _counts(
            "auditor_rate_limit_remaining",
            {one["registry"]: one["remaining"] for one in summary["rate_limits"]},
        ),
        *_host_metrics(summary.get("hosts", ())[:MAX_LABEL_VALUES]),
        Metric(
            "auditor_failures",
            {
                (kind.value, kind.blame.value): failures.get(kind, 0)
                for kind in FailureKind
            },
        ),
        _counts("auditor_warnings", warnings),
        _counts("auditor_listings", states),
        _counts("auditor_architectures", _capped(summary["architectures"])),
        _counts("auditor_media_types", _capped(summary["media_types"])),
        _counts("auditor_sboms", _sboms(summary.get("sboms"))),
        _counts("auditor_requests", summary["requests"]),
        _counts("auditor_saved_requests", summary["saved"]),
    ]


def _sboms(sboms: Mapping[str, int] | None) -> dict[str, int]:
    """SBOMs by state, from the summary."""
    if sboms is None or not sboms["written"]:
        return {}
    return {state: sboms[state] for state in ("read", "unreadable", "failed")}


def _host_metrics(hosts: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """The concurrent requests to each host; no round trip where none is known."""
    by_name = {safe_text(one["host"]): one for one in hosts}

    def seconds(key: str) -> dict[str, float]:
        return {
            name: one[key] / 1000
            for name, one in by_name.items()
            if one[key] is not None
        }

    def values(key: str) -> dict[str, float]:
        return {name: one[key] for name, one in by_name.items()}

    paces = {
        name: pace
        for name, one in by_name.items()
        if (pace := one.get("per_second")) is not None
    }
    return [
        _counts("auditor_requests_at_once", values("limit")),
        _counts("auditor_requests_at_once_highest", values("highest")),
        Metric(
            "auditor_requests_at_once_moves",
            {
                (name, cause): count
                for name, one in sorted(by_name.items())
                for cause, count in one["moves"].items()
            },
        ),
        _counts("auditor_requests_per_second", paces),
        _counts("auditor_round_trip_seconds", seconds("round_trip_ms")),
        _counts("auditor_round_trip_min_seconds", seconds("round_trip_min_ms")),
    ]


def check_metrics(
    *,
    violations: Mapping[str, int],
    waived: Mapping[str, int],
    finished_at: str,
) -> list[Metric]:
    """The metrics of a policy check: counts by rule, 0 for a rule that is met.

    `finished_at` is RFC 3339.
    """
    return [
        _one("auditor_check_finished_timestamp_seconds", _epoch(finished_at)),
        _counts("auditor_check_violations", violations),
        _counts("auditor_check_waived", waived),
    ]


def night_metrics(
    *,
    exit_code: int,
    finished_s: float,
    complete: bool,
    changes: Mapping[str, int] | None,
) -> list[Metric]:
    """The metrics of a whole night; `finished_s` is in epoch seconds.

    `changes` is None if the night was compared with no other one: 0 would say that
    nothing has changed.
    """
    return [
        _one("auditor_night_finished_timestamp_seconds", finished_s),
        _one("auditor_night_exit_code", exit_code),
        _one("auditor_night_complete", complete),
        _counts("auditor_night_changes", changes or {}),
    ]


def _capped(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent names; all others are added up as `OTHER`."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    top = {safe_text(name): count for name, count in ranked[:MAX_LABEL_VALUES]}
    rest = sum(counts.values()) - sum(top.values())
    return top | ({OTHER: rest + top.get(OTHER, 0)} if rest else {})


def _counts(name: str, counts: Mapping[Any, float]) -> Metric:
    return Metric(name, {(str(key),): counts[key] for key in sorted(counts)})


def _one(name: str, value: float) -> Metric:
    return Metric(name, {(): value})


def _epoch(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()


def render_textfile(metrics: Iterable[Metric], *, name: str) -> bytes:
    """The exposition of metrics, each with the label `audit=name`."""
    registry = CollectorRegistry()
    for metric in metrics:
        labels = NAME_LABEL, *metric.labels
        gauge = Gauge(metric.name, metric.help, labels, registry=registry)
        for label_values, value in metric.values.items():
            gauge.labels(name, *label_values).set(value)
    return generate_latest(registry)


def write_textfile(path: str, metrics: Iterable[Metric]) -> None:
    """Write the metrics file atomically; every user can read it, as node_exporter must.

    Raises `OutputError`.
    """
    final = Path(path)
    text = render_textfile(metrics, name=final.name.removesuffix(".prom"))
    try:
        # The collector ignores the temporary file, which does not end in `.prom`.
        with atomic_file(final, public=True) as stream:
            stream.write(text)
    except OSError as error:
        raise OutputError(
            f"{safe_text(path)}: the metrics cannot be written: {error.strerror}"
        ) from None
