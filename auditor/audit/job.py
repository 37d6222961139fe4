"""The job of an audit: a run with its registries, digest cache, report and shard file.

`open_job` opens them. `run_with_checkpoints` runs the audit and makes its records
durable every second; `AuditJob.commit` completes the report and the shard file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import DigestCache, open_cache
from auditor.config import (
    Settings,
    record_settings,
    sharded_run_settings,
    signature_policy_of,
)
from auditor.errors import unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.source_scan import AuditInput, InputDigest, open_input
from auditor.registry.auth.docker_config import PullSecret
from auditor.registry.registries import Registries, open_registries
from auditor.report.shard_file import ShardFile
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.util.clock import Clock, rfc3339

if TYPE_CHECKING:
    from auditor.config.signature_policy import SignaturePolicy

# Seconds of finished work that a crash may lose.
CHECKPOINT_S = 1.0


@dataclass(frozen=True, slots=True)
class AuditJob:
    """A run and its report; `commit` completes the report after the run."""

    run: AuditRun
    report: Report
    shard_file: ShardFile | None
    input_digest: InputDigest | None
    registries: Registries
    cache: DigestCache

    async def commit(self) -> None:
        """Complete the report, then the shard file."""
        await self.report.commit()
        if self.shard_file is not None:
            self.shard_file.commit(
                self.run.summary().to_json(),
                content_bytes=self.report.writer.content_bytes,
                input_digest=self.input_digest.value if self.input_digest else None,
            )


@asynccontextmanager
async def open_hosts(
    settings: Settings, *, clock: Clock, pull_secrets: Iterable[PullSecret] = ()
) -> AsyncIterator[tuple[Registries, DigestCache]]:
    """The registries of a run and the digest cache.

    How many concurrent requests a host stands is read from the cache, and kept there.
    """
    async with (
        open_cache(settings, now=clock.epoch) as cache,
        open_registries(
            settings,
            clock=clock,
            pull_secrets=pull_secrets,
            remembered_limit=cache.host_limit,
        ) as registries,
    ):
        try:
            yield registries, cache
        finally:
            for origin, limit in registries.limiters.found():
                cache.put_host_limit(origin, limit)


@asynccontextmanager
async def open_job(
    settings: Settings,
    *,
    clock: Clock,
    notify: Callable[[str], None],
    audit_input: AuditInput | None = None,
    options: ReportOptions | None = None,
    signatures: SignaturePolicy | None = None,
    pull_secrets: Iterable[PullSecret] = (),
) -> AsyncIterator[AuditJob]:
    """The job that the settings describe, with all its resources open.

    `notify` gets sentences for the user; `audit_input` is opened by default, and has
    the images of the settings' cluster only if it is given; `options` replace those of
    `report_options`; `signatures` is the signature policy of the settings, read if not
    given; `pull_secrets` are those of the settings' cluster. Raises the
    `AuditorError`s of the resources.
    """
    now = rfc3339(clock.epoch())
    # Once: its fingerprint is that of the keys which verify.
    signatures = signatures or signature_policy_of(settings)
    async with (
        open_hosts(settings, clock=clock, pull_secrets=pull_secrets) as (
            registries,
            cache,
        ),
        open_report(
            options or report_options(settings, signatures), now=now, notify=notify
        ) as report,
        nullcontext(audit_input) if audit_input else open_input(settings) as opened,
    ):
        with (
            _shard_file(settings, signatures, report, notify)
            or nullcontext() as shard_file
        ):
            run = AuditRun(
                settings,
                opened.items,
                registries=registries,
                clock=clock,
                write=report.write,
                on_position=shard_file.add if shard_file else None,
                cache=cache,
                resume_index=report.resume_index,
                spill_folder=report.writer.final.parent
                if report.writer.final
                else None,
                sources=opened.sources,
                signatures=signatures,
            )
            yield AuditJob(run, report, shard_file, opened.digest, registries, cache)


async def run_with_checkpoints(run: AuditRun, report: Report) -> None:
    """Run the audit; every `CHECKPOINT_S` its records are made durable."""

    async def checkpoint_regularly() -> None:
        while True:
            await anyio.sleep(CHECKPOINT_S)
            await report.checkpoint(run.early_records(), has_waiting=run.has_waiting)

    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(checkpoint_regularly)
            await run.run()
            group.cancel_scope.cancel()


def report_options(
    settings: Settings, signatures: SignaturePolicy | None = None
) -> ReportOptions:
    """How the report of a run with these settings, and this policy, is written."""
    return ReportOptions(
        output=settings.output,
        shape=settings.shape,
        order=settings.order,
        resume=settings.resume,
        keep_s=settings.resume_max_age_s,
        keep_failures=not settings.retry_failed,
        settings=record_settings(settings, signatures),
    )


def _shard_file(
    settings: Settings,
    signatures: SignaturePolicy | None,
    report: Report,
    notify: Callable[[str], None],
) -> ShardFile | None:
    if settings.shard is None:
        return None
    if report.writer.final is None:
        notify(
            f"shard {settings.shard}: its report is not a file and gets no shard file,"
            " so that auditor merge cannot merge it; write it with -o FILE"
        )
        return None
    return ShardFile(
        report.writer.final,
        settings.shard,
        settings=sharded_run_settings(settings, signatures),
        order=settings.order,
    )
