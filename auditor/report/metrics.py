"""What a run came to, as Prometheus metrics.

They are gauges: each run replaces what the last one said. Every state, failure and
warning has a sample, 0 where there is none, so that alerts see it come and go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from auditor.errors import FailureKind, OutputError
from auditor.fast_dataclass import dataclass
from auditor.model import WarningCode
from auditor.report.listing_stats import ListKind, ListState
from auditor.util.atomic_file import atomic_file
from auditor.util.text import safe_text
from auditor.version import __version__

# Registries decide these names, and each value is a time series for ever: the usual
# platforms and manifest types are two dozen.
MAX_LABEL_VALUES = 40
OTHER = "other"
# How a list ended of which nothing is missing.
_WHOLE = frozenset({ListState.COMPLETE, ListState.EMPTY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value. `labels` may be empty."""

    labels: Mapping[str, str] = field(default_factory=dict)
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A gauge: its name with its unit, what it says, and its samples."""

    name: str
    help: str
    samples: tuple[Sample, ...]


def audit_metrics(summary: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The metrics of an audit, from what its summary file says."""
    references = summary["references"]
    failures = {kind: one["count"] for kind, one in summary["failures"].items()}
    states = Counter(
        {
            state: sum(summary["lists"][kind][state] for kind in ListKind)
            for state in ListState
        }
    )
    complete = (
        references["all_listed"]
        and not references["to_do"]
        and not summary["interrupted"]
        and FailureKind.INTERRUPTED not in failures
        and not references["not_asked"]
        and not any(states[state] for state in set(ListState) - _WHOLE)
    )
    return (
        _gauge(
            "auditor_run_info",
            "Always 1; the version of auditor is a label.",
            [Sample(labels={"version": __version__}, value=1)],
        ),
        _one(
            "auditor_run_started_timestamp_seconds",
            "When the last run started.",
            _epoch(summary["started_at"]),
        ),
        _one(
            "auditor_run_finished_timestamp_seconds",
            "When the last run ended.",
            _epoch(summary["finished_at"]),
        ),
        _one(
            "auditor_run_duration_seconds",
            "How long the last run took.",
            summary["duration_s"],
        ),
        _one(
            "auditor_run_complete",
            "1 if everything asked for was listed whole and looked for, else 0.",
            complete,
        ),
        _counts(
            "auditor_references",
            "References of the last run by what became of them.",
            "state",
            {state: references[state] for state in ("audited", "failed", "to_do")},
        ),
        _one(
            "auditor_references_not_asked",
            "References that a limit or a dead registry left to do.",
            references["not_asked"],
        ),
        _gauge(
            "auditor_allowance_remaining",
            "Requests that a registry said last it still grants.",
            [
                Sample(labels={"registry": one["registry"]}, value=one["remaining"])
                for one in summary["allowances"]
            ],
        ),
        _gauge(
            "auditor_failures",
            "References that failed, by failure and by who has to act on it.",
            [
                Sample(
                    labels={"failure": kind.value, "blame": kind.blame.value},
                    value=failures.get(kind, 0),
                )
                for kind in FailureKind
            ],
        ),
        _counts(
            "auditor_warnings",
            "Warnings in records, by code.",
            "code",
            {code.value: summary["warnings"].get(code, 0) for code in WarningCode},
        ),
        _counts(
            "auditor_listings",
            "Lists of repositories and tags that were read, by how they ended.",
            "state",
            {str(state): states[state] for state in ListState},
        ),
        _counts(
            "auditor_architectures",
            "References that hold an architecture.",
            "architecture",
            _capped(summary["architectures"]),
        ),
        _counts(
            "auditor_media_types",
            "References by the media type of their manifest.",
            "media_type",
            _capped(summary["media_types"]),
        ),
        _counts(
            "auditor_requests",
            "HTTP requests of the last run, by kind.",
            "kind",
            summary["requests"],
        ),
        _counts(
            "auditor_saved_requests",
            "Requests that were not sent because the content was known.",
            "what",
            summary["saved"],
        ),
    )


def check_metrics(
    *,
    violations: Mapping[str, int],
    waived: Mapping[str, int],
    finished_at: str,
) -> tuple[Metric, ...]:
    """The metrics of a policy check: counts by rule, with a 0 for each that is met.

    `finished_at` is RFC 3339.
    """
    return (
        _one(
            "auditor_check_finished_timestamp_seconds",
            "When the last check ended.",
            _epoch(finished_at),
        ),
        _counts(
            "auditor_check_violations",
            "Violations of the policy that are not waived, by rule.",
            "rule",
            violations,
        ),
        _counts(
            "auditor_check_waived",
            "Violations of the policy that are waived, by rule.",
            "rule",
            waived,
        ),
    )


def _capped(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent values by name; all others together are `other`."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = {safe_text(name): count for name, count in ranked[:MAX_LABEL_VALUES]}
    rest = sum(counts.values()) - sum(found.values())
    return found | ({OTHER: rest + found.get(OTHER, 0)} if rest else {})


def _counts(name: str, help_: str, label: str, counts: Mapping[str, int]) -> Metric:
    return _gauge(
        name,
        help_,
        (
            Sample(labels={label: str(key)}, value=count)
            for key, count in sorted(counts.items())
        ),
    )


def _one(name: str, help_: str, value: float) -> Metric:
    return _gauge(name, help_, [Sample(value=float(value))])


def _gauge(name: str, help_: str, samples: Iterable[Sample]) -> Metric:
    return Metric(name=name, help=help_, samples=tuple(samples))


def _epoch(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()


# -- textfile --
# Metrics as a file for node_exporter's textfile collector.
#
# Prometheus text format 0.0.4. The collector reads every `*.prom` of a folder as one
# exposition, in which no sample may come twice: so each has the label `audit`, the file's
# name without `.prom`, and audits of one machine write into one folder.

NAME_LABEL = "audit"


class _Given(Collector):
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families


def render_textfile(metrics: Iterable[Metric], *, name: str) -> bytes:
    """The text of metrics that all get `audit=name`."""
    registry = CollectorRegistry()
    registry.register(_Given([_family(metric, name) for metric in metrics]))
    return generate_latest(registry)


def write_textfile(path: str, metrics: Iterable[Metric]) -> None:
    """Write the file at once: a collector never reads a part of it.

    Raises `OutputError`.
    """
    final = Path(path)
    text = render_textfile(metrics, name=final.name.removesuffix(".prom"))
    try:
        # The collector skips what does not end in `.prom`.
        with atomic_file(final) as stream:
            stream.write(text)
    except OSError as error:
        raise OutputError(
            f"{safe_text(path)}: the metrics cannot be written: {error.strerror}"
        ) from None


def _family(metric: Metric, name: str) -> GaugeMetricFamily:
    labels = tuple(metric.samples[0].labels) if metric.samples else ()
    family = GaugeMetricFamily(metric.name, metric.help, labels=(NAME_LABEL, *labels))
    for sample in metric.samples:
        values = [sample.labels[label] for label in labels]
        family.add_metric([name, *values], sample.value)
    return family
