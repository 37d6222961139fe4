"""The public interface for programs: records as an async iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import anyio

from auditor.audit.run import AuditRun
from auditor.cache.digest_cache import open_cache
from auditor.config import Settings
from auditor.input.lists import items_of
from auditor.model import Record
from auditor.registry.registries import open_registries
from auditor.util.clock import SystemClock


async def audit_references(
    references: Iterable[str] = (), *, settings: Settings | None = None
) -> AsyncIterator[Record]:
    """Audit references and yield one record for each, as `auditor audit` writes them.

    `references` are texts such as `registry.example.com/team/app:1.*`; those of the
    settings come after them. Order, limits, credentials and the store of what never
    changes are the settings'. What cannot be audited is a `FailureRecord`; an
    `AuditorError` is raised only for what stops everything, such as an unreadable list.
    The audit runs as far ahead of the consumer as one registry has workers, and ends
    when the iterator is closed. Needs asyncio (aiohttp does).
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
        ):
            await AuditRun(
                settings,
                items_of(settings),
                registries=registries,
                clock=clock,
                write=send.send,
                cache=cache,
            ).run()

    # A task of its own rather than a task group: a generator may be closed by another
    # task than the one that iterated, and a cancel scope must not be.
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
            running.exception()  # seen: raised above, or of no interest after a close
