"""The side outputs of an audit: summary, metrics, and the packages of attached SBOMs.

With `--sbom FILE` the SBOMs that a report leads to are read after it is complete.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.cli.output import check_file
from auditor.config import Settings
from auditor.errors import AuditorError, ExitCode, Failure, UsageError
from auditor.fast_dataclass import dataclass
from auditor.model import Shape

if TYPE_CHECKING:
    from auditor.audit.sboms import SbomAttachment
    from auditor.cache.digest_cache import DigestCache
    from auditor.registry.registries import Registries
    from auditor.report.sbom_file import SbomCounts


def check_side_outputs(settings: Settings) -> None:
    """Raise an error before the audit if a side output cannot be written after it."""
    for path in (settings.summary, settings.metrics, settings.sbom):
        if path is not None:
            check_file(path)


def write_side_outputs(settings: Settings, summary: Mapping[str, Any]) -> None:
    """Write the summary and the metrics to the files in the settings."""
    if settings.summary is not None:
        from auditor.report.summary import write_summary

        write_summary(settings.summary, summary)
    if settings.metrics is not None:
        from auditor.report.metrics import audit_metrics, write_textfile

        write_textfile(settings.metrics, audit_metrics(summary))


# -- --sbom ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomOutcome:
    """How reading the SBOMs ended: a line for a person, and what went wrong.

    `counts` are for the summary. `error` is for after the side outputs of the audit are
    written.
    """

    line: str
    counts: SbomCounts
    error: AuditorError | None = None

    @property
    def failed(self) -> bool:
        """Whether something is missing, so that `--quiet` prints the line, too."""
        return not self.counts.is_complete

    def exit_code(self) -> ExitCode:
        """1 if an SBOM could not be fetched; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return ExitCode.FAILED if self.failed else ExitCode.OK


def check_sbom_settings(settings: Settings) -> None:
    """Raise `UsageError` if the report of these settings cannot lead to SBOMs."""
    from auditor.util.atomic_file import is_special_file

    if settings.sbom is None:
        return
    if settings.output == "-" or is_special_file(Path(settings.output)):
        raise UsageError(
            "--sbom: is made from the report, which must be a file: add -o FILE"
        )
    if settings.shape is not Shape.IMAGE:
        raise UsageError(
            f"--sbom: needs a line per image; remove --shape {settings.shape}"
        )


async def read_sboms(
    settings: Settings,
    *,
    registries: Registries,
    cache: DigestCache,
    late_at_s: float | None,
) -> SbomOutcome:
    """Read the SBOMs of the complete report, and write the file of the settings.

    Those of an earlier audit are in the digest cache. After `late_at_s`, by the clock's
    monotonic time, none is fetched any more. Cancelled, it leaves the file as it was.
    """
    from auditor.audit.content_cache import ContentCache
    from auditor.audit.sboms import SbomReader
    from auditor.report.sbom_file import SbomCounts, write_sbom_file
    from auditor.util.clock import SystemClock
    from auditor.util.deadline import not_started

    assert settings.sbom is not None
    clock = SystemClock()

    def is_late() -> Failure | None:
        if late_at_s is None or clock.monotonic() < late_at_s:
            return None
        return not_started()

    content = ContentCache(cache, clock=clock, recheck_s=settings.cache_recheck_s)
    reader = SbomReader(registries, cache, content, is_late=is_late)
    try:
        async with AsyncExitStack() as stack:
            batches = await _attachments(settings.output, stack)
            await write_sbom_file(Path(settings.sbom), reader.batches(batches))
    except AuditorError as error:
        return SbomOutcome(
            line=f"{settings.sbom}: not written",
            counts=SbomCounts(written=False),
            error=error,
        )
    counts = SbomCounts(written=True, **reader.counts)
    return SbomOutcome(line=f"{settings.sbom}: {counts.text()}", counts=counts)


async def _attachments(
    report: str, stack: AsyncExitStack
) -> AsyncIterator[list[SbomAttachment]]:
    """The attachments of a report, found by DuckDB in a thread."""
    import anyio.to_thread

    from auditor.analysis.sbom_attachments import sbom_attachments
    from auditor.audit.sboms import attachment_at

    found = await anyio.to_thread.run_sync(
        stack.enter_context, sbom_attachments(report)
    )

    async def batches() -> AsyncIterator[list[SbomAttachment]]:
        while rows := await anyio.to_thread.run_sync(found.next_batch):
            yield [attachment_at(*row) for row in rows]

    return batches()


def not_written(path: str) -> SbomOutcome:
    """The outcome of an interrupted run."""
    from auditor.report.sbom_file import SbomCounts

    return SbomOutcome(
        line=f"{path}: not written; the next audit finds what was read in its cache",
        counts=SbomCounts(written=False),
    )
