"""Sends the metrics of a night to an OpenTelemetry collector, OTLP over HTTP.

The library reads `OTEL_EXPORTER_OTLP_HEADERS` and the other variables of the OTLP
exporter specification, such as those of certificates.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable

from auditor.report.metrics import NAME_LABEL, Metric
from auditor.util.missing_package import how_to_install
from auditor.util.text import safe_text
from auditor.version import __version__

# With the retries of the library, which tries again while a collector is unavailable.
TIMEOUT_S = 10.0


def export_metrics(url: str, metrics: Iterable[Metric], *, name: str) -> str | None:
    """Send gauges to a URL such as `http://collector:4318/v1/metrics`, once.

    Each has the attribute `audit=name`. Returns what went wrong, without the URL.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415  (an extra)
                OTLPMetricExporter,
            )
            from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
            from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
                InMemoryMetricReader,
                MetricExportResult,
            )
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        except ModuleNotFoundError:
            package = "opentelemetry-exporter-otlp-proto-http"
            return f"opentelemetry is not installed: {how_to_install(package)}"
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it logs URLs
        reader = InMemoryMetricReader()
        provider = MeterProvider(
            [reader],
            resource=Resource.create({"service.name": "auditor"}),
            shutdown_on_exit=False,
        )
        meter = provider.get_meter("auditor", __version__)
        for metric in metrics:
            gauge = meter.create_gauge(metric.name, description=metric.help)
            for values, value in metric.values.items():
                labels = dict(zip(metric.labels, values, strict=True))
                gauge.set(float(value), {NAME_LABEL: name, **labels})
        data = reader.get_metrics_data()
        provider.shutdown()
        assert data is not None
        try:
            exporter = OTLPMetricExporter(endpoint=url, timeout=TIMEOUT_S)
            result = exporter.export(data)
            exporter.shutdown()
        except (OSError, ValueError) as error:  # of a certificate, for example
            return safe_text(f"cannot be used: {error}")
    return None if result is MetricExportResult.SUCCESS else "took no metrics"
