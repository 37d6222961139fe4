"""What is written beside a report: the summary and the metrics of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.cli.extras import extras
from auditor.config import Settings
from auditor.errors import OutputError


def check_beside(settings: Settings) -> None:
    """Raise `OutputError` if there is no folder for what is to be written."""
    for path in (settings.summary, settings.metrics):
        if path is not None:
            check_folder(path)


def check_folder(path: str) -> None:
    """Raise `OutputError` if no file can be written there, before anything is done."""
    if not Path(path).parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no such folder")


def write_beside(settings: Settings, summary: Mapping[str, Any]) -> None:
    """Write what the settings name."""
    if settings.summary is not None:
        from auditor.reports.summary.file import write_summary

        write_summary(settings.summary, summary)
    if settings.metrics is not None:
        with extras():
            from auditor.reports.metrics import audit_metrics
            from auditor.reports.textfile import write_textfile

            write_textfile(settings.metrics, audit_metrics(summary))
