"""The API of Azure Container Registry."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product
from auditor.wire.response import Response


class AzureRegistry(Product):
    """Azure Container Registry: `/acr/v1` ("Azure Container Registry REST API").

    Repository, Tag and Manifests, Get List: pages by `n` and `last`, linked by `Link`.
    Requests have the registry's own tokens (`metadata_read`).
    """

    name = "Azure"
    login_method = LoginMethod.REGISTRY
    max_page_size = 100
    selects = False
    pages_by_last = True
    lists_untagged = True

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The catalog: it has no parameter for a prefix."""
        del prefix
        return f"/acr/v1/_catalog?{urlencode({'n': size})}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": ["team/app"]}`."""
        return fields.catalog_page(response)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The tags with their attributes."""
        return f"/acr/v1/{repository}/_tags?{urlencode({'n': size})}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`{"tags": [{"name": ..., "digest": ..., "lastUpdateTime": ...}]}`."""
        entries = fields.entries_of(fields.document_of(response), "tags")
        page = fields.parse_page(entries, _tag, next_url=fields.linked_page(response))
        return ParsedPage(
            entries=page.entries,
            next_url=page.next_url,
            unreadable=page.unreadable,
            counted=[tag.name for tag in page.entries],
        )

    def manifests_path(self, repository: str, size: int) -> str | None:
        """The manifests with their tags and attributes, sorted by digest."""
        return f"/acr/v1/{repository}/_manifests?{urlencode({'n': size})}"

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """`{"manifests": [{"digest": ..., "tags": [...], "mediaType": ..., ...}]}`.

        A manifest without a tag has no `tags`. The children of indexes are among them.
        """
        return fields.manifests_page(
            fields.entries_of(fields.document_of(response), "manifests"),
            "digest",
            lambda manifest: fields.array(manifest, "tags"),
            _manifest_tag,
            next_url=fields.linked_page(response),
            untagged=True,
        )


def _tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    return ListedTag(
        name,
        digest=fields.digest(entry, "digest"),
        pushed=fields.time(entry, "lastUpdateTime"),
    )


def _manifest_tag(name: str, digest: str, manifest: dict[str, Any]) -> ListedTag:
    return ListedTag(
        name,
        digest=digest,
        media_type=fields.text(manifest, "mediaType"),
        # `imageSize` of an index is that of the index itself.
        pushed=fields.time(manifest, "lastUpdateTime"),
    )
