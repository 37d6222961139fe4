"""The store of a run, from its settings."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from auditor.cache.store import DigestStore
from auditor.config import Settings

log = logging.getLogger("auditor.cache")

FILE_NAME = "digests.sqlite"


def store_path(settings: Settings) -> Path | None:
    """Where the store is; null for a private one."""
    if settings.no_store:
        return None
    if settings.store is not None:
        return Path(settings.store)
    # Only who has not said where the store is needs to know where caches are.
    import platformdirs  # noqa: PLC0415

    folder = platformdirs.user_cache_path("auditor", appauthor=False)
    if not folder.is_absolute():  # of a user without a home directory: ~/.cache
        log.warning("there is no cache directory for the store; going on without")
        return None
    return folder / FILE_NAME


@asynccontextmanager
async def open_store(
    settings: Settings, *, now: Callable[[], float]
) -> AsyncIterator[DigestStore]:
    """The store that the settings name; `now` is epoch seconds."""
    path = store_path(settings)
    with DigestStore(path, now=now, max_bytes=settings.store_max_size) as store:
        yield store
