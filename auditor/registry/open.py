"""The registries of a run, from its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from auditor.config import Settings
from auditor.registry.clock import Clock
from auditor.registry.credentials import Credentials
from auditor.registry.registries import Registries


@asynccontextmanager
async def open_registries(
    settings: Settings, *, clock: Clock
) -> AsyncIterator[Registries]:
    """Registries with the settings' limits and credentials.

    Raises `UsageError` for a key, CA or credential file that cannot be used.
    """
    credentials = Credentials.from_settings(settings)
    async with Registries(
        settings=settings, credentials=credentials, clock=clock
    ) as registries:
        yield registries
