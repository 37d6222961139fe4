"""What is to be known of a product's API to list what a registry holds."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from auditor.protocol.listed import ListedTag, Reading
from auditor.wire.response import Answer


class Login(Enum):
    """What becomes of a user name and a password at an API."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the password, if the user name says that it is one
    EXCHANGE = "exchange"  # for a token of the API


class Product(Protocol):
    """One product. Paths begin with `/` and hold a query; a size is at most `most`."""

    name: str
    login: Login
    most: int
    """The largest page that the API grants."""

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """Where the list of repositories below a path begins; null: of all of them.

        Null where the API has no such list: it then wants a namespace.
        """

    def read_repositories(self, answer: Answer) -> Reading[str]:
        """The repositories of an answer, with their whole names.

        Raises `ProtocolError` for what is no such list.
        """

    def tags_path(self, repository: str, size: int) -> str | None:
        """Where the list of tags begins; null: the registry's own says as much."""

    def read_tags(self, answer: Answer) -> Reading[ListedTag]:
        """The tags of an answer; errors as `read_repositories`."""


class RepositoriesOnly:
    """A product whose API tells no more of tags than the registry's own list."""

    def tags_path(self, repository: str, size: int) -> str | None:
        """Left to the registry."""
        del repository, size
        return None

    def read_tags(self, answer: Answer) -> Reading[ListedTag]:
        """Nothing: it is not asked."""
        del answer
        return Reading(entries=(), following=None)
