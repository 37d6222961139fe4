"""The API of Gitea and Forgejo."""

from __future__ import annotations

from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response


class Gitea(Product):
    """Gitea and Forgejo: `/api/v1/packages` ("Gets all packages of an owner").

    A package is one version of an image: a tag, or the digest of a manifest without a
    tag. Tags are listed by the registry itself.
    """

    name = "Gitea"
    login_method = LoginMethod.BASIC
    max_page_size = 50

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a user or an organisation."""
        if prefix is None:
            return None
        query = urlencode({"type": "container", "page": 1, "limit": size})
        return f"/api/v1/packages/{first_component(prefix)}?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`[{"owner": {"login": ...}, "name": ..., "version": ...}]`, by version."""
        names: dict[str, None] = {}
        versions: list[str] = []
        unreadable = 0
        entries = fields.entries_of(fields.document_of(response))
        for entry in fields.objects_of(entries):
            owner = fields.text(fields.mapping(entry, "owner"), "login")
            name = fields.text(entry, "name")
            if owner is None or name is None:
                unreadable += 1
                continue
            # The owner may have capitals, a reference may not.
            repository = f"{owner.lower()}/{name}"
            names[repository] = None
            versions.append(f"{repository}:{fields.text(entry, 'version')}")
        return ParsedPage(
            entries=list(names),
            next_url=fields.linked_page(response),
            unreadable=unreadable,
            total=fields.parse_number(response.headers.get("X-Total-Count")),
            counted=versions,
        )
