"""Chooses the lister of a registry: its own API, or that of its product.

By default (`lister = "auto"`) repositories come from the product's API if the catalog
is known to be closed, or if it turns out to be closed and its challenge identifies the
product. Tags then come from the registry itself, which is always reachable. A `lister`
that is configured is used for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

from auditor.config import ListerName, RegistrySettings
from auditor.errors import Failure, FailureKind, Stage, UsageError
from auditor.fast_dataclass import dataclass
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.listing.distribution import DistributionLister
from auditor.registry.listing.interface import ListedTag, Lister, Page
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.google import google_repositories
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import Hub
from auditor.registry.products.product import Product, ProductLister
from auditor.registry.products.quay import Quay
from auditor.registry.products.recognise import recognise_api
from auditor.registry.request import RequestSender
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.cloud_hosts import cloud_host, cloud_of_url
from auditor.wire.credential import Credential
from auditor.wire.url_policy import origin_of

_PRODUCTS: dict[ListerName, type[Product]] = {
    ListerName.DTR: Dtr,
    ListerName.HARBOR: Harbor,
    ListerName.HUB: Hub,
    ListerName.QUAY: Quay,
    ListerName.GITLAB: GitLab,
    ListerName.GITEA: Gitea,
}
# Registries with an API on another host.
_KNOWN = {
    DOCKER_HUB: (ListerName.HUB, "https://hub.docker.com"),
    "registry.gitlab.com": (ListerName.GITLAB, "https://gitlab.com"),
    "ghcr.io": (ListerName.GHCR, "https://api.github.com"),
}
_GITHUB_PREFIX = "containers."
# Statuses with which products close their catalog (see docs/registries/index.md).
_CLOSED = frozenset({401, 403, 404, 405})


def choose_lister(
    name: str,
    *,
    settings: RegistrySettings,
    registry: DistributionLister,
    base_url: str,
    sender: RequestSender,
    make_sender: Callable[..., RequestSender],
    auth: HostAuth,
    untagged: bool,
) -> Lister:
    """The lister of the registry `name`.

    `sender` sends requests to the registry; `make_sender` makes one for an API on
    another host. `untagged`: manifests without a tag are wanted, too.
    """
    configured = settings.lister
    if configured is ListerName.CATALOG:
        return registry

    def product_lister(product: Product, api_url: str) -> Lister:
        api_sender = sender
        if origin_of(api_url) != origin_of(base_url):
            api_sender = make_sender(f"the API of {name}", credential_base=api_url)
        return ProductLister(
            product,
            api_url=api_url,
            settings=settings,
            sender=api_sender,
            credential=partial(_api_credential, auth, api_url),
            registry_auth=registry.authorizer,
            registry=registry,
            untagged=untagged,
        )

    recognised = _RecognisedApi(auth, base_url, product_lister)

    def google(prefix: str | None) -> AsyncIterator[Page[str] | Failure]:
        if prefix is None:
            return registry.repositories(None)
        return google_repositories(prefix, registry.tags_document)

    wanted = untagged and configured is ListerName.AUTO
    match _known_lister(name) if configured is ListerName.AUTO else configured:
        case ListerName.GOOGLE:
            return SplitLister(tags=registry.tags, repositories=google)
        case ListerName.CATALOG:
            return SplitLister(
                tags=_auto_tags(recognised.lister_of_untagged, registry, wanted=wanted),
                repositories=partial(_catalog_or_product, registry, recognised.lister),
            )
        case product:
            if product is ListerName.ECR:
                api_sender = make_sender(f"the API of {name}")
                return _ecr_lister(name, settings, auth, api_sender, untagged=untagged)
            api_url = product_api_url(name, settings, base_url)
            found, api_url = _product_at(product, api_url)
            api = product_lister(found, api_url)
    if configured is not ListerName.AUTO:
        return api
    tags = _auto_tags(_always(api), registry, wanted=wanted and found.lists_untagged)
    return SplitLister(tags=tags, repositories=api.repositories)


@dataclass(frozen=True, slots=True)
class _RecognisedApi:
    """The API of the product that the registry's challenge identifies."""

    auth: HostAuth
    base_url: str
    make_lister: Callable[[Product, str], Lister]

    def lister(self) -> Lister | None:
        """Its lister, once the challenge is known; None if the product is not."""
        found = self._found()
        return self.make_lister(*found) if found else None

    async def lister_of_untagged(self) -> Lister | None:
        """The same, if it lists manifests without a tag; asks for the challenge."""
        await self.auth.plan.get()
        found = self._found()
        return self.make_lister(*found) if found and found[0].lists_untagged else None

    def _found(self) -> tuple[Product, str] | None:
        plan = self.auth.plan.known
        if plan is None:
            return None
        return recognise_api(plan.realm, plan.service, base_url=self.base_url)


