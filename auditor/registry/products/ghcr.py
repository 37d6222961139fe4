"""The API of GitHub for its container registry."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from auditor.errors import Failure, FailureKind
from auditor.registry.listing import json_fields as fields
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.registry.products.product import LoginMethod, Product, first_component
from auditor.util.clock import rfc3339
from auditor.wire.response import Response


class GitHub(Product):
    """GitHub and GitHub Enterprise: `/orgs/ORG/packages`, `/users/USER/packages`.

    Source: "REST API endpoints for packages". A namespace is an organisation or a user:
    the other path answers 404. A version of a package is a manifest with its tags.
    Pages are linked by `Link`; there are no counts.
    """

    name = "GitHub"
    login_method = LoginMethod.BEARER
    max_page_size = 100
    lists_untagged = True

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The container packages of an organisation."""
        return None if prefix is None else _packages("orgs", prefix, size)

    def other_repositories_path(self, prefix: str, size: int) -> str | None:
        """The container packages of a user."""
        return _packages("users", prefix, size)

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """`[{"name": "app", "owner": {"login": ...}, "package_type": "container"}]`."""
        return fields.parse_page(
            fields.entries_of(fields.document_of(response)),
            _package,
            next_url=fields.linked_page(response),
        )

    def tags_path(self, repository: str, size: int) -> str | None:
        """The versions of a package of an organisation."""
        return _versions("orgs", repository, size)

    def other_tags_path(self, repository: str, size: int) -> str | None:
        """The versions of a package of a user."""
        return _versions("users", repository, size)

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """`[{"name": DIGEST, "metadata": {"container": {"tags": [...]}}, ...}]`."""
        return _parse_versions(response, untagged=False)

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """The same, with the versions without a tag, also the children of indexes."""
        return _parse_versions(response, untagged=True)

    def refusal(self, response: Response) -> Failure | None:
        """The rate limit, which GitHub answers with 403 ("Rate limits")."""
        headers = response.headers
        if headers.get("x-ratelimit-remaining") != "0" and not headers.get(
            "retry-after"
        ):
            return None
        reset = fields.parse_number(headers.get("x-ratelimit-reset"))
        until = "" if reset is None else f" until {rfc3339(reset)}"
        return Failure(
            kind=FailureKind.RATE_LIMITED,
            status=response.status,
            detail=f"GitHub's rate limit for this account is used up{until}"
            f" ({response.status})",
        )


def _parse_versions(response: Response, *, untagged: bool) -> ParsedPage[ListedTag]:
    return fields.manifests_page(
        fields.entries_of(fields.document_of(response)),
        "name",
        _tags_of,
        _tag,
        next_url=fields.linked_page(response),
        untagged=untagged,
    )


def _tags_of(version: dict[str, Any]) -> list[Any]:
    container = fields.mapping(fields.mapping(version, "metadata"), "container")
    return fields.array(container, "tags")


def _tag(name: str, digest: str, version: dict[str, Any]) -> ListedTag:
    return ListedTag(name, digest=digest, pushed=fields.time(version, "updated_at"))


def _packages(kind: str, prefix: str, size: int) -> str:
    query = urlencode({"package_type": "container", "per_page": size, "page": 1})
    return f"/{kind}/{quote(first_component(prefix), safe='')}/packages?{query}"


def _versions(kind: str, repository: str, size: int) -> str | None:
    owner, _, package = repository.partition("/")
    if not package:
        return None
    query = urlencode({"per_page": size, "page": 1})
    return (
        f"/{kind}/{quote(owner, safe='')}/packages/container/{quote(package, safe='')}"
        f"/versions?{query}"
    )


def _package(entry: dict[str, Any]) -> str | None:
    owner = fields.text(fields.mapping(entry, "owner"), "login")
    name = fields.text(entry, "name")
    # The owner may have capitals, a reference may not.
    return f"{owner.lower()}/{name}" if owner and name else None
