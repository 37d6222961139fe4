"""The JSON Schema of the lines of a report."""

from __future__ import annotations

from typing import Any

from auditor.model import SCHEMA, FailureRecord, ImageRecord
from auditor.report.field_help import FIELD_HELP
from auditor.report.shapes import LayerRow, PlatformRow
from auditor.util.json_schema import json_schema


def report_schema() -> dict[str, Any]:
    """The JSON Schema that every line of a report of any shape conforms to."""
    return json_schema(
        ImageRecord,
        FailureRecord,
        PlatformRow,
        LayerRow,
        title=f"A line of an auditor report, schema {SCHEMA}",
        urn=f"urn:auditor:report:{SCHEMA}",
        meanings=FIELD_HELP,
    )
