"""Requests the listings of a product's API, with the login of the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from auditor.config import RegistrySettings
from auditor.errors import Failure, FailureKind
from auditor.registry.auth.api_login import ApiAuthorizer
from auditor.registry.listing.interface import (
    Entry,
    ListedTag,
    Lister,
    Page,
    ParsedPage,
    incomplete,
)
from auditor.registry.listing.paging import read_pages
from auditor.registry.products.product_apis import Product
from auditor.registry.request import RequestKind
from auditor.wire.response import Response

# A page of 1,000 tags with digests, platforms and times, at 16 KB each.
MAX_API_BYTES = 16 * 1024 * 1024


class ProductLister:
    """The listings of one registry by the API of its product.

    `auth` has the login and the API's URL. Without a prefix, the namespaces in the
    settings are listed. `registry` lists the tags that the
    API does not list. If the configured login does not fit the API, repositories are
    listed anonymously and end with a failure, because private ones are missing.
    """

    def __init__(
        self,
        product: Product,
        *,
        settings: RegistrySettings,
        auth: ApiAuthorizer,
        registry: Lister,
    ) -> None:
        self._product = product
        self._page_size = min(settings.page_size, product.max_page_size)
        self._namespaces = settings.list_namespaces
        self._auth = auth
        self._registry = registry

    async def tags(self, repository: str) -> AsyncIterator[Page[ListedTag] | Failure]:
        """The tags of a repository, from the registry if the API answers 404.

        A proxy that decodes `%2F` in paths makes the API answer 404 for all names
        with a slash.
        """
        path = self._product.tags_path(repository, self._page_size)
        is_listed = path is not None
        if path is not None:
            async for page in self._pages(
                path,
                self._product.parse_tags,
                auth=replace(self._auth, name=repository),
                listing=f"tags of {repository}",
            ):
                # On later pages this is another kind of failure.
                is_listed = not (
                    isinstance(page, Failure) and page.kind is FailureKind.NOT_FOUND
                )
                if is_listed:
                    yield page
        if not is_listed:
            async for page in self._registry.tags(repository):
                yield page

    async def repositories(
        self, prefix: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        """The repositories below a prefix, or in the configured namespaces.

        The pages of several namespaces are numbered as one listing. After a namespace
        that cannot be listed, it continues with the next one.
        """
        prefixes = (prefix,) if prefix is not None else self._namespaces or (None,)
        number = 0
        for index, namespace in enumerate(prefixes):
            is_last = index == len(prefixes) - 1
            count = 0
            async for page in self._namespace(namespace):
                if isinstance(page, Failure):
                    yield page
                    continue
                count = page.number
                yield replace(
                    page,
                    number=number + page.number,
                    last=page.last and is_last,
                    total=page.total if len(prefixes) == 1 else None,
                )
            number += count

    async def _namespace(
        self, namespace: str | None
    ) -> AsyncIterator[Page[str] | Failure]:
        path = self._product.repositories_path(namespace, self._page_size)
        if path is None:
            yield incomplete(
                f"{self._product.name} cannot list all repositories; put a namespace"
                " before the first * or into list_namespaces"
            )
            return
        auth = replace(self._auth, name=namespace or "")
        listing = "repositories" + (f" of {namespace}" if namespace else "")
        failed = False
        async for page in self._pages(
            path, self._product.parse_repositories, auth=auth, listing=listing
        ):
            failed = failed or isinstance(page, Failure)
            yield page
        reason = None if failed else await auth.unused_login()
        if reason is not None:
            yield incomplete(f"{listing}: only public ones are listed: {reason}")

    async def _pages(
        self,
        path: str,
        parse: Callable[[Response], ParsedPage[Entry]],
        *,
        auth: ApiAuthorizer,
        listing: str,
    ) -> AsyncIterator[Page[Entry] | Failure]:
        async def get(url: str) -> Response | Failure:
            response = await auth.sender.send(
                RequestKind.LIST,
                "GET",
                url,
                headers={"Accept": "application/json"},
                max_bytes=MAX_API_BYTES,
                authorizer=auth,
            )
            if not isinstance(response, Failure):
                return response
            # So that a denied API is not mistaken for a denied catalog.
            detail = f"the API of {self._product.name}: {response.detail}"
            return replace(response, detail=detail)

        first = await get(auth.api_url + path)
        async for page in read_pages(first, get=get, parse=parse, listing=listing):
            yield page
