"""URLs that a registry names: taken apart in one strict way (RFC 3986).

Two readers that disagree on where a host ends are how credentials get lost, so a URL
outside this narrow form is refused instead of repaired: http or https, no userinfo,
a plain host name or a bracketed IPv6 address, visible ASCII without backslashes.
"""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import urljoin

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_url

_ORIGIN = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{0,5}))?(?=[/?#]|\Z)",
    re.IGNORECASE,
)
# Blanks and control characters end or split a request line, non-ASCII characters are
# encoded differently by different clients, and a backslash is a slash to some.
_NOT_IN_A_URL = re.compile(r"[^!-~]|\\")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """RFC 6454 section 4. `host` is lower case; an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return f"{self.scheme}://{host}"
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: str, *, kind: FailureKind = FailureKind.REALM_REFUSED) -> Origin:
    """Where requests for an absolute URL go; `ProtocolError(kind)` if that is unclear.

    Only the part up to the path is looked at; `check_url` is for all of it.
    """
    found = _ORIGIN.match(url)
    if found is None:
        _refuse_origin(url, kind)
    scheme = found["scheme"].lower()
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise ProtocolError(f"{safe_url(url)} has a port that does not exist", kind)
    host = found["ipv6"] or found["host"]
    return Origin(scheme=scheme, host=host.lower(), port=port)


def check_url(url: str, *, kind: FailureKind) -> None:
    """Refuse characters that no URL holds: `ProtocolError(kind)`."""
    if odd := _NOT_IN_A_URL.search(url):
        raise ProtocolError(
            f"{safe_url(url)} holds the character U+{ord(odd[0]):04X},"
            " which no URL may hold",
            kind,
        )


def resolve(base: str, reference: str, *, kind: FailureKind) -> str:
    """The absolute URL that `reference` means on the page `base` (section 5.2).

    An absolute one is returned as it stands but for its scheme (`canonical_scheme`):
    nothing is decoded or normalised. The fragment, which is not sent, is cut off.
    `ProtocolError(kind)` as `check_url`.
    """
    check_url(reference, kind=kind)
    if not _SCHEME.match(reference):
        try:
            reference = urljoin(base, reference)
        except ValueError:
            raise ProtocolError(
                f"{safe_url(reference)} cannot be read as a URL", kind
            ) from None
    return canonical_scheme(reference.partition("#")[0])


def canonical_scheme(url: str) -> str:
    """The URL with its scheme in small letters (section 3.1): `HTTPS:` is `https:`,
    also for whoever compares with that."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.lower()}{colon}{rest}"


def _refuse_origin(url: str, kind: FailureKind) -> NoReturn:
    shown = safe_url(url)
    authority = _AUTHORITY.match(url)
    if authority is None or not authority[1]:
        raise ProtocolError(f"{shown} is not an absolute URL with a host", kind)
    if "@" in authority[1]:
        raise ProtocolError(f"{shown} was given with a user name or password", kind)
    if not url.lower().startswith(("http://", "https://")):
        raise ProtocolError(f"{shown} is neither https nor http", kind)
    raise ProtocolError(f"{shown} has a host or port that cannot be read", kind)
