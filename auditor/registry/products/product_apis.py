"""The APIs of registry products: the paths of their listings, and what these return.

One class per product, without I/O: `ProductLister` sends the requests. The sources are
the products' own API references.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import Entry, ListedTag, ParsedPage
from auditor.wire.response import Response


class LoginMethod(Enum):
    """How an API takes a login."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the same, if the user name is `$oauthtoken`
    EXCHANGE = "exchange"  # the API exchanges the login for a token


class Product(Protocol):
    """One product's API. Paths begin with `/` and include the query.

    `max_page_size` is the largest page that the API grants. By default, tags are listed
    by the registry itself.
    """

    name: str
    login_method: LoginMethod
    max_page_size: int

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The first page of the repositories below a prefix, or of all repositories.

        None if the API cannot list all repositories and needs a prefix.
        """

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """The full names of the repositories; raises `ProtocolError` without a list."""

    def tags_path(self, repository: str, size: int) -> str | None:
        """The first page of a repository's tags; None: use the registry's listing."""
        del repository, size
        return None

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """The tags in a response; raises as `parse_repositories`."""
        del response
        return ParsedPage(entries=(), next_url=None)


class Dtr(Product):
    """Docker Trusted Registry, now Mirantis Secure Registry (MSR): `/api/v0`.

    Each MSR serves its API reference at `/api/v0/docs/`. The header `X-Next-Page-Start`
    leads to the next page, `X-Resource-Count` counts the whole listing.
    """

    name = "DTR"
    login_method = LoginMethod.BASIC
    max_page_size = 1000

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all repositories, or of one namespace."""
        namespace = f"/{_first_component(prefix)}" if prefix else ""
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories{namespace}?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": [{"namespace": ..., "name": ...}]}`."""
        return _dtr_page(response, "repositories", fields.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of tags; a repository of DTR has exactly one namespace."""
        if repository.count("/") != 1:
            return None
        query = urlencode({"pageSize": size, "count": "true"})
        return f"/api/v0/repositories/{repository}/tags?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"name": ..., "digest": ..., "manifest": {...}}]`."""
        return _dtr_page(response, None, _dtr_tag)


def _dtr_page(
    response: Response,
    key: str | None,
    parse: Callable[[dict[str, Any]], Entry | None],
) -> ParsedPage[Entry]:
    start = response.headers.get("X-Next-Page-Start")
    return fields.parse_page(
        fields.entries_of(fields.document_of(response), key),
        parse,
        next_url=fields.url_with(response, pageStart=start) if start else None,
        total=fields.parse_number(response.headers.get("X-Resource-Count")),
    )


def _dtr_tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    manifest = fields.mapping(entry, "manifest")
    return ListedTag(
        name,
        digest=fields.digest(entry, "digest"),
        media_type=fields.text(manifest, "mediaType"),
        created=fields.time(manifest, "createdAt"),
        pushed=fields.time(entry, "updatedAt"),
    )


class Harbor(Product):
    """Harbor: `/api/v2.0` (listAllRepositories, listRepositories, listArtifacts).

    Pages are linked by `Link`; `X-Total-Count` counts repositories, or artifacts.
    """

    name = "Harbor"
    login_method = LoginMethod.BASIC
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all repositories that the account sees, or of one project."""
        project = f"/projects/{_first_component(prefix)}" if prefix else ""
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
        return ParsedPage(
            entries=tags,
            next_url=fields.linked_page(response),
            unreadable=unreadable,
            total=fields.parse_number(response.headers.get("X-Total-Count")),
            counted=digests,
        )


def _harbor_tag(name: str, tag: dict[str, Any], artifact: dict[str, Any]) -> ListedTag:
    return ListedTag(
        name,
        digest=fields.digest(artifact, "digest"),
        # `media_type` would be that of the config.
        media_type=fields.text(artifact, "manifest_media_type"),
        size=fields.integer(artifact, "size"),
        created=fields.time(fields.mapping(artifact, "extra_attrs"), "created"),
        pushed=fields.time(tag, "push_time"),
    )


class Hub(Product):
    """Docker Hub: `https://hub.docker.com/v2`.

    Source: "List repositories", "List repository tags". Pages are linked by `next`;
    `count` counts the whole listing.
    """

    name = "Docker Hub"
    login_method = LoginMethod.EXCHANGE
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a namespace; there is none of all repositories."""
        if prefix is None:
            return None
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{_first_component(prefix)}/repositories?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"count": 2, "next": ..., "results": [{"namespace": ..., "name": ...}]}`."""
        return _hub_page(response, fields.repository)

    def tags_path(self, repository: str, size: int) -> str | None:
        """The listing of tags; a repository of the Hub has exactly one namespace."""
        namespace, _, name = repository.partition("/")
        if not name or "/" in name:
            return None
        query = urlencode({"page_size": size})
        return f"/v2/namespaces/{namespace}/repositories/{name}/tags?{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`{..., "results": [{"name": ..., "digest": ..., "images": [...]}]}`."""
        return _hub_page(response, _hub_tag)


def _hub_page(
    response: Response, parse: Callable[[dict[str, Any]], Entry | None]
) -> ParsedPage[Entry]:
    document = fields.document_of(response)
    return fields.parse_page(
        fields.entries_of(document, "results"),
        parse,
        next_url=fields.named_page(response, document.get("next")),
        total=fields.integer(document, "count"),
    )


def _hub_tag(entry: dict[str, Any]) -> ListedTag | None:
    name = fields.text(entry, "name")
    if name is None:
        return None
    images = fields.array(entry, "images")
    image = images[0] if len(images) == 1 and isinstance(images[0], dict) else {}
    return ListedTag(
        name,
        # Tags pushed long ago have no digest. `images` are then the children of an
        # index whose digest is not given.
        digest=fields.digest(entry, "digest"),
        media_type=fields.text(entry, "media_type"),
        size=fields.integer(image, "size"),
        pushed=fields.time(entry, "tag_last_pushed"),
    )


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
        query = urlencode({"namespace": _first_component(prefix)})
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


class GitLab(Product):
    """GitLab: `/api/v4` ("Container registry API").

    Its listings of tags have no digests, so tags are listed by the registry itself.
    """

    name = "GitLab"
    login_method = LoginMethod.BEARER
    max_page_size = 100

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of a group and of its subgroups, by its full path."""
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
        return f"/api/v1/packages/{_first_component(prefix)}?{query}"

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


def _first_component(prefix: str) -> str:
    """The namespace, project or owner that a prefix begins with."""
    return prefix.partition("/")[0]
