"""The API of Quay."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response


class Quay(Product):
    """Quay: `/api/v1` (listRepos, listRepoTags).

    Repositories are paged by an opaque `next_page`, tags by `page` and
    `has_additional`. Listings have no counts.
    """

    name = "Quay"
    login_method = LoginMethod.OAUTH_TOKEN
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a namespace; the page size is fixed."""
        del size
        if prefix is None:
            return None
        query = urlencode({"namespace": first_component(prefix)})
        return f"/api/v1/repository?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}], "next_page": ...}`.

        Helm charts in the old format (`application`) have no manifests.
        """
        document = fields.document_of(response)
        entries = fields.entries_of(document, "repositories")
        token = fields.text(document, "next_page")
        return fields.parse_page(
            [
                entry
                for entry in entries
                if not isinstance(entry, dict) or entry.get("kind") != "application"
            ],
            fields.repository,
            next_url=fields.url_with(response, next_page=token) if token else None,
        )

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of current tags; without the filter it has former ones too."""
        query = urlencode({"limit": size, "page": 1, "onlyActiveTags": "true"})
        return f"/api/v1/repository/{repository}/tag/?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`{"tags": [{"name": ..., "manifest_digest": ...}], "page": 1, ...}`."""
        document = fields.document_of(response)
        entries = fields.entries_of(document, "tags")
        next_url = None
        if document.get("has_additional") is True:
            page = fields.integer(document, "page") or 1
            next_url = fields.url_with(response, page=str(page + 1))
        return fields.parse_page(entries, _quay_tag, next_url=next_url)


def _quay_tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    return ListedTag(
        name,
        digest=fields.digest(entry, "manifest_digest"),
        # For an index it is null, or the size of the index itself.
        size=None if entry.get("is_manifest_list") else fields.integer(entry, "size"),
        pushed=fields.time_from_epoch(fields.integer(entry, "start_ts")),
    )
