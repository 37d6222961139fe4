"""The API of Gitea and Forgejo."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from auditor.oci.descriptor import is_digest
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response

# The version under which Gitea keeps unfinished uploads (go-gitea/gitea issue 20491).
_UPLOAD = "_upload"


class Gitea(Product):
    """Gitea and Forgejo: `/api/v1/packages` ("Gets all packages of an owner").

    A package is one version of an image: a tag, or the digest of a manifest that has
    been pushed by its digest, as the children of an index are. Tags are listed by the
    registry itself, unless manifests without a tag are wanted, too.
    """

    name = "Gitea"
    login_method = LoginMethod.BASIC
    max_page_size = 50
    lists_untagged = True

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

    def manifests_path(self, repository: str, size: int) -> str | None:
        """The versions of the packages with a name that contains this one."""
        owner, _, name = repository.partition("/")
        if not name:
            return None
        query = urlencode({"type": "container", "page": 1, "limit": size, "q": name})
        return f"/api/v1/packages/{owner}?{query}"

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"name": ..., "version": TAG or DIGEST, "created_at": ...}]`."""
        wanted = dict(parse_qsl(urlsplit(response.url).query)).get("q")
        tags: list[ListedTag] = []
        versions: list[str] = []
        unreadable = 0
        entries = fields.entries_of(fields.document_of(response))
        for entry in fields.objects_of(entries):
            name, version = fields.text(entry, "name"), fields.text(entry, "version")
            if name is None or version is None:
                unreadable += 1
                continue
            versions.append(f"{name}:{version}")
            if name == wanted and version != _UPLOAD:
                tags.append(
                    ListedTag(
                        version,
                        digest=version if is_digest(version) else None,
                        pushed=fields.time(entry, "created_at"),
                    )
                )
        return ParsedPage(
            entries=tags,
            next_url=fields.linked_page(response),
            unreadable=unreadable,
            total=fields.parse_number(response.headers.get("X-Total-Count")),
            counted=versions,
            has_untagged=True,
        )
