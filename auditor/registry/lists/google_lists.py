"""The lists of Google's registries, whose list of tags names the repositories below."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

from auditor.errors import Failure, Stage
from auditor.protocol.listed import ListedTag
from auditor.registry.listing.paging import MAX_PAGES, incomplete
from auditor.registry.lists.lister import Lister, Page
from auditor.registry.products.google import children, has_tags


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
