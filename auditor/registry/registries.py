"""The registries of a run: created on first use, closed together."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.config import RegistrySettings, Settings
from auditor.config.registries_conf import RegistriesConf, read_registries_conf
from auditor.errors import Failure, FailureKind, ProtocolError, Stage, UsageError
from auditor.oci.reference import (
    DOCKER_HUB,
    Reference,
    StoreKind,
    api_host,
    mirror_reference,
    store_of,
)
from auditor.registry.auth.credentials import CloudEndpoint, CredentialStore
from auditor.registry.auth.docker_config import PullSecret
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.auth.token_service import TokenService
from auditor.registry.client import Registry
from auditor.registry.concurrency_control import START
from auditor.registry.concurrency_limiter import ConcurrencyLimiter, HostLimiters
from auditor.registry.host_limits import RateLimiter, RequestQuota
from auditor.registry.host_plan import HostPlan
from auditor.registry.host_status import HostStatus
from auditor.registry.listing.interface import ListedTag, Page
from auditor.registry.request import RequestCounts, RequestObserver, RequestSender
from auditor.registry.transport.connection_budget import ConnectionBudget
from auditor.registry.transport.http_defaults import Timeouts
from auditor.registry.transport.name_lookup import MAX_LOOKUPS, NameLookups
from auditor.registry.transport.tls import (
    SYSTEM_TRUST,
    TlsFiles,
    certs_d_files,
    check_files,
    tls_files,
)
from auditor.registry.transport.transport import ALLOW_REGISTRY, Transport
from auditor.util.clock import Clock
from auditor.util.secret import KnownSecrets, Secret
from auditor.wire.cloud_hosts import cloud_of_url
from auditor.wire.host_concurrency import HostConcurrency
from auditor.wire.proxy import InvalidProxy, proxies_from_environment
from auditor.wire.rate_limit import RateLimit
from auditor.wire.url_policy import address_class, is_loopback_host, origin_of

if TYPE_CHECKING:
    from auditor.registry.stores.store_registry import StoreRegistry
    from auditor.wire.token_keys import KeySet


# Registries that only images named: each has connections and limits of its own. Images
# are built on bases of a handful.
MAX_NAMED_BY_IMAGES = 32


log = logging.getLogger("auditor.registry")


@asynccontextmanager
async def open_registries(
    settings: Settings,
    *,
    clock: Clock,
    environment: Mapping[str, str] = os.environ,
    observer: RequestObserver | None = None,
    pull_secrets: Iterable[PullSecret] = (),
    notify: Callable[[str], None] | None = None,
    remembered_limit: Callable[[str], int | None] = lambda _: None,
) -> AsyncIterator[Registries]:
    """The registries of a run, with the limits and credentials of its settings.

    `observer` is called with the outcome of each request, `notify` with a sentence for
    a person before each retry; `remembered_limit` gives the concurrent requests that
    the host at an origin stood in an earlier run. Raises `UsageError` for a key, CA or
    credential file that cannot be used.
    """
    registries = Registries(
        settings,
        clock,
        environment,
        observer,
        pull_secrets,
        notify=notify,
        remembered_limit=remembered_limit,
    )
    async with registries.stack:
        registries.check_files()
        yield registries
        for one in registries.concurrencies():
            if one.lowest < one.highest:
                log.info(
                    "%s: %s; %d to %d in this run",
                    one.host, one.sentence(), one.lowest, one.highest,
                )  # fmt: skip


class Registries:
    """Registries by name, each with the settings that apply to it; `stack` closes them.

    `counts` and `quota` (None without `max_requests`) cover all of them. `conf` is what
    registries.conf says.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        environment: Mapping[str, str],
        observer: RequestObserver | None,
        pull_secrets: Iterable[PullSecret],
        *,
        notify: Callable[[str], None] | None = None,
        remembered_limit: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._secrets = KnownSecrets()
        self._credentials = CredentialStore(
            settings, environment, self._secrets, pull_secrets, clock
        )
        self.conf = RegistriesConf()
        if settings.registries_conf:
            self.conf = read_registries_conf(environment)
        self._clock = clock
        self._environment = environment
        self._observer = observer
        self._notify = notify
        self._senders: list[RequestSender] = []
        self._budget = ConnectionBudget()
        self.limiters = HostLimiters(
            budget=self._budget, clock=clock, remembered=remembered_limit
        )
        self._names = NameLookups(min(MAX_LOOKUPS, self._budget.max_lookups))
        self.stack = AsyncExitStack()
        self._open: dict[str, Registry] = {}
        self._stores: dict[str, StoreRegistry] = {}
        # Those that only images named; see `named_by_image`.
        self._by_images: dict[str, Registry] = {}
        self.counts = RequestCounts()
        self.quota: RequestQuota | None = None
        if settings.max_requests is not None:
            self.quota = RequestQuota(settings.max_requests, owner="this run")

    def opened(self, name: str) -> Registry | None:
        """The registry of that name, None if it is not open yet."""
        return self._open.get(name) or self._stores.get(name)

    async def get(self, name: str) -> Registry:
        """The registry of that name, opened if needed.

        Raises `UsageError` for a proxy that cannot be used.
        """
        registry = self._open.get(name) or self._stores.get(name)
        if registry is None and (store := store_of(name)) is not None:
            registry = self._stores[name] = self._new_store(name, *store)
        if registry is None:
            registry = self._open[name] = self._new_registry(name)
            self.stack.push_async_callback(registry.aclose)
        return registry

    async def named_by_image(self, name: str) -> Registry | Failure:
        """The registry that an image named as that of its base.

        It is as `get` returns it if the user named it, too: in a section, or as that of
        an audited image. Any other one may not be at an address that a registry may not
        name, and there are at most `MAX_NAMED_BY_IMAGES`.
        """
        known = self._open.get(name) or self._by_images.get(name)
        if known is not None:
            return known
        if name == DOCKER_HUB or name in self._settings.registries:
            return await self.get(name)
        host = origin_of(f"https://{api_host(name)}").host
        if (restricted := address_class(host)) is not None:
            detail = (
                f"{host} is a {restricted} address, which an image may not name;"
                f" {ALLOW_REGISTRY}"
            )
            return Failure(kind=FailureKind.REALM_REFUSED, detail=detail, attempts=0)
        if len(self._by_images) >= MAX_NAMED_BY_IMAGES:
            detail = (
                f"{name} is not asked: images name more than {MAX_NAMED_BY_IMAGES}"
                " registries that the run does not audit"
            )
            return Failure(kind=FailureKind.REALM_REFUSED, detail=detail, attempts=0)
        registry = self._new_registry(name, is_named_by_user=False)
        self._by_images[name] = registry
        self.stack.push_async_callback(registry.aclose)
        return registry

    def _new_store(self, name: str, kind: StoreKind, path: str) -> StoreRegistry:
        # Most runs have no store.
        from auditor.registry.stores.store_registry import (  # noqa: PLC0415
            StoreRegistry,
        )

        return StoreRegistry(name, kind, path, self._settings.default_registry)

    def _new_registry(self, name: str, *, is_named_by_user: bool = True) -> Registry:
        """A registry with a transport, limits and authorizations of its own."""
        settings, clock = self._settings.registry(name), self._clock
        host, tls = api_host(name), self._tls(name)
        if not is_named_by_user:
            tls = tls.without_certificate()
        base_url = f"{self._scheme(name, settings, tls)}://{host}"
        bounds = settings.concurrency.of_registry(name)
        origin = origin_of(base_url)
        proxies = proxies_from_environment(self._environment, settings.proxy)
        proxy = proxies.choose(origin)
        if isinstance(proxy, InvalidProxy):
            raise UsageError(proxy.detail)
        transport = Transport(
            origin=origin,
            max_in_flight=bounds.most,
            timeouts=Timeouts(
                connect_s=settings.connect_timeout_s,
                read_s=settings.read_timeout_s,
                request_s=settings.request_timeout_s,
            ),
            tls=tls,
            proxies=proxies,
            allowed_hosts=_allowed_hosts(settings),
            secrets=self._secrets,
            budget=self._budget,
            names=self._names,
            is_named_by_user=is_named_by_user,
        )
        quota = self.quota
        if settings.max_requests is not None:
            owner = f"the registry {name}"
            quota = RequestQuota(settings.max_requests, owner=owner, run=self.quota)
        new_sender = functools.partial(
            RequestSender,
            settings=settings,
            transport=transport,
            budget=self._budget,
            limiters=self.limiters,
            bounds=bounds,
            quota=quota,
            clock=clock,
            counts=self.counts,
            observer=self._observer,
            notify=self._notify,
        )
        rate_limiter = RateLimiter(
            host=name,
            policy=settings.rate_limit_policy,
            max_in_flight=bounds.most,
            clock=clock,
        )
        ping_url = f"{base_url}/v2/"
        sender = new_sender(
            name,
            credential_base=base_url,
            probe_url=ping_url,
            rate_limiter=rate_limiter,
        )
        # The token service has health of its own, and slots if it is another host.
        token_sender = new_sender(f"the token service of {name}")
        self._senders += sender, token_sender
        keys = self.keys(name)
        auth = HostAuth(
            registry=name,
            plan=HostPlan(ping_url=ping_url, settings=settings, sender=sender),
            credentials=self._credentials,
            service=lambda found: TokenService(
                origin=origin,
                settings=settings,
                found=found,
                keys=keys,
                sender=token_sender,
                clock=clock,
                secrets=self._secrets,
            ),
            clock=clock,
            cloud=_cloud_endpoint(base_url, token_sender),
        )
        return Registry(
            name,
            settings=settings,
            base_url=base_url,
            transport=transport,
            sender=sender,
            auth=auth,
            rate_limiter=rate_limiter,
            make_sender=new_sender,
            untagged=self._settings.untagged,
        )

    def statuses(self) -> list[HostStatus]:
        """The registries and token services that are waited for, oldest first.

        Of several registries, each with the requests that it is sent at once.
        """
        with_limit = len(self._open) > 1
        found, told = [], set[ConcurrencyLimiter]()
        for sender in self._senders:
            limiter = sender.limiter
            status = sender.status(with_limit=with_limit, is_host_told=limiter in told)
            if status is not None:
                found.append(status)
            if limiter is not None:
                told.add(limiter)
        return found

    def workers_of(self, name: Hashable) -> int:
        """How many references of a registry to process concurrently now.

        Twice as many as it is sent requests at once (`Settings.workers_of`), but for a
        fixed number of workers; the most there may be if others are asked in its place.
        """
        settings = self._settings
        if settings.workers is not None:
            return settings.workers
        # Asked twice for each reference.
        registry = self._open.get(name) if isinstance(name, str) else None
        if registry is not None:
            return 2 * registry.sender.limit
        most = settings.workers_of(name)
        is_elsewhere = (
            not isinstance(name, str)
            or settings.registry(name).mirror is not None
            or self.conf.entries
        )
        return most if is_elsewhere else min(most, 2 * START)

    def concurrencies(self) -> list[HostConcurrency]:
        """The limits of concurrent requests, the host that was asked first first."""
        return [one.concurrency() for one in self.limiters.by_origin.values()]

    def rate_limits(self) -> list[tuple[str, RateLimit]]:
        """The rate limit that each registry announced last, by registry name."""
        return [
            (name, latest)
            for name, registry in sorted(self._open.items())
            if (latest := registry.rate_limiter.latest) is not None
        ]

    def unused_logins(self) -> list[tuple[str, str]]:
        """The registry and location of each login that nothing asked for."""
        return [
            (name, location)
            for name, registry in sorted(self._open.items())
            for location in registry.auth.unused_logins
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

    def _scheme(self, name: str, settings: RegistrySettings, tls: TlsFiles) -> str:
        """The scheme of `plain_http`; by default https.

        It is http for loopback hosts and those that registries.conf calls insecure,
        unless there is a CA or certificate file for them, of the settings or in
        certs.d, even one that cannot be used.
        """
        if settings.plain_http is not None:
            return "http" if settings.plain_http else "https"
        is_loopback = is_loopback_host(origin_of(f"https://{api_host(name)}").host)
        if not is_loopback and not self.conf.is_insecure(name):
            return "https"
        return "http" if self._is_without_tls_files(name, tls) else "https"

    def _is_without_tls_files(self, name: str, tls: TlsFiles) -> bool:
        if tls == SYSTEM_TRUST and self._settings.docker_config:
            tls = certs_d_files(name, self._environment)
        return tls == SYSTEM_TRUST

    def sources(self, reference: Reference) -> tuple[Reference | Failure, ...]:
        """Where to ask for an image, in this order: mirrors, then its registry.

        A mirror of the settings replaces those of registries.conf. A `Failure` stands
        for a place that registries.conf blocks.
        """
        if reference.is_store:
            return (reference,)
        mirror = self._settings.registry(reference.registry).mirror
        if mirror is not None:
            place = self.conf.location(reference)
            return mirror_reference(reference, mirror), place
        return self.conf.sources(reference) if self.conf.entries else (reference,)

    def location(self, name: str, repository: str) -> Reference | Failure:
        """Where a repository is without its mirrors; the tag is of no meaning."""
        place = Reference(
            registry=name, repository=repository, tag="latest", digest=None
        )
        return place if place.is_store else self.conf.location(place)

    async def list_tags(
        self, name: str, repository: str
    ) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a tag list, from the location of the repository.

        Never from a mirror, which may have only some of the tags.
        """
        place = self.location(name, repository)
        if isinstance(place, Failure):
            yield place.at(Stage.LIST)
            return
        registry = await self.get(place.host)
        async for page in registry.list_tags(place.repository):
            yield page

    async def list_repositories(
        self, name: str, prefix: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of a catalog (see `Lister`), from the location of the registry.

        A catalog below a path of another registry has other names, and is refused.
        """
        entry = self.conf.find(name)
        if entry is not None:
            if entry.blocked:
                detail = f"{entry.prefix} is blocked in {entry.file}"
            elif "/" in entry.endpoint.location:
                detail = (
                    f"the catalog of {name} is not listed: {entry.file} moves it to"
                    f" {entry.endpoint.location}; name the repositories, or list that"
                )
            else:
                detail, name = "", entry.endpoint.location or name
            if detail:
                kind = FailureKind.DENIED
                yield Failure(kind=kind, detail=detail, stage=Stage.LIST, attempts=0)
                return
        registry = await self.get(name)
        async for page in registry.list_repositories(prefix):
            yield page

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


def _cloud_endpoint(base_url: str, sender: RequestSender) -> CloudEndpoint | None:
    """What a login with the identity of this machine may be sent to."""
    host = cloud_of_url(base_url)
    if host is None:
        return None
    exchange = functools.partial(
        _exchange_azure_token, base_url=base_url, sender=sender
    )
    return CloudEndpoint(host=host, exchange=exchange)


async def _exchange_azure_token(
    token: Secret, *, base_url: str, sender: RequestSender
) -> Secret | Failure:
    from auditor.registry.auth.clouds.azure_identity import (  # noqa: PLC0415
        exchange_azure_token,
    )

    return await exchange_azure_token(token, base_url=base_url, sender=sender)


def _allowed_hosts(settings: RegistrySettings) -> frozenset[str]:
    """Hosts named by the user, which the SSRF guard lets pass."""
    urls = filter(None, (settings.token_url, settings.api_url))
    return frozenset({*settings.realm_hosts, *(origin_of(url).host for url in urls)})
