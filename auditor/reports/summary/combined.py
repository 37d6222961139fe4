"""The summaries of all shares as one: what the whole audit came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.model import FailureRecord
from auditor.report.summary import FIELDS, failure_json
from auditor.reports.summary import shares

Json = Mapping[str, Any]


def combined(summaries: Sequence[Json], *, output: str) -> dict[str, Any]:
    """One summary file's content out of those of the shares, as `FIELDS` says.

    It begins with the first share and ends with the last; `duration_s` is that of the
    slowest. Requests for a catalog count for every share that read it; the catalog
    itself is shown once.
    """
    whole = {
        one.name: one.of_shares([share[one.name] for share in summaries])
        for one in FIELDS
    }
    return whole | {"output": output}


def with_failures(whole: Json, records: Sequence[FailureRecord]) -> dict[str, Any]:
    """The summary with failures that only show where all shares are together."""
    more = len(records)
    references = whole["references"]
    told = [{record.failure.value: failure_json(1, record)} for record in records]
    kinds = {record.reference: record.failure.value for record in records}
    return {
        **whole,
        "references": {
            **references,
            "asked": references["asked"] + more,
            "failed": references["failed"] + more,
        },
        "failures": shares.failures([whole["failures"], *told]),
        "listings": [
            {**one, "failure": kinds.get(one["selector"], one["failure"])}
            for one in whole["listings"]
        ],
    }
