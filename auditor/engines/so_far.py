"""What a run that is shared out has come to where its report is not whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auditor.report.listing_stats import Listings
from auditor.report.summary import Summary, Tally, combined


def summary_so_far(
    summaries: Sequence[Mapping[str, Any]],
    *,
    output: str,
    started_at: str,
    now: str,
    duration_s: float,
) -> dict[str, Any]:
    """The summary of the shares that have one, as that of an interrupted run.

    There may be none of them. Times are RFC 3339 UTC, those of the run.
    """
    # A share that nothing is known of: whatever the input holds may be in it.
    unknown = Summary(
        started_at=started_at,
        finished_at=now,
        duration_s=duration_s,
        interrupted=True,
        output=output,
        asked=0,
        all_listed=False,
        duplicates=0,
        tally=Tally(),
        requests={},
        repeated={},
        saved={},
        listings=Listings(),
    )
    return combined([unknown.to_json(), *summaries], output=output)
