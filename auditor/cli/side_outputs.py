"""The side outputs of an audit: the summary and the metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditor.config import Settings
from auditor.errors import OutputError


def check_side_outputs(settings: Settings) -> None:
    """Raise an error before the audit if a side output cannot be written after it."""
    for path in (settings.summary, settings.metrics, settings.sbom):
        if path is not None:
            check_file(path)


def check_file(path: str) -> None:
    """Raise `OutputError` if no file can be written at `path`."""
    from auditor.util.atomic_file import is_special_file

    file = Path(path)
    folder = file.parent
    if is_special_file(file):
        return
    if os.path.isdir(file):  # noqa: PTH112
        reason = "it is a folder; give a file in it"
    elif not os.path.isdir(folder):  # noqa: PTH112  (for any text)
        reason = "its folder does not exist"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = "its folder is not writable"
    else:
        return
    raise OutputError(f"{path}: cannot be written: {reason}")


def write_side_outputs(settings: Settings, summary: Mapping[str, Any]) -> None:
    """Write the summary and the metrics to the files in the settings."""
    if settings.summary is not None:
        from auditor.report.summary import write_summary

        write_summary(settings.summary, summary)
    if settings.metrics is not None:
        from auditor.report.metrics import audit_metrics, write_textfile

        write_textfile(settings.metrics, audit_metrics(summary))
