"""Docker Trusted Registry, today Mirantis Secure Registry: `/api/v0`.

Source: the API reference that each MSR serves at `/api/v0/docs/`. Pages are linked by
the header `X-Next-Page-Start`; `X-Resource-Count` counts the whole list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from auditor.registry.listing.paging import ListedTag, ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod
from auditor.wire.response import Response

_NEXT = "X-Next-Page-Start"
_COUNT = "X-Resource-Count"

Entry = TypeVar("Entry")


class Dtr:
    """DTR and MSR: repositories of all namespaces, and tags with their digests."""

    name = "DTR"
    login = LoginMethod.BASIC
    most = 1000

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A list of everything, or of one namespace."""
        namespace = f"/{below.partition('/')[0]}" if below else ""
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories{namespace}?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}]}`."""
        entries = api.entries_of(api.document_of(answer), "repositories")
        return _reading(answer, entries, api.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """A repository has a namespace and a name, and no more."""
        if repository.count("/") != 1:
            return None
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories/{repository}/tags?{query}"

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """`[{"name": ..., "digest": ..., "manifest": {...}}]`."""
        return _reading(answer, api.entries_of(api.document_of(answer)), _tag)


def _tag(entry: dict[str, Any]) -> ListedTag | None:
    name = api.text(entry, "name")
    if name is None:
        return None
    manifest = entry.get("manifest")
    manifest = manifest if isinstance(manifest, dict) else {}
    return ListedTag(
        name,
        digest=api.digest(entry, "digest"),
        media_type=api.text(manifest, "mediaType"),
        created=api.moment(manifest, "createdAt"),
        pushed=api.moment(entry, "updatedAt"),
    )


def _reading(
    answer: Response,
    listed: list[Any],
    read: Callable[[dict[str, Any]], Entry | None],
) -> ParsedPage[Entry]:
    entries, unreadable = api.read_each(listed, read)
    start = answer.headers.get(_NEXT)
    return ParsedPage(
        entries=entries,
        following=api.turned(answer, pageStart=start) if start else None,
        unreadable=unreadable,
        total=api.count_in_header(answer, _COUNT),
    )
