"""Gitea and Forgejo: `/api/v1/packages`.

Source: Gitea's API reference, "Gets all packages of an owner". A package is one version
of an image: a tag, or the digest of a manifest without a tag.
"""

from __future__ import annotations

from urllib.parse import urlencode

from auditor.registry.auth.api_login import LoginMethod
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ParsedPage
from auditor.registry.products.product_api import Product
from auditor.wire.response import Response


class Gitea(Product):
    """Gitea and Forgejo: the repositories of an owner."""

    name = "Gitea"
    login_method = LoginMethod.BASIC
    max_page_size = 50

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a user or an organisation."""
        if prefix is None:
            return None
        query = urlencode({"type": "container", "page": 1, "limit": size})
        return f"/api/v1/packages/{prefix.partition('/')[0]}?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`[{"owner": {"login": ...}, "name": ..., "version": ...}]`, by version."""
        names: list[str] = []
        versions: list[str] = []
        unreadable = 0
        entries = fields.entries_of(fields.document_of(response))
        for entry in fields.objects_of(entries):
            owner = entry.get("owner") if entry else None
            login = fields.text(owner, "login") if isinstance(owner, dict) else None
            name = fields.text(entry, "name") if entry else None
            if entry is None or login is None or name is None:
                unreadable += 1
                continue
            # The owner may have capitals, a reference may not.
            repository = f"{login.lower()}/{name}"
            versions.append(f"{repository}:{fields.text(entry, 'version')}")
            names.append(repository)
        return ParsedPage(
            entries=list(dict.fromkeys(names)),
            next_url=fields.linked_page(response),
            unreadable=unreadable,
            total=fields.header_count(response, "X-Total-Count"),
            counted=versions,
        )
