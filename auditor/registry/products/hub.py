"""The API of Docker Hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import Entry, ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response


class Hub(Product):
    """Docker Hub: `https://hub.docker.com/v2`.

    Source: "List repositories", "List repository tags". Pages are linked by `next`;
    `count` counts the whole listing.
    """

    name = "Docker Hub"
    login_method = LoginMethod.EXCHANGE
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a namespace; the API cannot list all repositories."""
        if prefix is None:
            return None
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{first_component(prefix)}/repositories?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"count": 2, "next": ..., "results": [{"namespace": ..., "name": ...}]}`."""
        return _hub_page(response, fields.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of tags; a repository of the Hub has exactly one namespace."""
        namespace, _, name = repository.partition("/")
        if not name or "/" in name:
            return None
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{namespace}/repositories/{name}/tags?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`{..., "results": [{"name": ..., "digest": ..., "images": [...]}]}`."""
        return _hub_page(response, _hub_tag)


def _hub_page(
    response: Response, parse: Callable[[dict[str, Any]], Entry | None]
) -> ParsedPage[Entry]:
    document = fields.document_of(response)
    return fields.parse_page(
        fields.entries_of(document, "results"),
        parse,
        next_url=fields.named_page(response, document.get("next")),
        total=fields.integer(document, "count"),
    )


def _hub_tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    images = fields.array(entry, "images")
    image = images[0] if len(images) == 1 and isinstance(images[0], dict) else {}
    return ListedTag(
        name,
        # Tags pushed long ago have no digest. `images` are then the children of an
        # index whose digest is not given.
        digest=fields.digest(entry, "digest"),
        media_type=fields.text(entry, "media_type"),
        size=fields.integer(image, "size"),
        pushed=fields.time(entry, "tag_last_pushed"),
        pulled=fields.time(entry, "tag_last_pulled"),
    )
