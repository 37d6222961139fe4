"""Docker Hub: `https://hub.docker.com/v2`.

Source: the Docker Hub API reference ("List repositories", "List repository tags").
Pages are linked by `next`; `count` counts the whole list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from auditor.registry.listing.paging import ListedTag, ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod
from auditor.wire.response import Response

Entry = TypeVar("Entry")

HUB_URL = "https://hub.docker.com"


class Hub:
    """Docker Hub: the repositories of a namespace, and tags with their digests."""

    name = "Docker Hub"
    login = LoginMethod.EXCHANGE
    most = 100

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A namespace; there is no list of all repositories."""
        if below is None:
            return None
        namespace = below.partition("/")[0]
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{namespace}/repositories?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`{"count": 2, "next": ..., "results": [{"namespace": ..., "name": ...}]}`."""
        return _reading(answer, api.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """A repository has a namespace and a name, and no more."""
        namespace, _, name = repository.partition("/")
        if not name or "/" in name:
            return None
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{namespace}/repositories/{name}/tags?{query}"

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """`{..., "results": [{"name": ..., "digest": ..., "images": [...]}]}`."""
        return _reading(answer, _tag)


def _reading(
    answer: Response, read: Callable[[dict[str, Any]], Entry | None]
) -> ParsedPage[Entry]:
    document = api.document_of(answer)
    results = api.entries_of(document, "results")
    entries, unreadable = api.read_each(results, read)
    return ParsedPage(
        entries=entries,
        following=api.named(answer, document.get("next")),
        unreadable=unreadable,
        total=api.whole(document, "count"),
    )


def _tag(entry: dict[str, Any]) -> ListedTag | None:
    name = api.text(entry, "name")
    if name is None:
        return None
    images = entry.get("images")
    images = images if isinstance(images, list) else []
    only = images[0] if len(images) == 1 and isinstance(images[0], dict) else {}
    return ListedTag(
        name,
        # Tags that were pushed long ago have none; `images` are then the children of
        # an index, whose digest nobody tells.
        digest=api.digest(entry, "digest"),
        media_type=api.text(entry, "media_type"),
        size=api.whole(only, "size"),
        pushed=api.moment(entry, "tag_last_pushed"),
    )
