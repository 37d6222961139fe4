"""Merges the reports of all shards into one report with one summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.audit.image import failure_record
from auditor.errors import OutputError, UsageError
from auditor.input.listings import no_tag_matches
from auditor.model import FailureRecord, Shape
from auditor.oci.reference import RepositoryPattern, parse_selector
from auditor.report.audit_table import AuditTable
from auditor.report.listing_stats import Listing, Listings, ListKind
from auditor.report.shapes import encoder
from auditor.report.shard_file import merge_records, read_shard_reports
from auditor.report.summary import Summary, Tally, add_failures, merge_summaries
from auditor.report.writer import ReportWriter
from auditor.scale.shard_dir import is_url, open_by_name
from auditor.util.atomic_file import replace_durably

# Of the file that is written first. The output's `.partial` may belong to another run,
# which can be resumed.
_SUFFIX = ".merged"


async def merge_shards(
    names: Sequence[str],
    output: str,
    *,
    table: AuditTable | None = None,
    before_rename: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Write the report of all shards to `output`; return the summary.

    `names` are the paths or URLs of the shards' reports. The last records are failures
    of patterns that match nothing in any shard. A `table` is written in place of the
    lines. `before_rename` is called when the
    `merged_file` is complete. Raises `UsageError` if the reports are not all shards of
    one audit, and `OutputError` if the report cannot be written.
    """
    _check_output(names, output)
    reports = read_shard_reports(names, open_by_name)
    summary = merge_summaries([report.summary for report in reports], output=output)
    failures = list(unmatched_patterns(summary))
    encode = encoder(Shape(reports[0].settings["shape"]))
    writer = ReportWriter(output)
    final = writer.final
    if (merged := merged_file(final)) is not None:
        writer = ReportWriter(str(merged), named=output)
    async with writer:
        try:
            for record in merge_records(reports, open_by_name):
                await writer.write(record if table is None else table.add_line(record))
            for failure in failures:
                await writer.write(encode(failure) if table is None else table(failure))
            if table is not None:
                await writer.write(table.rest())
            await writer.commit()
        except BaseException:
            # Its records are in the reports of the shards.
            if writer.partial is not None:
                writer.partial.unlink(missing_ok=True)
            raise
    if final is not None and writer.final is not None:
        if before_rename is not None:
            before_rename()
        try:
            replace_durably(writer.final, final)
        except OSError as error:
            raise OutputError(
                f"{final}: the report cannot be written: {error.strerror}"
            ) from None
    return add_failures(summary, failures)


def merged_file(final: Path | None) -> Path | None:
    """The file that is complete before it is renamed to the report `final`."""
    return None if final is None else final.with_name(final.name + _SUFFIX)


def _check_output(names: Sequence[str], output: str) -> None:
    final = ReportWriter(output).final
    inputs = {Path(name).resolve() for name in names if not is_url(name)}
    if final is not None and final.resolve() in inputs:
        raise UsageError(f"--output: {output} is the report of a shard")


def unmatched_patterns(summary: Mapping[str, Any]) -> Iterator[FailureRecord]:
    """Failure records of patterns for which no shard has a tag.

    One shard cannot know this; `summary` is that of the whole audit.
    """
    for document in summary["listings"]:
        listing = Listing.from_json(document)
        if listing.kind is not ListKind.REPOSITORIES or not listing.matches_nothing:
            continue
        pattern = parse_selector(listing.selector)
        assert isinstance(pattern, RepositoryPattern)
        failure = no_tag_matches(pattern, listing)
        yield failure_record(listing.selector, pattern, failure, summary["finished_at"])


def unfinished_summary(
    summaries: Sequence[Mapping[str, Any]],
    *,
    output: str,
    started_at: str,
    now: str,
    duration_s: float,
) -> dict[str, Any]:
    """The summary of an interrupted run, from the summaries of its shards."""
    # For the shards without a summary: anything in the input may belong to them.
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
    return merge_summaries([unknown.to_json(), *summaries], output=output)
