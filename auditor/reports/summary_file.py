"""The summary of a run, or the forecast of one, as a file."""

from __future__ import annotations

from pathlib import Path

import orjson

from auditor.errors import OutputError
from auditor.reports.forecast import Forecast
from auditor.reports.summary import Summary
from auditor.reports.whole_file import whole_file


def write_summary(path: str, summary: Summary | Forecast) -> None:
    """Write the summary as JSON. Raises `OutputError`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        with whole_file(Path(path)) as stream:
            stream.write(orjson.dumps(summary.to_json(), option=options))
    except OSError as error:
        raise OutputError(
            f"{path}: the summary cannot be written: {error.strerror}"
        ) from None
