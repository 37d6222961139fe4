"""The API of Docker Trusted Registry, now Mirantis Secure Registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import Entry, ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response


class Dtr(Product):
    """Docker Trusted Registry, now Mirantis Secure Registry (MSR): `/api/v0`.

    Each MSR serves its API reference at `/api/v0/docs/`. The header `X-Next-Page-Start`
    leads to the next page, `X-Resource-Count` counts the whole listing.
    """

    name = "DTR"
    login_method = LoginMethod.BASIC
    max_page_size = 1000

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all repositories, or of one namespace."""
        namespace = f"/{first_component(prefix)}" if prefix else ""
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories{namespace}?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}]}`."""
        return _dtr_page(response, "repositories", fields.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of tags; a repository of DTR has exactly one namespace."""
        if repository.count("/") != 1:
            return None
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories/{repository}/tags?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"name": ..., "digest": ..., "manifest": {...}}]`."""
        return _dtr_page(response, None, _dtr_tag)


def _dtr_page(
    response: Response,
    key: str | None,
    parse: Callable[[dict[str, Any]], Entry | None],
) -> ParsedPage[Entry]:
    start = response.headers.get("X-Next-Page-Start")
    return fields.parse_page(
        fields.entries_of(fields.document_of(response), key),
        parse,
        next_url=fields.url_with(response, pageStart=start) if start else None,
        total=fields.parse_number(response.headers.get("X-Resource-Count")),
    )


def _dtr_tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    manifest = fields.mapping(entry, "manifest")
    return ListedTag(
        name,
        digest=fields.digest(entry, "digest"),
        media_type=fields.text(manifest, "mediaType"),
        created=fields.time(manifest, "createdAt"),
        pushed=fields.time(entry, "updatedAt"),
    )
