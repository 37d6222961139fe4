"""GitLab's container registry: `/api/v4`.

Source: GitLab's API reference, "Container registry API". Its lists of tags tell no
digest, so tags come from the registry itself.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from auditor.registry.listing.paging import ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod, RepositoriesOnly
from auditor.wire.response import Response


class GitLab(RepositoriesOnly):
    """GitLab: the repositories of a group and of its subgroups."""

    name = "GitLab"
    login = LoginMethod.BEARER
    most = 100

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A group, by its whole path."""
        if below is None:
            return None
        query = urlencode({"page": 1, "per_page": size})
        group = quote(below, safe="")
        return f"/api/v4/groups/{group}/registry/repositories?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`[{"path": "group/project/image"}]`.

        `x-total` is left out for lists of more than 10,000 entries.
        """
        names, unreadable = api.read_each(
            api.entries_of(api.document_of(answer)),
            lambda entry: api.text(entry, "path"),
        )
        following = api.linked(answer)
        if following is None and (page := answer.headers.get("x-next-page")):
            following = api.turned(answer, page=page)
        return ParsedPage(
            entries=names,
            following=following,
            unreadable=unreadable,
            total=api.count_in_header(answer, "x-total"),
        )
