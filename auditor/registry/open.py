"""The registries of a run, from its settings."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from auditor.config import Settings
from auditor.registry.auth.credentials import Credentials
from auditor.registry.registries import Registries
from auditor.registry.request import Witness
from auditor.util.clock import Clock


@asynccontextmanager
async def open_registries(
    settings: Settings,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    witness: Witness | None = None,
) -> AsyncIterator[Registries]:
    """Registries with the settings' limits and credentials.

    `witness` is told what came of each request.

    Raises `UsageError` for a key, CA or credential file that cannot be used.
    """
    credentials = Credentials.from_settings(settings, environment)
    async with Registries(
        settings=settings,
        credentials=credentials,
        clock=clock,
        environment=environment,
        witness=witness,
    ) as registries:
        registries.check_files()
        yield registries
