from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests run on asyncio: aiohttp, the product's client, needs it."""
    return "asyncio"
