"""The catalog, and where it is closed, the API of the product that shows itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from auditor.errors import Failure, FailureKind, Stage
from auditor.protocol.listed import ListedTag
from auditor.registry.lists.lister import Lister, Page

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
