"""The API of JFrog Artifactory."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.wire.response import Response

_PATH = "/artifactory"


class Artifactory(Product):
    """JFrog Artifactory: `/artifactory/api/docker/KEY/v2` ("List Docker Repositories").

    A `key` is a repository of Artifactory. With the repository path method, it is the
    first component of an image's name (`key` is None); with the subdomain or port
    method, it is not in the name. Pages are by `n` and `last`, linked by `Link`. Tags
    are listed by the registry itself. Artifactory's query language and its file lists
    have digests, but of a remote repository only what its cache has, which may be old;
    and a query ends without a word after 1,000 results ("Maximum number of search
    queries").
    """

    name = "Artifactory"
    login_method = LoginMethod.BASIC
    max_page_size = 1000
    pages_by_last = True

    def __init__(self, key: str | None) -> None:
        self._key = key

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The catalog of one repository of Artifactory."""
        key = self._key
        if key is None:
            if prefix is None:
                return None
            key = first_component(prefix)
        return f"/api/docker/{key}/v2/_catalog?{urlencode({'n': size})}"

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`{"repositories": ["team/app"]}`."""
        page = fields.catalog_page(response)
        if self._key is not None:
            return page
        key = response.url.partition("/api/docker/")[2].partition("/")[0]
        return replace(page, entries=[f"{key}/{name}" for name in page.entries])


def split_artifactory_url(url: str) -> tuple[str, str | None]:
    """The API's URL and the key of `https://HOST/artifactory[/KEY]`.

    A URL without `/artifactory` gets it.
    """
    server, found, key = url.rstrip("/").partition(_PATH)
    return server + _PATH, key.strip("/") or None if found else None
