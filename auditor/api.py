"""The public interface for programs: records as an async iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import anyio

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import open_cache
from auditor.config import Settings
from auditor.input.source_scan import open_input
from auditor.model import Record
from auditor.registry.registries import open_registries
from auditor.util.clock import SystemClock


async def audit_references(
    references: Iterable[str] = (), *, settings: Settings | None = None
) -> AsyncIterator[Record]:
    """Audit references and yield one record for each, as `auditor audit` writes them.

    `references` are strings such as `registry.example.com/team/app:1.*`; those of the
    settings follow. The settings also give order, limits, credentials and the digest
    cache. A reference that cannot be audited yields a `FailureRecord`; `AuditorError`
    is raised only for errors that stop the audit, such as an unreadable list. The audit
    is ahead of the consumer by at most the number of workers per registry, and is
    cancelled when the iterator is closed. Needs asyncio, as aiohttp does.
    """
    settings = settings or Settings()
    settings = replace(settings, references=(*references, *settings.references))
    clock = SystemClock()
    send, receive = anyio.create_memory_object_stream[Record](settings.workers_of(None))

    async def run() -> None:
        async with (
            send,
            open_registries(settings, clock=clock) as registries,
            open_cache(settings, now=clock.epoch) as cache,
            open_input(settings) as audit_input,
        ):
            await AuditRun(
                settings,
                audit_input.items,
                registries=registries,
                clock=clock,
                write=send.send,
                cache=cache,
                sources=audit_input.sources,
            ).run()

    # A task and not a task group: another task may close the generator, but a cancel
    # scope must be left by the task that entered it.
    running = asyncio.create_task(run())
    try:
        async with receive:
            async for record in receive:
                yield record
        await running
    finally:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # retrieved: asyncio logs it otherwise
