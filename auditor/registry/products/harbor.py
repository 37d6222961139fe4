"""The API of Harbor."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response


class Harbor(Product):
    """Harbor: `/api/v2.0` (listAllRepositories, listRepositories, listArtifacts).

    Pages are linked by `Link`; `X-Total-Count` counts repositories, or artifacts.
    """

    name = "Harbor"
    login_method = LoginMethod.BASIC
    max_page_size = 100
    lists_untagged = True

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all repositories that the account sees, or of one project."""
        project = f"/projects/{first_component(prefix)}" if prefix else ""
        query = urlencode({"page": 1, "page_size": size})
        return f"/api/v2.0{project}/repositories?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`[{"name": "project/repository"}]`."""
        return fields.parse_page(
            fields.entries_of(fields.document_of(response)),
            lambda entry: fields.text(entry, "name"),
            next_url=fields.linked_page(response),
            total=fields.parse_number(response.headers.get("X-Total-Count")),
        )

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of a repository's artifacts."""
        project, _, name = repository.partition("/")
        if not name:
            return None
        # The name is one path segment, encoded twice, because a proxy in front
        # decodes once ("%2F" would become "/").
        segment = quote(quote(name, safe=""), safe="")
        query = urlencode({"page": 1, "page_size": size, "with_tag": "true"})
        return f"/api/v2.0/projects/{project}/repositories/{segment}/artifacts?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"digest": ..., "tags": [{"name": ...}] or null}]`."""
        return _parse_artifacts(response, untagged=False)

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """The same, with the artifacts without a tag.

        The list has neither the children of an index nor what is attached to an image,
        unless these have a tag (goharbor/harbor, src/pkg/artifact/dao/dao.go and
        src/controller/artifact/controller.go).
        """
        return _parse_artifacts(response, untagged=True)


def _parse_artifacts(response: Response, *, untagged: bool) -> ParsedPage[ListedTag]:
    tags: list[ListedTag] = []
    digests: list[str] = []
    unreadable = 0
    entries = fields.entries_of(fields.document_of(response))
    for artifact in fields.objects_of(entries):
        unreadable += not artifact
        if digest := fields.digest(artifact, "digest"):
            digests.append(digest)
        for tag in fields.objects_of(fields.array(artifact, "tags")):
            if name := fields.text(tag, "name"):
                tags.append(_harbor_tag(name, tag, artifact))
            else:
                unreadable += 1
        if untagged and digest and not fields.array(artifact, "tags"):
            tags.append(_harbor_tag(digest, {}, artifact))
    return ParsedPage(
        entries=tags,
        next_url=fields.linked_page(response),
        unreadable=unreadable,
        total=fields.parse_number(response.headers.get("X-Total-Count")),
        counted=digests,
        has_untagged=untagged,
    )


def _harbor_tag(name: str, tag: dict[str, Any], artifact: dict[str, Any]) -> ListedTag:
    return ListedTag(
        name,
        digest=fields.digest(artifact, "digest"),
        # `media_type` would be that of the config.
        media_type=fields.text(artifact, "manifest_media_type"),
        size=fields.integer(artifact, "size"),
        created=fields.time(fields.mapping(artifact, "extra_attrs"), "created"),
        pushed=fields.time(tag or artifact, "push_time"),
        pulled=_last_pull(tag, artifact),
    )


def _last_pull(tag: dict[str, Any], artifact: dict[str, Any]) -> datetime | None:
    """The later of two: a pull by digest counts only for the artifact.

    Source: goharbor/harbor, src/controller/event/handler/internal/artifact.go.
    """
    times = [fields.time(one, "pull_time") for one in (tag, artifact)]
    return max((time for time in times if time is not None), default=None)
