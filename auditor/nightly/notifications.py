"""Tells others about a night: metrics, notifications, command, dead man's switch.

An `Announcer` needs no state folder: a night is announced also if its folder cannot be
opened, or if only a part of the configuration could be read. Nothing here fails a
night; what went wrong is added to `warnings`, or returned as a sentence.

Notifications go through apprise, which knows a hundred services by their URLs. Metrics
go to an OpenTelemetry collector, OTLP over HTTP. The library reads
`OTEL_EXPORTER_OTLP_HEADERS` and the other variables of the OTLP exporter specification,
such as those of certificates.
"""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from auditor.analysis.diff import Change
from auditor.config import NightlySettings, NotifyOn, NotifySettings
from auditor.errors import ExitCode, OutputError
from auditor.nightly.night_folder import Night, NightFolder, failed_start
from auditor.nightly.night_text import failure_text, headline
from auditor.nightly.run_after import run_command
from auditor.report.metrics import (
    NAME_LABEL,
    Metric,
    night_metrics,
    render_textfile,
    write_textfile,
)
from auditor.util.clock import rfc3339
from auditor.util.text import format_count, how_to_install, safe_text, safe_url
from auditor.version import __version__

# Of a person at the keyboard, or of a machine that is shut down: the night goes on.
_INTERRUPTED = {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED}
# A service that is asked at the end of a night has this long to answer, in seconds.
TIMEOUT_S = 30.0
# With the retries of the library, which tries again while a collector is unavailable.
OTLP_TIMEOUT_S = 10.0


class Announcer:
    """Announces the start and the end of a night, as its settings ask for."""

    def __init__(
        self,
        settings: NightlySettings,
        *,
        metrics: str | None,
        environment: Mapping[str, str],
        now: Callable[[], float],
    ) -> None:
        """`metrics` is the metrics file; `now` returns epoch seconds."""
        self._settings = settings
        self._metrics = metrics
        self._environment = environment
        self._now = now
        self.warnings: list[str] = []

    def started(self) -> None:
        """Ping the dead man's switch: a night begins."""
        self._ping("/start")

    def write_metrics(self, night: Night, metrics: Sequence[Metric]) -> bool:
        """Write the metrics file; False if that is impossible.

        The file is outside of the folder: it must not hold up the nights to come.
        """
        if self._metrics is None:
            return True
        try:
            write_textfile(self._metrics, [*metrics, *self._night_metrics(night)])
        except OutputError as error:
            self.warn(str(error))
            return False
        return True

    def push(self, night: Night, metrics: Sequence[Metric]) -> None:
        """Send the metrics of the night with its last exit code to the URLs."""
        name, settings = "nightly", self._settings
        if self._metrics is not None:
            name = Path(self._metrics).name.removesuffix(".prom")
        metrics = [*metrics, *self._night_metrics(night)]
        if settings.push_url is not None:
            text = render_textfile(metrics, name=name)
            problem = _push_metrics(settings.push_url, text, job=f"auditor-{name}")
            self.warn(problem)
        if settings.otlp_url is not None:
            problem = _export_metrics(settings.otlp_url, metrics, name=name)
            if problem is not None:
                self.warn(f"otlp_url: {_origin(settings.otlp_url)} {problem}")

    def finished(self, night: Night, text: str) -> Night:
        """Run the command, notify and ping; return the night with the outcome."""
        if self._settings.run_after:
            self.warn(
                run_command(self._settings.run_after, night, self._settings.folder)
            )
        notify = self._settings.notify
        if notify is not None and _is_news(night, notify.on):
            problem = _send_notification(
                notify,
                title=f"auditor: {headline(night)}",
                markdown=text,
                environment=self._environment,
            )
            self.warn(problem)
            night = replace(night, notified=problem is None)
        event = "" if night.exit_code == ExitCode.OK else "/fail"
        self._ping(event, headline(night))
        return night

    def failed(
        self, code: int, sentence: str, folder: NightFolder | None
    ) -> Sequence[str]:
        """Announce that an exit code of 2 or more ended the night; return warnings.

        It is recorded in the folder, if that could be opened. An interrupted night is
        continued: no command is run for it, no notification sent.
        """
        del self.warnings[:]
        night = failed_start(rfc3339(self._now()), code, sentence)
        if folder is not None:
            night = folder.record_failure(night)
        # The error that ended the night is printed; this may be the same again.
        self.write_metrics(night, ())
        self.push(night, ())
        if code in _INTERRUPTED:
            self._ping("/fail", headline(night))
        else:
            self.finished(night, failure_text(night))
        return self.warnings

    def warn(self, problem: str | None) -> None:
        """Add a warning, if there is a problem."""
        if problem is not None:
            self.warnings.append(f"warning: {problem}")

    def _ping(self, event: str, sentence: str = "") -> None:
        if self._settings.ping_url is not None:
            body = sentence.encode()
            self.warn(ping(self._settings.ping_url, event, body=body))

    def _night_metrics(self, night: Night) -> list[Metric]:
        return night_metrics(
            exit_code=night.exit_code or 0,
            finished_s=self._now(),
            complete=night.complete,
            changes=None
            if night.changes is None
            else {
                change.value: night.changes.get(change.value, 0)
                for change in Change
                if change.is_difference
            },
        )


def _is_news(night: Night, on: NotifyOn) -> bool:
    if on is NotifyOn.ALWAYS:
        return True
    if night.exit_code != ExitCode.OK:
        return True
    return on is NotifyOn.CHANGE and bool(night.changes)


def _send_notification(
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


def _push_metrics(url: str, textfile: bytes, *, job: str) -> str | None:
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
        return f"{what}: {_origin(url)} answered {error.code}"
    except http.client.HTTPException:
        return f"{what}: {_origin(url)} does not answer in HTTP"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{what}: {_origin(url)} cannot be reached: {safe_text(str(reason))}"


def _origin(url: str) -> str:
    """The part of a URL that is no secret: ping URLs contain the key in their path."""
    return "/".join(safe_url(url).split("/")[:3])


def _export_metrics(url: str, metrics: Iterable[Metric], *, name: str) -> str | None:
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
