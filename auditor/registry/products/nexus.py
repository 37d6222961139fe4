"""The API of Sonatype Nexus Repository."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from auditor.oci.descriptor import is_digest
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product
from auditor.wire.response import Response

# Between the server's URL and the name of a repository.
_PATH = "/repository/"


class Nexus(Product):
    """Sonatype Nexus Repository 3: `/service/rest/v1` ("Components API", "Search API").

    A component is an image with one tag; its asset is the manifest. Pages have a size
    of the server's, and a `continuationToken` that is null at the end. The registry is
    one `repository` of the server, which the API has at another port or host.
    """

    name = "Nexus"
    login_method = LoginMethod.BASIC
    max_page_size = 50
    selects = False
    lists_untagged = True

    def __init__(self, repository: str) -> None:
        self._repository = repository

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The listing of all components: an image comes once for each tag."""
        del prefix, size
        query = urlencode({"repository": self._repository})
        return f"/service/rest/v1/components?{query}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"items": [{"name": "team/app", "version": "1.0"}], ...}`."""
        document = fields.document_of(response)
        names: dict[str, None] = {}
        versions: list[str] = []
        unreadable = 0
        for item in fields.objects_of(fields.entries_of(document, "items")):
            if name := fields.text(item, "name"):
                names[name] = None
                versions.append(f"{name}:{fields.text(item, 'version')}")
            else:
                unreadable += 1
        return ParsedPage(
            entries=list(names),
            next_url=_next(response, document),
            unreadable=unreadable,
            counted=versions,
            repeats=True,
        )

    def tags_path(self, repository: str, size: int) -> str | None:
        """The components of one image."""
        del size
        query = urlencode({"repository": self._repository, "name": repository})
        return f"/service/rest/v1/search?format=docker&{query}"

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`{"items": [{"version": "1.0", "assets": [{"checksum": ...}]}], ...}`."""
        return _parse_components(response, untagged=False)

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """The same, with the manifests without a tag, also the children of indexes."""
        return _parse_components(response, untagged=True)


def _parse_components(response: Response, *, untagged: bool) -> ParsedPage[ListedTag]:
    """A manifest without a tag has its digest as its version."""
    document = fields.document_of(response)
    query = dict(parse_qsl(urlsplit(response.url).query))
    items = [
        item
        for item in fields.entries_of(document, "items")
        if not isinstance(item, dict)
        or (
            # The search may find other images, too.
            fields.text(item, "name") in {None, query.get("name")}
            and (untagged or not is_digest(fields.text(item, "version") or ""))
        )
    ]
    page = fields.parse_page(items, _tag, next_url=_next(response, document))
    return replace(page, has_untagged=untagged)


def split_repository_url(url: str) -> tuple[str, str] | None:
    """The server and the repository of `https://HOST/repository/NAME`, else None."""
    server, found, name = url.rstrip("/").rpartition(_PATH)
    return (server, name) if found and name and "/" not in name else None


def _next(response: Response, document: dict[str, Any]) -> str | None:
    token = fields.text(document, "continuationToken")
    return fields.url_with(response, continuationToken=token) if token else None


def _tag(item: dict[str, Any]) -> ListedTag | None:
    name = fields.text(item, "version")
    if name is None:
        return None
    assets = [one for one in fields.array(item, "assets") if isinstance(one, dict)]
    asset = assets[0] if len(assets) == 1 else {}
    sha256 = fields.text(fields.mapping(asset, "checksum"), "sha256")
    digest = f"sha256:{sha256}"
    return ListedTag(
        name,
        # The manifest is the asset, so that its checksum is the digest.
        digest=digest if is_digest(digest) else None,
        media_type=fields.text(asset, "contentType"),
        pushed=fields.time(asset, "lastModified"),
        pulled=fields.time(asset, "lastDownloaded"),
    )
