"""Gitea and Forgejo: `/api/v1/packages`.

Source: Gitea's API reference, "Gets all packages of an owner". A package is a version
of an image: a tag, or the digest of something that no tag names.
"""

from __future__ import annotations

from urllib.parse import urlencode

from auditor.registry.listing.paging import ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod, RepositoriesOnly
from auditor.wire.response import Response


class Gitea(RepositoriesOnly):
    """Gitea and Forgejo: the repositories of an owner."""

    name = "Gitea"
    login = LoginMethod.BASIC
    most = 50

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A user or an organisation."""
        if below is None:
            return None
        query = urlencode({"type": "container", "page": 1, "limit": size})
        return f"/api/v1/packages/{below.partition('/')[0]}?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`[{"owner": {"login": ...}, "name": ..., "version": ...}]`, by version."""
        names: list[str] = []
        counted: list[str] = []
        unreadable = 0
        for entry in api.objects_of(api.entries_of(api.document_of(answer))):
            owner = entry.get("owner") if entry else None
            login = api.text(owner, "login") if isinstance(owner, dict) else None
            name = api.text(entry, "name") if entry else None
            if entry is None or login is None or name is None:
                unreadable += 1
                continue
            # Owners are shown with capitals; in a reference they have none.
            repository = f"{login.lower()}/{name}"
            counted.append(f"{repository}:{api.text(entry, 'version')}")
            names.append(repository)
        return ParsedPage(
            entries=list(dict.fromkeys(names)),
            following=api.linked(answer),
            unreadable=unreadable,
            total=api.count_in_header(answer, "X-Total-Count"),
            counted=counted,
        )
