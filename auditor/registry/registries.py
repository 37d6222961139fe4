"""The registries of a run: opened on first use, closed together."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.config import Settings
from auditor.errors import ProtocolError, UsageError
from auditor.oci.reference import Reference, mirror_reference
from auditor.registry.auth.credentials import CredentialStore
from auditor.registry.client import Registry, make_registry
from auditor.registry.host_limits import RequestQuota
from auditor.registry.request import RequestCounts, RequestObserver
from auditor.registry.transport.tls import TlsFiles, check_files, tls_files
from auditor.util.clock import Clock
from auditor.wire.proxy import proxies_from_environment
from auditor.wire.rate_limit import RateLimit

if TYPE_CHECKING:
    from auditor.wire.token_keys import KeySet


@asynccontextmanager
async def open_registries(
    settings: Settings,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    observer: RequestObserver | None = None,
) -> AsyncIterator[Registries]:
    """The registries of a run, with the limits and credentials of its settings.

    `observer` is called with the outcome of each request. Raises `UsageError` for a
    key, CA or credential file that cannot be used.
    """
    async with AsyncExitStack() as stack:
        registries = Registries(
            settings,
            clock=clock,
            environment=environment,
            observer=observer,
            stack=stack,
        )
        registries.check_files()
        yield registries


class Registries:
    """Registries by name, each with the settings that apply to it; `stack` closes them.

    `counts` and `quota` (None without `max_requests`) cover all of them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        environment: Mapping[str, str],
        observer: RequestObserver | None,
        stack: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._credentials = CredentialStore(settings, environment)
        self._clock = clock
        self._environment = environment
        self._observer = observer
        self._stack = stack
        self._open: dict[str, Registry] = {}
        self.counts = RequestCounts()
        self.quota: RequestQuota | None = None
        if settings.max_requests is not None:
            self.quota = RequestQuota(settings.max_requests, owner="this run")

    def opened(self, name: str) -> Registry | None:
        """The registry of that name, None if it is not open yet."""
        return self._open.get(name)

    async def get(self, name: str) -> Registry:
        """The registry of that name, opened if needed."""
        registry = self._open.get(name)
        if registry is None:
            settings = self._settings.registry(name)
            registry = make_registry(
                name,
                settings=settings,
                credentials=self._credentials,
                tls=self._tls(name),
                proxies=proxies_from_environment(self._environment, settings.proxy),
                keys=self.keys(name),
                clock=self._clock,
                counts=self.counts,
                run_quota=self.quota,
                observer=self._observer,
            )
            self._open[name] = registry
            self._stack.push_async_callback(registry.aclose)
        return registry

    def rate_limits(self) -> list[tuple[str, RateLimit]]:
        """The rate limit that each registry announced last, by registry name."""
        return [
            (name, registry.rate_limiter.latest)
            for name, registry in sorted(self._open.items())
            if registry.rate_limiter.latest is not None
        ]

    def check_files(self) -> None:
        """Raise `UsageError` for a CA, certificate or key file that cannot be used."""
        for name in self._settings.registries:
            check_files(self._tls(name))
        check_files(self._tls(None))

    def _tls(self, name: str | None) -> TlsFiles:
        """The TLS files for one registry, or for those without settings (None)."""
        settings = self._settings
        return tls_files(
            name,
            settings.default_registry if name is None else settings.registry(name),
            self._environment,
            use_certs_d=settings.docker_config,
        )

    def mirror_of(self, reference: Reference) -> Reference | None:
        """The reference at the mirror of its registry, None without a mirror."""
        mirror = self._settings.registry(reference.registry).mirror
        return None if mirror is None else mirror_reference(reference, mirror)

    def keys(self, name: str) -> KeySet | None:
        """The keys that verify this registry's tokens, None if none are configured."""
        path = self._settings.registry(name).token_keys
        return load_keys(path) if path else None


@functools.cache  # several registries may share a file
def load_keys(path: str) -> KeySet:
    """The keys of a PEM bundle or JWKS file. Raises `UsageError`."""
    # Imports cryptography, which runs without keys do not need.
    from auditor.wire.token_keys import KeySet  # noqa: PLC0415

    try:
        return KeySet.from_bytes(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ProtocolError as error:
        raise UsageError(f"{path}: {error.detail}") from None
