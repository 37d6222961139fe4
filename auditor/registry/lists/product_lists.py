"""The lists of a registry whose product tells them through an API of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from auditor.errors import Failure, FailureKind
from auditor.protocol.listed import ListedTag, Reading
from auditor.registry.auth.api_login import ApiLogin
from auditor.registry.auth.authorization import Authorizer
from auditor.registry.listing.paging import incomplete, pages
from auditor.registry.lists.lister import Lister, Page
from auditor.registry.products import Product
from auditor.registry.request import Exchange, RequestKind
from auditor.wire.response import Answer

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
        read: Callable[[Answer], Reading[Entry]],
        *,
        auth: Authorizer,
        called: str,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        async def get(url: str) -> Answer | Failure:
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
