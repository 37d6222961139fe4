"""Docker Trusted Registry, now Mirantis Secure Registry (MSR): `/api/v0`.

Source: the API reference that each MSR serves at `/api/v0/docs/`. The header
`X-Next-Page-Start` leads to the next page, `X-Resource-Count` counts the whole listing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from auditor.registry.auth.api_login import LoginMethod
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import Entry, ListedTag, ParsedPage
from auditor.wire.response import Response


class Dtr:
    """DTR and MSR: the repositories of all namespaces, and tags with digests."""

    name = "DTR"
    login_method = LoginMethod.BASIC
    max_page_size = 1000

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all repositories, or of one namespace."""
        namespace = f"/{prefix.partition('/')[0]}" if prefix else ""
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories{namespace}?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}]}`."""
        document = fields.document_of(response)
        entries = fields.entries_of(document, "repositories")
        return _page(response, entries, fields.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of tags; a repository of DTR has exactly one namespace."""
        if repository.count("/") != 1:
            return None
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories/{repository}/tags?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"name": ..., "digest": ..., "manifest": {...}}]`."""
        document = fields.document_of(response)
        return _page(response, fields.entries_of(document), _tag)


def _tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    manifest = entry.get("manifest")
    manifest = manifest if isinstance(manifest, dict) else {}
    return ListedTag(
        name,
        digest=fields.digest(entry, "digest"),
        media_type=fields.text(manifest, "mediaType"),
        created=fields.time(manifest, "createdAt"),
        pushed=fields.time(entry, "updatedAt"),
    )


def _page(
    response: Response,
    entries: list[Any],
    parse: Callable[[dict[str, Any]], Entry | None],
) -> ParsedPage[Entry]:
    start = response.headers.get("X-Next-Page-Start")
    return fields.parse_page(
        entries,
        parse,
        next_url=fields.url_with(response, pageStart=start) if start else None,
        total=fields.header_count(response, "X-Resource-Count"),
    )
