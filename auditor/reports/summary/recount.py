"""Counting records that were written by an earlier run, from their lines."""

from __future__ import annotations

import orjson

from auditor.errors import FailureKind, Stage
from auditor.model import FailureRecord
from auditor.reports.summary.tally import Tally


def recount(tally: Tally, lines: bytes) -> None:
    """Count one record. Rows of the flat shapes do not say all that a record does:
    their warnings are not counted, and no media type but a platform's."""
    rows = [orjson.loads(line) for line in lines.splitlines()]
    first = rows[0]
    if first["kind"] == "failure":
        first |= {
            "failure": FailureKind(first["failure"]),
            "stage": Stage(first["stage"]),
        }
        tally.add(FailureRecord(**first))
        return
    tally.audited += 1
    if first["kind"] == "image":
        tally.architectures.update(first["architectures"])
        tally.warnings.update(warning["code"] for warning in first["warnings"])
        if first["media_type"]:
            tally.media_types[first["media_type"]] += 1
        return
    tally.architectures.update({row["platform"] for row in rows if row["platform"]})
