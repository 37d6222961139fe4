"""Which lists a registry is asked for: its own, or those of its product's API."""

from __future__ import annotations

from collections.abc import AsyncIterator

from auditor.config import ListerName, RegistrySettings
from auditor.errors import Failure
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.auth.api_login import ApiLogin
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.host import Host
from auditor.registry.listing.distribution import DistributionLists
from auditor.registry.lists.catalog_else import CatalogElse
from auditor.registry.lists.google_lists import GoogleLists
from auditor.registry.lists.lister import ListedTag, Lister, Page
from auditor.registry.lists.product_lists import ProductLists
from auditor.registry.products import Product
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import HUB_URL, Hub
from auditor.registry.products.quay import Quay
from auditor.registry.products.recognise import recognised
from auditor.registry.request import Exchange
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.login import Login
from auditor.wire.url_policy import origin_of

_PRODUCTS: dict[ListerName, type[Product]] = {
    ListerName.DTR: Dtr,
    ListerName.HARBOR: Harbor,
    ListerName.HUB: Hub,
    ListerName.QUAY: Quay,
    ListerName.GITLAB: GitLab,
    ListerName.GITEA: Gitea,
}
_GITLAB_COM = "registry.gitlab.com"
# APIs that stand at another host than their registry.
_API_URLS = {DOCKER_HUB: HUB_URL, _GITLAB_COM: "https://gitlab.com"}


class RepositoriesOf:
    """Repositories from one list, tags from another."""

    def __init__(self, repositories: Lister, *, tags: Lister) -> None:
        self._repositories = repositories
        self._tags = tags

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags."""
        return self._tags.tags(repository)

    def repositories(self, below: str | None) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the repositories below a path."""
        return self._repositories.repositories(below)


def lists_of(
    name: str,
    *,
    settings: RegistrySettings,
    registry: DistributionLists,
    base_url: str,
    host: Host,
    exchange: Exchange,
    auth: HostAuth,
) -> Lister:
    """The lists of the registry `name`, which `exchange` asks.

    Where nobody says which, and the catalog is known or found to be closed,
    repositories come from the product's API, and tags from the registry, which is
    surely reachable.
    """
    chosen = settings.lister
    known = _known(name) if chosen is ListerName.AUTO else chosen
    if chosen is ListerName.CATALOG:
        return registry
    if known is ListerName.GOOGLE:
        return GoogleLists(registry)

    async def account(repository: str) -> Login | Failure | None:
        scope = pull_scope(repository) if repository else CATALOG_SCOPE
        found = await auth.account(scope)
        return found if isinstance(found, Failure) else found.login

    def lists(product: Product, api_url: str) -> Lister:
        is_registrys_own = origin_of(api_url) == origin_of(base_url)
        asks = exchange
        if not is_registrys_own:
            asks = host.exchange(f"the API of {name}", credentials_to=api_url)
        login = ApiLogin(product.login, api_url=api_url, exchange=asks, account=account)
        return ProductLists(
            product,
            api_url=api_url,
            page_size=settings.page_size,
            namespaces=settings.list_namespaces,
            exchange=asks,
            login=login,
            registry=registry,
        )

    def shown() -> Lister | None:
        plan = auth.plan.known
        found = plan and recognised(plan.realm, plan.service, base_url=base_url)
        return lists(*found) if found else None

    if known is ListerName.CATALOG:
        return CatalogElse(registry, shown)
    found = lists(_PRODUCTS[known](), api_url_of(name, settings, base_url))
    if chosen is ListerName.AUTO:
        return RepositoriesOf(found, tags=registry)
    return found


def api_url_of(name: str, settings: RegistrySettings, base_url: str) -> str:
    """Where the API is: by the user's word, as is known, or at the registry."""
    return (settings.api_url or _API_URLS.get(name) or base_url).rstrip("/")


def _known(name: str) -> ListerName:
    host = name.partition(":")[0]
    if name == DOCKER_HUB:
        return ListerName.HUB
    if name == _GITLAB_COM:
        return ListerName.GITLAB
    if host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev")):
        return ListerName.GOOGLE
    return ListerName.CATALOG
