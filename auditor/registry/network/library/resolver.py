"""aiohttp's resolver of names, for hosts that a registry names and nobody else did."""

from __future__ import annotations

import aiohttp
from aiohttp.abc import ResolveResult

from auditor.registry.transport.ssrf_guard import Guard


class GuardedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names that a registry named, and checks what they mean."""

    def __init__(self, guard: Guard) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `RefusedAddressError`, or `OSError`."""
        found = await self._resolver.resolve(host, port, family)  # type: ignore[arg-type]
        self._guard.check(host, [result["host"] for result in found])
        return found

    async def close(self) -> None:
        """End what it has open."""
        await self._resolver.close()
