"""Quay: `/api/v1`.

Source: Quay's API reference (listRepos, listRepoTags). Repositories are paged by an
opaque `next_page`, tags by `page` and `has_additional`. Nothing is counted.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from auditor.registry.listing.paging import ListedTag, ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod
from auditor.wire.response import Response


class Quay:
    """Quay: the repositories of a namespace, and tags with their digests."""

    name = "Quay"
    login = LoginMethod.OAUTH_TOKEN
    most = 100

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A namespace; the size of a page cannot be chosen."""
        del size
        if below is None:
            return None
        query = urlencode({"namespace": below.partition("/")[0]})
        return f"/api/v1/repository?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}], "next_page": ...}`."""
        document = api.document_of(answer)
        found = api.entries_of(document, "repositories")
        names, unreadable = api.read_each(
            [entry for entry in found if not _is_application(entry)], api.repository
        )
        token = api.text(document, "next_page")
        following = api.turned(answer, next_page=token) if token else None
        return ParsedPage(entries=names, following=following, unreadable=unreadable)

    def tags_path(self, repository: str, size: int) -> str | None:
        """What a tag meant before is told, too, unless it is left out."""
        query = urlencode({"limit": size, "page": 1, "onlyActiveTags": "true"})
        return f"/api/v1/repository/{repository}/tag/?{query}"

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """`{"tags": [{"name": ..., "manifest_digest": ...}], "page": 1, ...}`."""
        document = api.document_of(answer)
        tags, unreadable = api.read_each(api.entries_of(document, "tags"), _tag)
        following = None
        if document.get("has_additional") is True:
            page = api.whole(document, "page") or 1
            following = api.turned(answer, page=str(page + 1))
        return ParsedPage(entries=tags, following=following, unreadable=unreadable)


def _is_application(entry: object) -> bool:
    """Whether it is a Helm chart of old, which has no manifests."""
    return isinstance(entry, dict) and entry.get("kind") == "application"


def _tag(entry: dict[str, Any]) -> ListedTag | None:
    name = api.text(entry, "name")
    if name is None:
        return None
    return ListedTag(
        name,
        digest=api.digest(entry, "manifest_digest"),
        # Of a list it is null, or the size of the list.
        size=None if entry.get("is_manifest_list") else api.whole(entry, "size"),
        pushed=api.moment_of_epoch(api.whole(entry, "start_ts")),
    )
