"""Tells others about a night: metrics, notification, command, dead man's switch.

An `Announcer` needs no state folder: a night is announced also if its folder cannot be
opened, or if only a part of the configuration could be read. Nothing here fails a
night; what went wrong is added to `warnings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from auditor.analysis.diff import Change
from auditor.config import NightlySettings, NotifyOn
from auditor.errors import ExitCode, OutputError
from auditor.nightly import notifications
from auditor.nightly.night_folder import Night, NightFolder, failed_start
from auditor.nightly.night_text import failure_text, headline
from auditor.nightly.notifications import export_metrics, origin
from auditor.nightly.run_after import run_command
from auditor.report.metrics import (
    Metric,
    night_metrics,
    render_textfile,
    write_textfile,
)
from auditor.util.clock import rfc3339

# Of a person at the keyboard, or of a machine that is shut down: the night goes on.
_INTERRUPTED = {ExitCode.HANGUP, ExitCode.INTERRUPTED, ExitCode.TERMINATED}


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
            problem = notifications.push_metrics(
                settings.push_url, text, job=f"auditor-{name}"
            )
            self.warn(problem)
        if settings.otlp_url is not None:
            problem = export_metrics(settings.otlp_url, metrics, name=name)
            if problem is not None:
                self.warn(f"otlp_url: {origin(settings.otlp_url)} {problem}")

    def finished(self, night: Night, text: str) -> Night:
        """Run the command, notify and ping; return the night with the outcome."""
        if self._settings.run_after:
            self.warn(
                run_command(self._settings.run_after, night, self._settings.folder)
            )
        notify = self._settings.notify
        if notify is not None and _is_news(night, notify.on):
            problem = notifications.send_notification(
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
        # The error that ended the night is told; this may be the same once more.
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
            self.warn(notifications.ping(self._settings.ping_url, event, body=body))

    def _night_metrics(self, night: Night) -> list[Metric]:
        return night_metrics(
            exit_code=night.exit_code or 0,
            finished_s=self._now(),
            complete=night.complete,
            changes={
                change.value: (night.changes or {}).get(change.value, 0)
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
