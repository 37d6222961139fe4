"""Fields of the JSON in listing responses, and links to the next page.

An optional field of the wrong type counts as absent. A missing required field raises
`ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from auditor.errors import Failure, FailureKind, ProtocolError, Stage
from auditor.oci.descriptor import is_digest
from auditor.oci.strict_json import parse_json
from auditor.registry.listing.interface import Entry, ListedTag, ParsedPage
from auditor.util.text import safe_text
from auditor.wire.response import Response, next_page, same_origin_page

# A million names in one response, as some registries send that ignore `n`: some 100
# bytes of memory each. A page of a product's API has 1,000 entries of some 50 fields.
MAX_VALUES = 1_250_000


_PARTIAL_CONTENT = 206


def document_of(response: Response) -> Any:
    """The JSON of a response.

    Raises `ProtocolError` for a repeated key, for a part of a listing (206; no request
    has a range), and for more than `MAX_VALUES` values. These are counted before they
    are parsed: the values of a short response can take more memory than there is.
    """
    if response.status == _PARTIAL_CONTENT:
        raise ProtocolError(
            "the registry returned a part of the listing (206)",
            FailureKind.INCOMPLETE_LISTING,
        )
    # Every value but the first of an array or object follows a comma.
    if (count := response.body.count(b",")) > MAX_VALUES:
        raise ProtocolError(
            f"the listing has {count} values in one response, more than {MAX_VALUES};"
            " the registry should send it page by page",
            FailureKind.TOO_LARGE,
        )
    return parse_json(response.body, "listing")


def entries_of(document: Any, key: str | None = None) -> list[Any]:
    """The entries of an array, or of the array under `key` of an object.

    `null` in place of the array is an empty one, as Go encodes a nil slice. With errors
    beside it, the array says nothing about what is there: raises `ProtocolError`.
    """
    if key is not None:
        if not isinstance(document, dict):
            raise ProtocolError("the listing is not a JSON object")
        if key not in document:
            raise ProtocolError(f'the listing has no "{key}"')
        if errors := document.get("errors"):
            code = errors[0].get("code") if _is_error_list(errors) else None
            shown = f": {safe_text(code, 60)}" if isinstance(code, str) else ""
            raise ProtocolError(f"the listing has errors{shown}")
        # A reader written in Go takes a key of another case for the same.
        for other in document:
            if other != key and other.casefold() == key.casefold():
                raise ProtocolError(
                    f'the listing has both "{key}" and "{safe_text(other)}"',
                    FailureKind.AMBIGUOUS_DOCUMENT,
                )
        document = document[key]
    if document is None:
        return []
    if not isinstance(document, list):
        name = f'"{key}" in the listing' if key else "the listing"
        raise ProtocolError(f"{name} is not a JSON array")
    return document


def _is_error_list(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], dict)


def names(document: Any, key: str) -> tuple[list[str], int]:
    """The strings of a listing, and how many entries are neither string nor null."""
    entries = entries_of(document, key)
    found = [name for name in entries if isinstance(name, str)]
    # Some products put a null where a name was deleted.
    nulls = sum(entry is None for entry in entries)
    return found, len(entries) - len(found) - nulls


def catalog_page(response: Response) -> ParsedPage[str]:
    """A page of `{"repositories": ["team/app"]}`, linked by `Link`."""
    entries, unreadable = names(document_of(response), "repositories")
    return ParsedPage(
        entries=entries, next_url=linked_page(response), unreadable=unreadable
    )


def objects_of(entries: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The objects among the entries, and an empty one for each entry of another type.

    null entries are skipped: some products put one where a name was deleted.
    """
    for entry in entries:
        if entry is not None:
            yield entry if isinstance(entry, dict) else {}


