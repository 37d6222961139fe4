"""An HTTP answer as the protocol code sees it: no connection, nothing to wait for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn, Protocol

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_url
from auditor.wire.url_policy import origin_of, resolve_url


class Headers(Protocol):
    """Case-insensitive header fields; a name may stand on several lines."""

    def get(self, name: str, /) -> str | None:
        """The first line of that name."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Every line of that name, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole answer. `url` is where it came from, after redirects."""

    status: int
    headers: Headers
    body: bytes
    url: str

    @property
    def content_type(self) -> str | None:
        """The Content-Type field as it stands."""
        return self.headers.get("Content-Type")


# -- content_size --
# How large content is, by the header fields of an answer without it.
#
# Content-Length = 1*DIGIT                                   (RFC 9110 section 8.6)
# Content-Range  = "bytes" SP ( first "-" last / "*" ) "/" ( complete / "*" )
# (RFC 9110 section 14.4)

# Nineteen digits hold every int64, the largest size that a descriptor can say.
_LENGTH = LazyPattern(r"[0-9]{1,19}")
_RANGE = LazyPattern(r"bytes +(?:\*|[0-9]+-[0-9]+)/([0-9]{1,19})", re.IGNORECASE)


def content_length(value: str | None) -> int | None:
    """Bytes of the whole content, as an answer to HEAD says them; null if unsaid."""
    text = (value or "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


def complete_length(content_range: str | None) -> int | None:
    """Bytes of the whole content of which an answer holds a part; null if unsaid."""
    match = _RANGE.fullmatch((content_range or "").strip())
    return int(match[1]) if match else None


# -- link --
# The next page of a list, from its Link header (RFC 8288 section 3).
#
#     Link       = #link-value
#     link-value = "<" URI-Reference ">" *( OWS ";" OWS [ link-param ] )
#     link-param = token BWS [ "=" BWS ( token / quoted-string ) ]
#
# A next link that is not understood would end the list too early without anybody
# knowing, so whatever is damaged here is an error.

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_SEPARATOR = LazyPattern(r"[ \t,]*")
_TARGET = LazyPattern(r"<([^<>]*)>")
_PARAMETER = LazyPattern(
    rf"[ \t]*;[ \t]*(?:({_TOKEN})(?:[ \t]*=[ \t]*(?:{_QUOTED}|({_TOKEN})))?)?"
)
_END = LazyPattern(r"[ \t]*(?:,|\Z)")
_QUOTED_PAIR = LazyPattern(r"\\(.)", re.DOTALL)
_KIND = FailureKind.INCOMPLETE_LISTING


def next_page(link_values: Iterable[str], page_url: str) -> str | None:
    """The absolute URL of the page after `page_url`, or None on the last one.

    Followed as it is: the cursor in it is opaque and is not encoded anew.
    `ProtocolError(INCOMPLETE_LISTING)` for a damaged header, for two different next
    pages, and for one at another scheme, host or port than `page_url`.
    """
    targets = {
        resolve_url(page_url, target, kind=_KIND)
        for line in link_values
        for target, relations in _links(line, page_url)
        if "next" in relations
    }
    if not targets:
        return None
    if len(targets) > 1:
        _incomplete(page_url, "has two different next pages")
    (url,) = targets
    return same_origin_page(url, page_url)


def same_origin_page(target: str, page_url: str) -> str:
    """The absolute URL of a next page that an answer names in some other way.

    Followed and refused as one of a Link header.
    """
    url = resolve_url(page_url, target, kind=_KIND)
    if origin_of(url, kind=_KIND) != origin_of(page_url, kind=_KIND):
        _incomplete(page_url, f"has its next page elsewhere, at {safe_url(url)}")
    return url


def _links(line: str, page_url: str) -> Iterator[tuple[str, list[str]]]:
    """Each target of a line with its relation types in lower case (section 3.3)."""
    position = _skip(line, 0)
    while position < len(line):
        target = _TARGET.match(line, position)
        if target is None:
            _incomplete(page_url, "has a damaged Link header")
        position = target.end()
        relations: str | None = None
        while parameter := _PARAMETER.match(line, position):
            position = parameter.end()
            name, quoted, token = parameter.groups()
            # Section 3.3: of several rel parameters the first counts.
            if relations is None and name is not None and name.lower() == "rel":
                relations = _QUOTED_PAIR.sub(r"\1", quoted or "") or token or ""
        end = _END.match(line, position)
        if end is None:
            _incomplete(page_url, "has a damaged Link header")
        yield target[1], (relations or "").lower().split()
        position = _skip(line, end.end())


def _skip(line: str, position: int) -> int:
    found = _SEPARATOR.match(line, position)
    return found.end() if found else position


def _incomplete(page_url: str, reason: str) -> NoReturn:
    raise ProtocolError(f"the list at {safe_url(page_url)} {reason}", _KIND)
