"""What is written beside a report: the summary and the metrics of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.cli.extras import extras
from auditor.config import Settings
from auditor.errors import OutputError


def check_beside(settings: Settings) -> None:
    """Raise `OutputError` where what is to be written cannot be, and `UsageError` where
    what writes it is not installed: before the work, not after a night of it."""
    for path in (settings.summary, settings.metrics):
        if path is not None:
            check_file(path)
    if settings.metrics is not None:
        with extras("--metrics"):
            import prometheus_client  # noqa: F401


def check_file(path: str) -> None:
    """Raise `OutputError` if no file can be written there, before anything is done."""
    from auditor.util.atomic_file import is_special_file

    file = Path(path)
    folder = file.parent
    if is_special_file(file):
        return
    if os.path.isdir(file):  # noqa: PTH112
        reason = "it is a folder; name a file in it"
    elif not os.path.isdir(folder):  # noqa: PTH112  (what cannot be a name is none)
        reason = "there is no such folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = "nothing can be written in its folder"
    else:
        return
    raise OutputError(f"{path}: cannot be written: {reason}")


def write_beside(settings: Settings, summary: Mapping[str, Any]) -> None:
    """Write what the settings name."""
    if settings.summary is not None:
        from auditor.report.summary import write_summary

        write_summary(settings.summary, summary)
    if settings.metrics is not None:
        with extras("--metrics"):
            from auditor.report.metrics import audit_metrics, write_textfile

            write_textfile(settings.metrics, audit_metrics(summary))