def parse_page(
    entries: Sequence[Any],
    parse: Callable[[dict[str, Any]], Entry | None],
    *,
    next_url: str | Failure | None,
    total: int | None = None,
) -> ParsedPage[Entry]:
    """A page of the entries; `parse` returns None for an unreadable entry."""
    values = [parse(entry) for entry in objects_of(entries)]
    parsed = [value for value in values if value is not None]
    return ParsedPage(
        entries=parsed,
        next_url=next_url,
        unreadable=len(values) - len(parsed),
        total=total,
    )


def manifests_page(
    entries: Sequence[Any],
    key: str,
    names: Callable[[dict[str, Any]], list[Any]],
    listed: Callable[[str, str, dict[str, Any]], ListedTag],
    *,
    next_url: str | Failure | None,
    untagged: bool,
) -> ParsedPage[ListedTag]:
    """A page of manifests, each with its digest at `key` and the tags that name it.

    `names` returns the tags of an entry; `listed` gets a tag, the digest and the entry.
    With `untagged`, an entry without tags is listed by its digest.
    """
    tags: list[ListedTag] = []
    digests: list[str] = []
    unreadable = 0
    for entry in objects_of(entries):
        found = digest(entry, key)
        if found is None:
            unreadable += 1
            continue
        digests.append(found)
        for name in names(entry) or ([found] if untagged else []):
            if isinstance(name, str):
                tags.append(listed(name, found, entry))
            else:
                unreadable += 1
    return ParsedPage(
        entries=tags,
        next_url=next_url,
        unreadable=unreadable,
        counted=digests,
        has_untagged=untagged,
    )


def repository(entry: dict[str, Any]) -> str | None:
    """The repository that an entry names by `namespace` and `name`."""
    namespace, name = text(entry, "namespace"), text(entry, "name")
    return f"{namespace}/{name}" if namespace and name else None


def text(entry: dict[str, Any], key: str) -> str | None:
    """A string that is not empty."""
    value = entry.get(key)
    return value if isinstance(value, str) and value else None


def mapping(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """An object; an empty one if it is absent."""
    value = entry.get(key)
    return value if isinstance(value, dict) else {}


def array(entry: dict[str, Any], key: str) -> list[Any]:
    """An array; an empty one if it is absent."""
    value = entry.get(key)
    return value if isinstance(value, list) else []


def integer(entry: dict[str, Any], key: str) -> int | None:
    """A size or a count."""
    value = entry.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else None


def digest(entry: dict[str, Any], key: str) -> str | None:
    """A digest."""
    value = text(entry, key)
    return value if value is not None and is_digest(value) else None


def time(entry: dict[str, Any], key: str) -> datetime | None:
    """A time with its zone (RFC 3339) in UTC; None before 1970: Go's zero time."""
    value = text(entry, key)
    try:
        parsed = datetime.fromisoformat(value or "")
        if parsed.tzinfo is None:
            return None
        parsed = parsed.astimezone(UTC)
    except (ValueError, OverflowError):  # the last hours of 9999 in the west
        return None
    return parsed if parsed.year >= 1970 else None


def time_from_epoch(seconds: float | None) -> datetime | None:
    """A time from seconds since 1970; 0 stands for "unknown"."""
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def parse_number(text: str | None) -> int | None:
    """A decimal number of at most 18 digits."""
    if text and text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    return None


def linked_page(response: Response) -> str | Failure | None:
    """The URL of the next page from the `Link` header."""
    try:
        return next_page(response.headers.getall("Link", ()), response.url)
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, stage=Stage.LIST)


def named_page(response: Response, target: object) -> str | Failure | None:
    """The URL of the next page from a field; None if the field is not a string."""
    if not isinstance(target, str) or not target:
        return None
    try:
        return same_origin_page(target, response.url)
    except ProtocolError as error:
        return Failure(kind=error.kind, detail=error.detail, stage=Stage.LIST)


def url_with(response: Response, **parameters: str) -> str:
    """The URL of the response with other values of some query parameters."""
    parts = urlsplit(response.url)
    query = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **parameters}
    return urlunsplit(parts._replace(query=urlencode(query)))
