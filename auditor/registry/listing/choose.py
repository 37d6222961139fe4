"""Which lists a registry is asked for: its own, or those of its product's API."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from auditor.config import ListerName, RegistrySettings
from auditor.errors import Failure, FailureKind, Stage
from auditor.oci.reference import DOCKER_HUB
from auditor.registry.auth.api_login import ApiLogin
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.auth.scope_auth import HostAuth
from auditor.registry.listing.distribution import DistributionLists
from auditor.registry.listing.paging import (
    MAX_PAGES,
    ListedTag,
    Lister,
    Page,
    Reading,
    incomplete,
    pages,
)
from auditor.registry.products import Product
from auditor.registry.products.dtr import Dtr
from auditor.registry.products.gitea import Gitea
from auditor.registry.products.gitlab import GitLab
from auditor.registry.products.google import children, has_tags
from auditor.registry.products.harbor import Harbor
from auditor.registry.products.hub import HUB_URL, Hub
from auditor.registry.products.quay import Quay
from auditor.registry.products.recognise import recognised
from auditor.registry.request import Exchange, Host, RequestKind
from auditor.wire.challenge import CATALOG_SCOPE, pull_scope
from auditor.wire.login import Login
from auditor.wire.response import Response
from auditor.wire.url_policy import origin_of

# -- catalog_else --
# The catalog, and where it is closed, the API of the product that shows itself.

# Statuses with which products close their catalog (see pipeline/expansion/catalog.py).
_CLOSED = frozenset({401, 403, 404, 405})


class CatalogElse:
    """Asks the catalog first. `product` gives the lists of the product, if it is
    known by then what it is."""

    def __init__(self, registry: Lister, product: Callable[[], Lister | None]) -> None:
        self._registry = registry
        self._product = product

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags, from the registry."""
        return self._registry.tags(repository)

    async def repositories(
        self, below: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the catalog, or of the API; a failure of both tells of both."""
        is_first = True
        async for page in self._registry.repositories(below):
            product = None
            if is_first and isinstance(page, Failure) and _is_closed(page):
                product = self._product()
            is_first = False
            if product is None:
                yield page
                continue
            assert isinstance(page, Failure)
            has_read = False
            async for other in product.repositories(below):
                if isinstance(other, Failure) and not has_read:
                    yield replace(page, detail=f"{page.detail}; {other.detail}")
                    continue
                has_read = True
                yield other
            return


def _is_closed(failure: Failure) -> bool:
    """Whether the login is good, as far as is known, and the catalog is not for it."""
    if failure.kind is FailureKind.NO_PULL_GRANT:
        return True
    return failure.stage is Stage.LIST and failure.status in _CLOSED


# -- google_lists --
# The lists of Google's registries, whose list of tags names the repositories below.


class _TagLists(Lister, Protocol):
    async def whole_tag_list(self, repository: str) -> dict[str, Any] | Failure: ...


class GoogleLists:
    """Walks down from a path; without one, the registry's catalog is asked."""

    def __init__(self, registry: _TagLists) -> None:
        self._registry = registry

    def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags, with their digests."""
        return self._registry.tags(repository)

    async def repositories(
        self, below: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """A page for each repository that is looked into, the nearest first."""
        if below is None:
            async for page in self._registry.repositories(None):
                yield page
            return
        waiting = deque([below])
        number = 0
        failed = False
        while waiting:
            name = waiting.popleft()
            number += 1
            document = await self._registry.whole_tag_list(name)
            if isinstance(document, Failure):
                if number == 1:
                    yield document.at(Stage.LIST)
                    return
                failed = True
                yield incomplete(f"{name} cannot be looked into: {document.detail}")
                continue
            below_it, unreadable = children(document, name)
            waiting += below_it
            if number + len(waiting) > MAX_PAGES:
                yield incomplete(f"more than {MAX_PAGES} repositories below {below}")
                return
            yield Page(
                entries=(name,) if has_tags(document) else (),
                number=number,
                last=not waiting and not failed,
                unreadable=unreadable,
            )


# -- product_lists --
# The lists of a registry whose product tells them through an API of its own.

# A page of 1,000 tags with digests, platforms and times, at 16 KB each.
MAX_API_BYTES = 16 * 1024 * 1024

_HEADERS = {"Accept": "application/json"}

Entry = TypeVar("Entry")


class ProductLists:
    """The lists of one registry, as the API of its product gives them.

    `namespaces` are asked for where everything is wanted. What the API does not list
    comes from `registry`, the registry's own lists. Repositories that were listed as
    anybody, though there is a login, end with a failure: private ones are missing.
    """

    def __init__(
        self,
        product: Product,
        *,
        api_url: str,
        page_size: int,
        namespaces: tuple[str, ...],
        exchange: Exchange,
        login: ApiLogin,
        registry: Lister,
    ) -> None:
        self._product = product
        self._api_url = api_url
        self._page_size = min(page_size, product.most)
        self._namespaces = namespaces
        self._exchange = exchange
        self._login = login
        self._registry = registry

    async def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The pages of a repository's tags.

        A repository that the API does not know is asked of the registry itself: a
        proxy that decodes names on their way to the API makes all with a slash so.
        """
        path = self._product.tags_path(repository, self._page_size)
        is_known = path is not None
        if path is not None:
            async for page in self._pages(
                path,
                self._product.read_tags,
                auth=self._login.for_repository(repository),
                called=f"the list of {repository}",
            ):
                is_known = not _is_not_there(page)
                if is_known:
                    yield page
        if not is_known:
            async for page in self._registry.tags(repository):
                yield page

    async def repositories(
        self, below: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The pages of the repositories below a path, or in the namespaces.

        The pages of several namespaces are numbered as one list, which goes on after
        a namespace that cannot be listed.
        """
        wanted = (below,) if below is not None else self._namespaces or (None,)
        number = 0
        for index, namespace in enumerate(wanted):
            is_last = index == len(wanted) - 1
            read = 0
            async for page in self._below(namespace):
                if isinstance(page, Failure):
                    yield page
                    continue
                read = page.number
                yield Page(
                    entries=page.entries,
                    number=number + page.number,
                    last=page.last and is_last,
                    unreadable=page.unreadable,
                    total=page.total if len(wanted) == 1 else None,
                )
            number += read

    async def _below(self, namespace: str | None) -> AsyncIterator[Page[str] | Failure]:
        path = self._product.repositories_path(namespace, self._page_size)
        if path is None:
            yield incomplete(
                f"{self._product.name} has no list of all repositories: name a"
                " namespace before the first * or in list_namespaces"
            )
            return
        called = "the list of repositories" + (f" of {namespace}" if namespace else "")
        failed = False
        async for page in self._pages(
            path,
            self._product.read_repositories,
            auth=self._login.for_repository(namespace or ""),
            called=called,
        ):
            failed = failed or isinstance(page, Failure)
            yield page
        why = None if failed else await self._login.passed_over(namespace or "")
        if why is not None:
            yield incomplete(f"{called} has what anybody may see and no more: {why}")

    async def _pages(
        self,
        path: str,
        read: Callable[[Response], Reading[Entry]],
        *,
        auth: Authorizer,
        called: str,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        async def get(url: str) -> Response | Failure:
            answer = await self._exchange.send(
                RequestKind.LIST,
                "GET",
                url,
                headers=_HEADERS,
                max_bytes=MAX_API_BYTES,
                authorizer=auth,
            )
            return self._said(answer) if isinstance(answer, Failure) else answer

        first = await get(self._api_url + path)
        async for page in pages(first, get=get, read=read, called=called):
            yield page

    def _said(self, failure: Failure) -> Failure:
        """So that a denied API is not taken for a denied catalog."""
        return Failure(
            kind=failure.kind,
            detail=f"the API of {self._product.name}: {failure.detail}",
            stage=failure.stage,
            status=failure.status,
            attempts=failure.attempts,
        )


def _is_not_there(page: Page[Entry] | Failure) -> bool:
    """Whether a list does not begin: later on, it is another kind of failure."""
    return isinstance(page, Failure) and page.kind is FailureKind.NOT_FOUND


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
