"""An HTTP response as a value, and the parsing of its headers.

Sizes (RFC 9110 sections 8.6 and 14.4):

    Content-Length = 1*DIGIT
    Content-Range  = "bytes" SP ( first "-" last / "*" ) "/" ( complete / "*" )

The next page of a listing (RFC 8288 section 3):

    Link       = #link-value
    link-value = "<" URI-Reference ">" *( OWS ";" OWS [ link-param ] )
    link-param = token BWS [ "=" BWS ( token / quoted-string ) ]

A malformed Link header is an error: ignoring it could end a listing early, unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn, Protocol
from urllib.parse import urlsplit

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_url
from auditor.wire.challenge import QUOTED_PAIR, TOKEN, skip_separators
from auditor.wire.url_policy import origin_of, resolve_url

# An int64, the size of a descriptor, has at most nineteen digits.
_LENGTH = LazyPattern(r"[0-9]{1,19}")
_RANGE = LazyPattern(r"bytes +(?:\*|[0-9]+-[0-9]+)/([0-9]{1,19})", re.IGNORECASE)

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_TARGET = LazyPattern(r"<([^<>]*)>")
_PARAMETER = LazyPattern(
    rf"[ \t]*;[ \t]*(?:({TOKEN})(?:[ \t]*=[ \t]*(?:{_QUOTED}|({TOKEN})))?)?"
)
_END = LazyPattern(r"[ \t]*(?:,|\Z)")
_KIND = FailureKind.INCOMPLETE_LISTING

# How TLS servers answer a request in plain HTTP: with an alert (RFC 8446 section 5.1: a
# record of type 21, version 3.x), or with status 400 and a sentence. These are of Go
# (net/http/server.go), nginx (ngx_http_special_response.c), Apache httpd
# (ssl_engine_kernel.c) and Tomcat (TLSClientHelloExtractor.java).
TLS_ALERT = b"\x15\x03"
_TLS_EXPECTED = (
    b"Client sent an HTTP request to an HTTPS server",
    b"The plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"This combination of host and port requires TLS",
)


class Headers(Protocol):
    """Case-insensitive header fields; a name can have several lines."""

    def get(self, name: str, /) -> str | None:
        """The first line of that name."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Every line of that name, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response with its whole body. `url` is the URL after redirects.

    `round_trip_s`: seconds from the request, written on its connection, to the arrival
    of the response's last byte, redirects included; None if they are not known.
    `waited_s`: the seconds after that until the program went on with it.
    """

    status: int
    headers: Headers
    body: bytes
    url: str
    round_trip_s: float | None = None
    waited_s: float = 0.0

    @property
    def content_type(self) -> str | None:
        """The Content-Type header, unchanged."""
        return self.headers.get("Content-Type")


# `aws-chunked` is how an object was uploaded. Several S3 stores keep it in the metadata
# of the object, which has no such framing (localstack#12167, noobaa-core#9138).
_NO_CODINGS = frozenset({"", "identity", "aws-chunked"})


def content_codings(headers: Headers) -> str:
    """The codings of the content in the order of RFC 9110 section 8.4, such as "gzip".

    Empty without a coding.
    """
    codings = ",".join(headers.getall("Content-Encoding", ())).lower().split(",")
    return ",".join(
        coding for part in codings if (coding := part.strip()) not in _NO_CODINGS
    )


def content_length(value: str | None) -> int | None:
    """The value of a Content-Length header, or None."""
    text = (value or "").strip()
    return int(text) if _LENGTH.fullmatch(text) else None


def complete_length(content_range: str | None) -> int | None:
    """The complete length in a Content-Range header, or None."""
    match = _RANGE.fullmatch((content_range or "").strip())
    return int(match[1]) if match else None


def expects_tls(data: bytes) -> bool:
    """Whether the sender of `data` expects TLS and was sent plain HTTP.

    `data` stands where a response should begin, or is the body of a 400.
    """
    return data.startswith(TLS_ALERT) or any(one in data for one in _TLS_EXPECTED)


def next_page(link_values: Iterable[str], page_url: str) -> str | None:
    """The absolute URL of the page after `page_url`, or None on the last page.

    The URL is used unchanged: the cursor in it is opaque. A link without any relation,
    to the path of `page_url` itself, is the next page, too: containers/image and
    go-containerregistry do not look at relations, so that a registry without them goes
    unnoticed. Raises `ProtocolError(INCOMPLETE_LISTING)` for a malformed header, two
    different next pages, or a next page with another scheme, host or port than
    `page_url`.
    """
    links = [link for line in link_values for link in _links(line, page_url)]
    targets = {
        resolve_url(page_url, target, kind=_KIND)
        for target, relations in links
        if relations is not None and "next" in relations
    }
    if not targets and len(links) == 1 and links[0][1] is None:
        url = resolve_url(page_url, links[0][0], kind=_KIND)
        if urlsplit(url).path == urlsplit(page_url).path and url != page_url:
            targets = {url}
    if not targets:
        return None
    if len(targets) > 1:
        _incomplete(page_url, "has two different next pages")
    (url,) = targets
    return same_origin_page(url, page_url)


def same_origin_page(target: str, page_url: str) -> str:
    """The absolute URL of a next page that is not named in a Link header.

    Raises `ProtocolError(INCOMPLETE_LISTING)` if it is at another origin.
    """
    url = resolve_url(page_url, target, kind=_KIND)
    if origin_of(url, kind=_KIND) != origin_of(page_url, kind=_KIND):
        _incomplete(page_url, f"has its next page at another host: {safe_url(url)}")
    return url


def _links(line: str, page_url: str) -> Iterator[tuple[str, list[str] | None]]:
    """Targets of a line with their relation types in lower case (section 3.3).

    The types are None without a rel parameter.
    """
    position = skip_separators(line, 0)
    while position < len(line):
        target = _TARGET.match(line, position)
        if target is None:
            _incomplete(page_url, "has a malformed Link header")
        position = target.end()
        relations: str | None = None
        while parameter := _PARAMETER.match(line, position):
            position = parameter.end()
            name, quoted, token = parameter.groups()
            # Section 3.3: the first of several rel parameters counts.
            if relations is None and name is not None and name.lower() == "rel":
                relations = QUOTED_PAIR.sub(r"\1", quoted or "") or token or ""
        end = _END.match(line, position)
        if end is None:
            _incomplete(page_url, "has a malformed Link header")
        yield target[1], None if relations is None else relations.lower().split()
        position = skip_separators(line, end.end())


def _incomplete(page_url: str, reason: str) -> NoReturn:
    raise ProtocolError(f"the listing at {safe_url(page_url)} {reason}", _KIND)
