"""Quay: `/api/v1`.

Source: Quay's API reference (listRepos, listRepoTags). Repositories are paged by an
opaque `next_page`, tags by `page` and `has_additional`. Nothing is counted.
"""

from __future__ import annotations

from urllib.parse import urlencode

from auditor.protocol.answer import Answer
from auditor.protocol.listed import ListedTag, Reading
from auditor.protocol.products import fields
from auditor.protocol.products.product import Login


class Quay:
    """Quay: the repositories of a namespace, and tags with their digests."""

    name = "Quay"
    login = Login.OAUTH_TOKEN
    most = 100

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A namespace; the size of a page cannot be chosen."""
        del size
        if below is None:
            return None
        query = urlencode({"namespace": below.partition("/")[0]})
        return f"/api/v1/repository?{query}"

    def read_repositories(self, answer: Answer) -> Reading[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}], "next_page": ...}`."""
        document = fields.document_of(answer)
        names: list[str] = []
        unreadable = 0
        for entry in fields.objects_of(fields.entries_of(document, "repositories")):
            namespace = fields.text(entry, "namespace") if entry else None
            name = fields.text(entry, "name") if entry else None
            if entry is None or namespace is None or name is None:
                unreadable += 1
            elif entry.get("kind") != "application":  # which has no manifests
                names.append(f"{namespace}/{name}")
        token = fields.text(document, "next_page")
        following = fields.turned(answer, next_page=token) if token else None
        return Reading(entries=names, following=following, unreadable=unreadable)

    def tags_path(self, repository: str, size: int) -> str | None:
        """What a tag meant before is told, too, unless it is left out."""
        query = urlencode({"limit": size, "page": 1, "onlyActiveTags": "true"})
        return f"/api/v1/repository/{repository}/tag/?{query}"

    def read_tags(self, answer: Answer) -> Reading[ListedTag]:
        """`{"tags": [{"name": ..., "manifest_digest": ...}], "page": 1, ...}`."""
        document = fields.document_of(answer)
        tags: list[ListedTag] = []
        unreadable = 0
        for entry in fields.objects_of(fields.entries_of(document, "tags")):
            name = fields.text(entry, "name") if entry else None
            if entry is None or name is None:
                unreadable += 1
                continue
            tags.append(
                ListedTag(
                    name,
                    digest=fields.digest(entry, "manifest_digest"),
                    # Of a list it is null, or the size of the list.
                    size=None
                    if entry.get("is_manifest_list")
                    else fields.whole(entry, "size"),
                    pushed=fields.moment_of_epoch(fields.whole(entry, "start_ts")),
                )
            )
        following = None
        if document.get("has_additional") is True:
            page = fields.whole(document, "page") or 1
            following = fields.turned(answer, page=str(page + 1))
        return Reading(entries=tags, following=following, unreadable=unreadable)
