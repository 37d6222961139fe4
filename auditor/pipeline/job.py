"""A run with everything that it needs: registries, store, report, shard file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext

from auditor.audit.run import Run
from auditor.cache.store import open_store
from auditor.config import Settings, decisive_of_shares
from auditor.fast_dataclass import dataclass
from auditor.input.lists import Item, items_of
from auditor.pipeline.input_digest import InputDigest
from auditor.registry.registries import open_registries
from auditor.report.writer import Report, open_report
from auditor.reports.shard_file import ShardFile
from auditor.util.clock import Clock, rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run and where its records go; after it, `commit` makes the report whole."""

    run: Run
    report: Report
    shard_file: ShardFile | None
    input_digest: InputDigest | None

    async def commit(self) -> None:
        """Give the report its name, and then the shard file that belongs to it."""
        await self.report.commit()
        if self.shard_file is not None:
            digest = self.input_digest.value if self.input_digest else None
            self.shard_file.commit(self.run.summary().to_json(), input_digest=digest)


@asynccontextmanager
async def open_job(
    settings: Settings,
    *,
    clock: Clock,
    tell: Callable[[str], None],
    items: Iterable[Item] | None = None,
) -> AsyncIterator[Job]:
    """The job that the settings describe; `tell` is given sentences for a person, and
    `items` stand for the settings' references and lists.

    Raises the `AuditorError`s of what it opens.
    """
    async with (
        open_registries(settings, clock=clock) as registries,
        open_store(settings, now=clock.epoch) as store,
        open_report(settings, now=rfc3339(clock.epoch()), tell=tell) as report,
    ):
        with _shard_file(settings, report, tell) or nullcontext() as shard_file:
            items = items_of(settings) if items is None else items
            digest = InputDigest(items) if shard_file else None
            run = Run(
                settings,
                digest or items,
                registries=registries,
                clock=clock,
                write=report.put,
                placed=shard_file.place if shard_file else None,
                kept=report.kept,
                store=store,
            )
            yield Job(
                run=run, report=report, shard_file=shard_file, input_digest=digest
            )


def _shard_file(
    settings: Settings, report: Report, tell: Callable[[str], None]
) -> ShardFile | None:
    if settings.shard is None:
        return None
    if report.final is None:
        # Of use to whoever wants a part of the work and nothing put together.
        tell(
            f"share {settings.shard} goes where no shard file can stand beside it:"
            " auditor merge cannot take it (-o FILE leaves both)"
        )
        return None
    return ShardFile(
        report.final,
        settings.shard,
        settings=decisive_of_shares(settings),
        order=settings.order,
    )
