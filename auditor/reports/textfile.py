"""Metrics as a file for node_exporter's textfile collector.

Prometheus text format 0.0.4. The collector reads every `*.prom` of a folder as one
exposition, in which no sample may come twice: so each has the label `audit`, the file's
name without `.prom`, and audits of one machine write into one folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from auditor.errors import OutputError
from auditor.report.metrics import Metric
from auditor.util.atomic_file import whole_file
from auditor.util.text import safe_text

NAME_LABEL = "audit"


class _Given(Collector):
    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families


def textfile(metrics: Iterable[Metric], *, name: str) -> bytes:
    """The text of metrics that all get `audit=name`."""
    registry = CollectorRegistry()
    registry.register(_Given([_family(metric, name) for metric in metrics]))
    return generate_latest(registry)


def write_textfile(path: str, metrics: Iterable[Metric]) -> None:
    """Write the file at once: a collector never reads a part of it.

    Raises `OutputError`.
    """
    final = Path(path)
    text = textfile(metrics, name=final.name.removesuffix(".prom"))
    try:
        # The collector skips what does not end in `.prom`.
        with whole_file(final) as stream:
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