def _product_at(name: ListerName, api_url: str) -> tuple[Product, str]:
    """The product and the URL of its API; both can be in `api_url`.

    Few runs need the modules that are imported here.
    """
    match name:
        case ListerName.GHCR:
            from auditor.registry.products.ghcr import GitHub  # noqa: PLC0415

            return GitHub(), api_url
        case ListerName.ACR:
            from auditor.registry.products.acr import AzureRegistry  # noqa: PLC0415

            return AzureRegistry(), api_url
        case ListerName.NEXUS:
            from auditor.registry.products import nexus  # noqa: PLC0415

            found = nexus.split_repository_url(api_url)
            if found is None:
                raise UsageError(
                    f"{api_url}: the lister nexus needs the URL of a repository as"
                    " api_url: https://HOST/repository/NAME"
                )
            return nexus.Nexus(found[1]), found[0]
        case ListerName.ARTIFACTORY:
            from auditor.registry.products import artifactory  # noqa: PLC0415

            url, key = artifactory.split_artifactory_url(api_url)
            return artifactory.Artifactory(key), url
    return _PRODUCTS[name](), api_url


def _ecr_lister(
    name: str,
    settings: RegistrySettings,
    auth: HostAuth,
    sender: RequestSender,
    *,
    untagged: bool,
) -> Lister:
    from auditor.registry.products.ecr import EcrLister  # noqa: PLC0415

    host = cloud_host(name)
    if host is None or host.account is None:
        raise UsageError(f"{name}: the lister ecr is for private registries of ECR")
    return EcrLister(
        host,
        identity=lambda: auth.credentials.clouds.aws(settings),
        settings=settings,
        sender=sender,
        clock=auth.clock,
        untagged=untagged,
    )


async def _api_credential(
    auth: HostAuth, api_url: str, repository: str
) -> Credential | Failure | None:
    """The credential of a repository or namespace, for the product's API."""
    scope = pull_scope(repository) if repository else CATALOG_SCOPE
    account = await auth.account(scope)
    if isinstance(account, Failure):
        return account
    machine = None if account.found is None else account.found.machine
    if machine is not None:
        # As in `allowed_realm`: it never leaves its cloud.
        host = cloud_of_url(api_url)
        if host is None or host.cloud is not machine.cloud:
            return None
    return account.credential


def product_api_url(name: str, settings: RegistrySettings, base_url: str) -> str:
    """The URL of the product's API: configured, known, or the registry's own."""
    _, known_url = _KNOWN.get(name, (None, base_url))
    if settings.lister is ListerName.GHCR and name.startswith(_GITHUB_PREFIX):
        known_url = _github_enterprise_url(name)
    return (settings.api_url or known_url).rstrip("/")


def _github_enterprise_url(registry: str) -> str:
    """The API of GitHub Enterprise, whose registry is `containers.HOST`.

    Sources: "Working with the Container registry"; "REST API: API root endpoint".
    """
    host = registry.removeprefix(_GITHUB_PREFIX)
    if host.endswith(".ghe.com"):
        return f"https://api.{host}"
    return f"https://{host}/api/v3"


def _known_lister(name: str) -> ListerName:
    if name in _KNOWN:
        return _KNOWN[name][0]
    host = name.partition(":")[0]
    if host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev")):
        return ListerName.GOOGLE
    return ListerName.CATALOG


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitLister:
    """A `Lister` of tags from one source and repositories from another."""

    tags: Callable[[str], AsyncIterator[Page[ListedTag] | Failure]]
    repositories: Callable[[str | None], AsyncIterator[Page[str] | Failure]]


async def _catalog_or_product(
    catalog: Lister, recognised: Callable[[], Lister | None], prefix: str | None
) -> AsyncIterator[Page[str] | Failure]:
    """The registry's catalog; if it is closed, the API of the recognised product.

    `recognised` is called after the catalog's challenge is known. If both fail, the
    failure names both reasons.
    """
    has_pages = False
    async for page in catalog.repositories(prefix):
        if isinstance(page, Failure) and not has_pages and _is_closed(page):
            product = recognised()
            if product is not None:
                async for other in product.repositories(prefix):
                    if isinstance(other, Failure) and not has_pages:
                        yield replace(page, detail=f"{page.detail}; {other.detail}")
                    else:
                        has_pages = True
                        yield other
                return
        has_pages = True
        yield page


_Tags = Callable[[str], AsyncIterator[Page[ListedTag] | Failure]]


def _always(api: Lister) -> Callable[[], Awaitable[Lister]]:
    async def find() -> Lister:
        return api

    return find


def _auto_tags(
    find_api: Callable[[], Awaitable[Lister | None]],
    registry: Lister,
    *,
    wanted: bool,
) -> _Tags:
    """The tags by the registry; if `wanted`, by an API with what has no tag.

    Nobody configured this API: if it fails at once, the registry lists the tags.
    """
    if not wanted:
        return registry.tags

    async def tags(repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        has_pages = False
        if (api := await find_api()) is not None:
            async for page in api.tags(repository):
                if isinstance(page, Failure) and not has_pages:
                    break
                has_pages = True
                yield page
        if not has_pages:
            async for page in registry.tags(repository):
                yield page

    return tags


def _is_closed(failure: Failure) -> bool:
    """Whether the registry denies the catalog to a login that it may accept."""
    if failure.kind is FailureKind.NO_PULL_GRANT:
        return True
    return failure.stage is Stage.LIST and failure.status in _CLOSED
