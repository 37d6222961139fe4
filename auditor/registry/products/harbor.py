"""Harbor: `/api/v2.0`.

Source: Harbor's swagger.yaml (listAllRepositories, listRepositories, listArtifacts).
Pages are linked by `Link`; `X-Total-Count` counts repositories, or artifacts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from auditor.registry.listing.paging import ListedTag, ParsedPage
from auditor.registry.products import api
from auditor.registry.products.api import LoginMethod
from auditor.wire.response import Response

_COUNT = "X-Total-Count"


class Harbor:
    """Harbor: repositories of all projects, and artifacts with digest and tags."""

    name = "Harbor"
    login = LoginMethod.BASIC
    most = 100

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """A list of everything that the account sees, or of one project."""
        project = f"/projects/{below.partition('/')[0]}" if below else ""
        query = urlencode({"page": 1, "page_size": size})
        return f"/api/v2.0{project}/repositories?{query}"

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """`[{"name": "project/repository"}]`."""
        names, unreadable = api.read_each(
            api.entries_of(api.document_of(answer)),
            lambda entry: api.text(entry, "name"),
        )
        return ParsedPage(
            entries=names,
            following=api.linked(answer),
            unreadable=unreadable,
            total=api.count_in_header(answer, _COUNT),
        )

    def tags_path(self, repository: str, size: int) -> str | None:
        """The artifacts of a repository, whose name is one part of the path."""
        project, _, name = repository.partition("/")
        if not name:
            return None
        # Encoded twice: a proxy in front decodes once ("%2F" would become "/").
        part = quote(quote(name, safe=""), safe="")
        query = urlencode({"page": 1, "page_size": size, "with_tag": "true"})
        return f"/api/v2.0/projects/{project}/repositories/{part}/artifacts?{query}"

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """`[{"digest": ..., "tags": [{"name": ...}] or null}]`: no tag, no entry."""
        tags: list[ListedTag] = []
        digests: list[str] = []
        unreadable = 0
        for artifact in api.objects_of(api.entries_of(api.document_of(answer))):
            if artifact is None:
                unreadable += 1
                continue
            if digest := api.digest(artifact, "digest"):
                digests.append(digest)
            for tag in _tags(artifact):
                name = api.text(tag, "name") if tag else None
                if tag is None or name is None:
                    unreadable += 1
                else:
                    tags.append(_listed(name, tag, artifact))
        return ParsedPage(
            entries=tags,
            following=api.linked(answer),
            unreadable=unreadable,
            total=api.count_in_header(answer, _COUNT),
            counted=digests,
        )


def _tags(artifact: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    tags = artifact.get("tags")
    return api.objects_of(tags if isinstance(tags, list) else [])


def _listed(name: str, tag: dict[str, Any], artifact: dict[str, Any]) -> ListedTag:
    more = artifact.get("extra_attrs")
    return ListedTag(
        name,
        digest=api.digest(artifact, "digest"),
        # `media_type` is that of the config.
        media_type=api.text(artifact, "manifest_media_type"),
        size=api.whole(artifact, "size"),
        created=api.moment(more, "created") if isinstance(more, dict) else None,
        pushed=api.moment(tag, "push_time"),
    )
