"""All registries of a run, made when they are first needed, closed together."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from auditor.config import Settings
from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, at_mirror
from auditor.registry.auth.credentials import Credentials
from auditor.registry.client import Registry
from auditor.registry.host_limits import Quota
from auditor.registry.request import RequestCounts, RequestObserver
from auditor.registry.transport.tls import TlsFiles, check_files, tls_files
from auditor.util.clock import Clock
from auditor.wire.proxy import read_proxies
from auditor.wire.rate_limit import Allowance

if TYPE_CHECKING:
    from auditor.oci.jws import KeySet


class Registries:
    """Registries by name, with what the user configured for each."""

    def __init__(
        self,
        *,
        settings: Settings,
        credentials: Credentials,
        clock: Clock,
        environment: Mapping[str, str] = os.environ,
        witness: RequestObserver | None = None,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._clock = clock
        self._environment = environment
        self._witness = witness
        self._open: dict[str, Registry] = {}
        self._stack = AsyncExitStack()
        self.counts = RequestCounts()
        most = settings.max_requests
        self.quota = None if most is None else Quota(most, whose="this run")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def known(self, name: str) -> Registry | None:
        """The registry of that name, if somebody got it before."""
        return self._open.get(name)

    async def get(self, name: str) -> Registry:
        """The registry of that name."""
        found = self._open.get(name)
        if found is None:
            settings = self._settings.registry(name)
            made = Registry(
                name,
                settings=settings,
                credentials=self._credentials,
                tls=self._tls(name),
                proxies=read_proxies(self._environment, settings.proxy),
                keys=self.keys(name),
                clock=self._clock,
                counts=self.counts,
                run_quota=self.quota,
                witness=self._witness,
            )
            # No waiting between the look-up above and this line: no second one.
            found = self._open[name] = made
            await self._stack.enter_async_context(made)
        return found

    def allowances(self) -> list[tuple[str, Allowance]]:
        """What each registry granted that says so, by its last answer."""
        return [
            (name, registry.ration.seen)
            for name, registry in sorted(self._open.items())
            if registry.ration.seen is not None
        ]

    def check_files(self) -> None:
        """Raise `UsageError` for a CA, certificate or key file that cannot be used."""
        for name in self._settings.registries:
            check_files(self._tls(name))
        check_files(self._tls(None))

    def _tls(self, name: str | None) -> TlsFiles:
        """What TLS with a registry, or with any other, needs."""
        known = self._settings
        return tls_files(
            name,
            known.default_registry if name is None else known.registry(name),
            self._environment,
            found=known.docker_config,
        )

    def at_mirror(self, reference: Reference) -> Reference | None:
        """Where to look for an image first, if its registry has a mirror."""
        mirror = self._settings.registry(reference.registry).mirror
        return None if mirror is None else at_mirror(reference, mirror)

    def keys(self, name: str) -> KeySet | None:
        """The keys that verify this registry's tokens, if the user gave any."""
        path = self._settings.registry(name).token_keys
        return load_keys(path) if path else None


@functools.cache  # the same file serves many registries
def load_keys(path: str) -> KeySet:
    """The keys of a PEM bundle or JWKS file; `UsageError` names what is wrong."""
    # Loads the cryptography library, which only those with keys need.
    from auditor.oci.jws import KeySet  # noqa: PLC0415

    try:
        return KeySet.from_bytes(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except ProtocolError as error:
        raise UsageError(f"{path}: {error.detail}") from None


# -- open --
# The registries of a run, from its settings.


@asynccontextmanager
async def open_registries(
    settings: Settings,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    witness: RequestObserver | None = None,
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
