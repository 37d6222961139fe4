"""The API of GitLab."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ParsedPage
from auditor.registry.products.product import LoginMethod, Product
from auditor.wire.response import Response


class GitLab(Product):
    """GitLab: `/api/v4` ("Container registry API").

    Its listings of tags have no digests, so tags are listed by the registry itself.
    """

    name = "GitLab"
    login_method = LoginMethod.BEARER
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a group and its subgroups, by the full path of the group."""
        if prefix is None:
            return None
        query = urlencode({"page": 1, "per_page": size})
        return f"/api/v4/groups/{quote(prefix, safe='')}/registry/repositories?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`[{"path": "group/project/image"}]`.

        `x-total` is omitted from listings of more than 10,000 entries.
        """
        next_url = fields.linked_page(response)
        if next_url is None and (page := response.headers.get("x-next-page")):
            next_url = fields.url_with(response, page=page)
        return fields.parse_page(
            fields.entries_of(fields.document_of(response)),
            lambda entry: fields.text(entry, "path"),
            next_url=next_url,
            total=fields.parse_number(response.headers.get("x-total")),
        )
