"""What a night sends: notifications, the ping of a dead man's switch, a push, metrics.

Nothing here fails a night. Each function returns a sentence about what went wrong, or
None. Notifications go through apprise, which knows a hundred services by their URLs.

Metrics go to an OpenTelemetry collector, OTLP over HTTP. The library reads
`OTEL_EXPORTER_OTLP_HEADERS` and the other variables of the OTLP exporter specification,
such as those of certificates.
"""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from auditor.config import NotifySettings
from auditor.report.metrics import NAME_LABEL, Metric
from auditor.util.text import format_count, how_to_install, safe_text, safe_url
from auditor.version import __version__

# A service that is asked at the end of a night has this long to answer, in seconds.
TIMEOUT_S = 30.0


def send_notification(
    settings: NotifySettings,
    *,
    title: str,
    markdown: str,
    environment: Mapping[str, str],
) -> str | None:
    """Send the text to every URL of the settings; return what went wrong."""
    urls, problem = _urls(settings, environment)
    if problem is not None:
        return f"no notification was sent: {problem}"
    try:
        refused, failed = _send(urls, title=title, markdown=markdown)
    except ModuleNotFoundError:
        return (
            "no notification was sent: apprise is not installed:"
            f" {how_to_install('apprise')}"
        )
    source = settings.urls_env or settings.urls_file
    if refused:
        return (
            f"{format_count(refused, 'notification URL')} in {source} not understood;"
            " see apprise's list of services"
        )
    if failed:
        return (
            f"{format_count(failed, 'notification')} of {len(urls)} (from {source})"
            " not delivered"
        )
    return None


def _send(urls: Sequence[str], *, title: str, markdown: str) -> tuple[int, int]:
    """Send to every URL; the numbers of URLs not understood and not delivered."""
    refused = failed = 0
    with warnings.catch_warnings():
        # The library's own: it imports modules that Python has deprecated.
        warnings.simplefilter("ignore")
        import apprise  # noqa: PLC0415  (an extra)

        # It logs URLs, which contain tokens.
        logging.getLogger("apprise").disabled = True
        for url in urls:
            service = apprise.Apprise()
            if not service.add(url):
                refused += 1
            elif not service.notify(
                title=title, body=markdown, body_format=apprise.NotifyFormat.MARKDOWN
            ):
                failed += 1
    return refused, failed


def _urls(
    settings: NotifySettings, environment: Mapping[str, str]
) -> tuple[list[str], str | None]:
    """The URLs, separated by white space, and what is wrong with their source."""
    text = ""
    if settings.urls_env is not None:
        text += environment.get(settings.urls_env, "")
        if not text.strip() and settings.urls_file is None:
            return [], f"the environment variable {settings.urls_env} is not set"
    if settings.urls_file is not None:
        try:
            text += "\n" + Path(settings.urls_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            return [], f"{safe_text(settings.urls_file)} cannot be read: {reason}"
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    urls = [url for line in lines for url in line.split()]
    source = settings.urls_file or settings.urls_env
    return urls, None if urls else f"{source} contains no URL"


def ping(url: str, event: str = "", *, body: bytes = b"") -> str | None:
    """Ping a dead man's switch: `/start`, "" (success) or `/fail`.

    The paths are those of Healthchecks ("Pinging API"), which other services have, too.
    """
    return _request(_below(url, event), "POST", body, what="ping_url")


def push_metrics(url: str, textfile: bytes, *, job: str) -> str | None:
    """Replace the metrics of a job in a Prometheus Pushgateway."""
    target = _below(url, f"/metrics/job/{quote(job, safe='')}")
    return _request(target, "PUT", textfile, what="push_url")


def _below(url: str, path: str) -> str:
    """The URL with more of a path; its query stays behind the path (RFC 3986, 3)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def _request(url: str, method: str, body: bytes, *, what: str) -> str | None:
    request = urllib.request.Request(  # noqa: S310  (the settings allow http and https)
        url,
        data=body,
        method=method,
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"{what}: {origin(url)} answered {error.code}"
    except http.client.HTTPException:
        return f"{what}: {origin(url)} does not answer in HTTP"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{what}: {origin(url)} cannot be reached: {safe_text(str(reason))}"


def origin(url: str) -> str:
    """The part of a URL that is no secret: ping URLs contain the key in their path."""
    return "/".join(safe_url(url).split("/")[:3])


# -- metrics ---------------------------------------------------------------------------

# With the retries of the library, which tries again while a collector is unavailable.
OTLP_TIMEOUT_S = 10.0


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
            exporter = OTLPMetricExporter(endpoint=url, timeout=OTLP_TIMEOUT_S)
            result = exporter.export(data)
            exporter.shutdown()
        except (OSError, ValueError) as error:  # of a certificate, for example
            return safe_text(f"cannot be used: {error}")
    return None if result is MetricExportResult.SUCCESS else "took no metrics"
