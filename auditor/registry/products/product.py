"""A registry product's API: the paths of its listings, and what these return.

Each product has a file with a class that implements `Product`, without I/O:
`ProductLister` sends the requests. The sources are the products' own API references.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from auditor.errors import Failure
from auditor.registry.listing.interface import ListedTag, ParsedPage
from auditor.wire.response import Response


class LoginMethod(Enum):
    """How an API takes a login."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the same, if the user name is `$oauthtoken`
    EXCHANGE = "exchange"  # the API exchanges the login for a token
    REGISTRY = "registry"  # the same tokens as requests to the registry


class Product(Protocol):
    """One product's API. Paths begin with `/` and include the query.

    `max_page_size` is the largest page that the API grants. `pages_by_last`: the
    parameter `last` asks for the entries after one. Without `selects`, repositories are
    listed whatever the prefix. By default, tags are listed by the registry itself.
    `lists_untagged`: the listing at `manifests_path` has manifests without a tag.
    """

    name: str
    login_method: LoginMethod
    max_page_size: int
    pages_by_last: bool = False
    selects: bool = True
    lists_untagged: bool = False

    def repositories_path(self, prefix: str | None, size: int) -> str | None:
        """The first page of the repositories below a prefix, or of all repositories.

        None if the API cannot list all repositories and needs a prefix.
        """

    def other_repositories_path(self, prefix: str, size: int) -> str | None:
        """The path to use where the first one is answered with 404; None without it."""
        del prefix, size
        return None

    def parse_repositories(self, response: Response) -> ParsedPage[str]:
        """The full names of the repositories; raises `ProtocolError` without a list."""

    def tags_path(self, repository: str, size: int) -> str | None:
        """The first page of a repository's tags; None to use the registry's listing."""
        del repository, size
        return None

    def other_tags_path(self, repository: str, size: int) -> str | None:
        """As `other_repositories_path`."""
        del repository, size
        return None

    def parse_tags(self, response: Response) -> ParsedPage[ListedTag]:
        """The tags in a response; raises the errors of `parse_repositories`."""
        del response
        return ParsedPage(entries=(), next_url=None)

    def manifests_path(self, repository: str, size: int) -> str | None:
        """The first page of a repository's tags and manifests without a tag."""
        return self.tags_path(repository, size)

    def parse_manifests(self, response: Response) -> ParsedPage[ListedTag]:
        """The tags, and the manifests without a tag, in a response."""
        return self.parse_tags(response)

    def refusal(self, response: Response) -> Failure | None:
        """What a 403 means at this API, if it is not a missing right."""
        del response
        return None


def first_component(prefix: str) -> str:
    """The namespace, project or owner that a prefix begins with."""
    return prefix.partition("/")[0]
