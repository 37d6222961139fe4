"""What is to be known of a product's API to list what a registry holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.oci.encoding import parse_json
from auditor.oci.reference import is_digest
from auditor.registry.listing.paging import ListedTag, ParsedPage
from auditor.util.text import safe_text
from auditor.wire.response import Response, next_page, same_origin_page


class LoginMethod(Enum):
    """What becomes of a user name and a password at an API."""

    BASIC = "basic"
    BEARER = "bearer"  # the password is a token
    OAUTH_TOKEN = "oauth token"  # the password, if the user name says that it is one
    EXCHANGE = "exchange"  # for a token of the API


class Product(Protocol):
    """One product. Paths begin with `/` and hold a query; a size is at most `most`."""

    name: str
    login: LoginMethod
    most: int
    """The largest page that the API grants."""

    def repositories_path(self, below: str | None, size: int) -> str | None:
        """Where the list of repositories below a path begins; null: of all of them.

        Null where the API has no such list: it then wants a namespace.
        """

    def read_repositories(self, answer: Response) -> ParsedPage[str]:
        """The repositories of an answer, with their whole names.

        Raises `ProtocolError` for what is no such list.
        """

    def tags_path(self, repository: str, size: int) -> str | None:
        """Where the list of tags begins; null: the registry's own says as much."""

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """The tags of an answer; errors as `read_repositories`."""


class RepositoriesOnly:
    """A product whose API tells no more of tags than the registry's own list."""

    def tags_path(self, repository: str, size: int) -> str | None:
        """Left to the registry."""
        del repository, size
        return None

    def read_tags(self, answer: Response) -> ParsedPage[ListedTag]:
        """Nothing: it is not asked."""
        del answer
        return ParsedPage(entries=(), following=None)


# -- fields --
# Fields of the JSON that product APIs answer, whatever they hold.
#
# A field of the wrong type says nothing, as if it were not there; what has to be there
# is a `ProtocolError`.

Entry = TypeVar("Entry")

_MAX_SIZE = 2**63 - 1
_MAX_DIGITS = 19
# Go's zero time and its like mean that there is none.
_FIRST_YEAR = 1970


def document_of(answer: Response) -> Any:
    """The JSON of an answer, in which no key stands twice."""
    return parse_json(answer.body, "list")


def entries_of(document: Any, key: str | None = None) -> list[Any]:
    """The entries of a list, or of the list under `key` of an object.

    `null` where a list should be is an empty one (Go writes it so).
    """
    if key is not None:
        if not isinstance(document, dict):
            raise ProtocolError("the list is JSON but not an object")
        if key not in document:
            raise ProtocolError(f'the list holds no "{key}"')
        _refuse_other_case(document, key)
        document = document[key]
    if document is None:
        return []
    if not isinstance(document, list):
        where = f'the "{key}" of the list' if key else "the JSON"
        raise ProtocolError(f"{where} is not a list")
    return document


def _refuse_other_case(document: dict[str, Any], key: str) -> None:
    """Refuse a second list whose key readers written in Go take for the first's."""
    folded = key.casefold()
    for other in document:
        if other != key and other.casefold() == folded:
            raise ProtocolError(
                f'the list holds both "{key}" and "{safe_text(other)}"',
                FailureKind.AMBIGUOUS_DOCUMENT,
            )


def objects_of(entries: Sequence[Any]) -> Iterator[dict[str, Any] | None]:
    """The entries that are something: objects, and null for each that is none.

    `null` itself is nothing: some products put it where a name was deleted.
    """
    for entry in entries:
        if entry is not None:
            yield entry if isinstance(entry, dict) else None


def read_each(
    entries: Sequence[Any], read: Callable[[dict[str, Any]], Entry | None]
) -> tuple[list[Entry], int]:
    """What `read` makes of each object, and how many entries it makes nothing of."""
    objects = objects_of(entries)
    made = [None if entry is None else read(entry) for entry in objects]
    found = [one for one in made if one is not None]
    return found, len(made) - len(found)


def repository(entry: dict[str, Any]) -> str | None:
    """The whole name of a repository that is named in two."""
    namespace, name = text(entry, "namespace"), text(entry, "name")
    return f"{namespace}/{name}" if namespace and name else None


def text(entry: dict[str, Any], key: str) -> str | None:
    """A text that is not empty."""
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def whole(entry: dict[str, Any], key: str) -> int | None:
    """A size or a count."""
    value = entry.get(key)
    is_whole = type(value) is int and 0 <= value <= _MAX_SIZE
    return value if is_whole else None


def digest(entry: dict[str, Any], key: str) -> str | None:
    """A digest."""
    value = text(entry, key)
    return value if value is not None and is_digest(value) else None


def moment(entry: dict[str, Any], key: str) -> datetime | None:
    """A time with its zone (RFC 3339)."""
    value = text(entry, key)
    try:
        found = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None and found.year >= _FIRST_YEAR else None


def moment_of_epoch(seconds: float | None) -> datetime | None:
    """A time from seconds since 1970."""
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def count_in_header(answer: Response, name: str) -> int | None:
    """A count that a header tells."""
    return number_in(answer.headers.get(name) or "")


def number_in(value: str) -> int | None:
    """The number that a text is; null for one beyond 64 bits."""
    is_number = value.isascii() and value.isdecimal() and len(value) < _MAX_DIGITS
    return int(value) if is_number else None


def linked(answer: Response) -> str | Failure | None:
    """The next page of the Link header."""
    try:
        return next_page(answer.headers.getall("Link", ()), answer.url)
    except ProtocolError as error:
        return _not_known(error)


def named(answer: Response, target: object) -> str | Failure | None:
    """The next page that a field names; what is no text names none."""
    if not isinstance(target, str) or not target:
        return None
    try:
        return same_origin_page(target, answer.url)
    except ProtocolError as error:
        return _not_known(error)


def turned(answer: Response, **parameters: str) -> str:
    """The URL of the answer with other values of some parameters."""
    parts = urlsplit(answer.url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **parameters}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _not_known(error: ProtocolError) -> Failure:
    return Failure(kind=error.kind, detail=error.detail, stage=Stage.LIST)
