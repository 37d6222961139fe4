"""The summary of a run, or the forecast of one, as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from auditor.errors import OutputError
from auditor.util.atomic_file import whole_file


def write_summary(path: str, summary: Mapping[str, Any]) -> None:
    """Write what the summary says as JSON. Raises `OutputError`."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        with whole_file(Path(path)) as stream:
            stream.write(orjson.dumps(summary, option=options))
    except OSError as error:
        raise OutputError(
            f"{path}: the summary cannot be written: {error.strerror}"
        ) from None
