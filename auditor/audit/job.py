"""A run with its resources: registries, digest cache, report and shard file.

`open_job` opens them, `run_with_checkpoints` runs the audit and makes its records
durable every second, `AuditJob.commit` completes the report and the shard file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, nullcontext
from hashlib import blake2b

import anyio

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import open_cache
from auditor.config import Settings, record_settings, sharded_run_settings
from auditor.errors import unwrap_exception_group
from auditor.fast_dataclass import dataclass
from auditor.input.input_items import InputItem, InputSelector
from auditor.input.lists import input_items
from auditor.registry.registries import open_registries
from auditor.report.shard_file import ShardFile
from auditor.report.writer import Report, ReportOptions, open_report
from auditor.util.clock import Clock, rfc3339

# Seconds of finished work that a crash may lose.
CHECKPOINT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditJob:
    """A run and its report; `commit` completes the report after the run."""

    run: AuditRun
    report: Report
    shard_file: ShardFile | None
    input_digest: InputDigest | None

    async def commit(self) -> None:
        """Give the report its name, and then the shard file."""
        await self.report.commit()
        if self.shard_file is not None:
            digest = self.input_digest.value if self.input_digest else None
            self.shard_file.commit(self.run.summary().to_json(), input_digest=digest)


@asynccontextmanager
async def open_job(
    settings: Settings,
    *,
    clock: Clock,
    notify: Callable[[str], None],
    items: Iterable[InputItem] | None = None,
) -> AsyncIterator[AuditJob]:
    """The job that the settings describe, with all its resources open.

    `notify` gets sentences for the user; `items` replace the settings' references and
    lists. Raises the `AuditorError`s of what it opens.
    """
    async with (
        open_registries(settings, clock=clock) as registries,
        open_cache(settings, now=clock.epoch) as cache,
        open_report(
            report_options(settings), now=rfc3339(clock.epoch()), notify=notify
        ) as report,
    ):
        with _shard_file(settings, report, notify) or nullcontext() as shard_file:
            items = input_items(settings) if items is None else items
            digest = InputDigest(items) if shard_file else None
            run = AuditRun(
                settings,
                digest or items,
                registries=registries,
                clock=clock,
                write=report.write,
                on_position=shard_file.add if shard_file else None,
                cache=cache,
                resume_index=report.resume_index,
            )
            yield AuditJob(
                run=run, report=report, shard_file=shard_file, input_digest=digest
            )


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


def report_options(settings: Settings) -> ReportOptions:
    """How the report of a run with these settings is written."""
    return ReportOptions(
        output=settings.output,
        shape=settings.shape,
        order=settings.order,
        resume=settings.resume,
        settings=record_settings(settings),
    )


def _shard_file(
    settings: Settings, report: Report, notify: Callable[[str], None]
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
        settings=sharded_run_settings(settings),
        order=settings.order,
    )


# -- Input digest ------------------------------------------------------------------


class InputDigest:
    """Passes items on, once; `value` is a digest over all of them, in order.

    All shards of an audit must have the same. Where an item comes from is not part of
    it: a copy of a list has the digest of the list.
    """

    def __init__(self, items: Iterable[InputItem]) -> None:
        self._items = items
        self._digest = blake2b(digest_size=16)
        self._is_complete = False

    def __iter__(self) -> Iterator[InputItem]:
        for item in self._items:
            text = str(item.selector) if isinstance(item, InputSelector) else item.text
            self._digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
            yield item
        self._is_complete = True

    @property
    def value(self) -> str | None:
        """In hexadecimal; None if the input was not read to its end."""
        return self._digest.hexdigest() if self._is_complete else None


def digest_of_input(items: Iterable[InputItem]) -> str | None:
    """The digest of an input that is read only for this."""
    digest = InputDigest(items)
    for _ in digest:
        pass
    return digest.value
