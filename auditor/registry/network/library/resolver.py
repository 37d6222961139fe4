"""aiohttp's resolver of names, for hosts that a registry names and nobody else did."""

from __future__ import annotations

import aiohttp
from aiohttp.abc import ResolveResult

from auditor.protocol.realm import address_refusal


class RefusedAddressError(OSError):
    """A name resolved to an address that no registry may send us to."""


class GuardedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names that a registry named; checked here, after the resolution and
    before the connection, because a name can mean another address each time."""

    def __init__(
        self, *, registry_is_loopback: bool, allowed_hosts: frozenset[str]
    ) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._registry_is_loopback = registry_is_loopback
        self._allowed_hosts = allowed_hosts

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `RefusedAddressError`, or `OSError`."""
        found = await self._resolver.resolve(host, port, family)  # type: ignore[arg-type]
        for result in () if host in self._allowed_hosts else found:
            refusal = address_refusal(
                result["host"], registry_is_loopback=self._registry_is_loopback
            )
            if refusal:
                raise RefusedAddressError(
                    f"{host} resolves to {refusal}"
                    " (realm_hosts in the configuration allows a host)"
                )
        return found

    async def close(self) -> None:
        """End what it has open."""
        await self._resolver.close()
