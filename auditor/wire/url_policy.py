"""The policy on URLs and addresses that a registry names.

A registry names URLs: the realm of its token service, which receives the password,
redirects, and next pages. A hostile registry could collect credentials, as in
CVE-2020-15157, or make this machine connect to services that only it can reach
(server-side request forgery). The rules:

- A URL is accepted only in one strict form (RFC 3986): http or https, no userinfo, a
  plain host name or bracketed IPv6 address, visible ASCII without backslashes.
  Credentials leak where parsers disagree on where a host ends.
- `check_realm` checks the realm of a Bearer challenge (distribution, "Token
  Authentication Specification"), `token_url` builds the token request.
- `address_class` refuses literal addresses of restricted classes, and
  `address_refusal` the addresses that a name resolves to, when connecting. Private
  ranges are allowed: many registries are there.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_url
from auditor.wire.challenge import Scope


class AddressClass(StrEnum):
    """Restricted classes of addresses."""

    LOOPBACK = "loopback"
    METADATA = "cloud metadata"
    LINK_LOCAL = "link-local"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    RESERVED = "reserved"


_ORIGIN = re.compile(
    r"(?P<scheme>https?)://"
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{0,5}))?(?=[/?#]|\Z)",
    re.IGNORECASE,
)
# Spaces and control characters end or split a request line, clients encode non-ASCII
# characters differently, and some treat a backslash as a slash.
_INVALID_CHARACTER = re.compile(r"[^!-~]|\\")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A registry at an address of these classes may send us to addresses of its class.
_SAME_CLASS_ALLOWED = frozenset({AddressClass.LOOPBACK, AddressClass.LINK_LOCAL})

# Cloud metadata services: AWS and most others, Alibaba, Azure, Oracle, GCP.
_METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("100.100.100.200"),
        IPv4Address("168.63.129.16"),
        IPv4Address("192.0.0.192"),
        IPv6Address("fd20:ce::254"),
    }
)
# AWS's local services: metadata at ::254, credentials for pods at ::23.
_METADATA_NETWORK = IPv6Network("fd00:ec2::/32")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3
# Prefixes with an IPv4 address in the last 32 bits: IPv4-mapped (RFC 4291 section
# 2.5.5.2), IPv4-compatible (2.5.5.1), IPv4-translated (RFC 2765 section 2.1), NAT64
# (RFC 6052 section 2.1; of RFC 8215's /48 the 96-bit prefix).
_IPV4_PREFIXES = (
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
)
_NUMBER = re.compile(r"0[xX](?P<hex>[0-9a-fA-F]*)|0(?P<oct>[0-7]+)|(?P<dec>[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """RFC 6454 section 4. `host` is lower case; an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int

    @property
    def name(self) -> str:
        """The host as references name it, with a port that is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        return host if is_default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.name}"


def origin_of(url: str, *, kind: FailureKind = FailureKind.REALM_REFUSED) -> Origin:
    """The origin of an absolute URL. Raises `ProtocolError(kind)` for any other text.

    Only the part before the path is checked; `check_url` checks all characters.
    """
    match = _ORIGIN.match(url)
    if match is None:
        _refuse_origin(url, kind)
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:
        raise ProtocolError(f"{safe_url(url)} has an invalid port", kind)
    host = match["ipv6"] or match["host"]
    return Origin(scheme=scheme, host=host.lower(), port=port)


def check_url(url: str, *, kind: FailureKind) -> None:
    """Raise `ProtocolError(kind)` if there is a character that URLs cannot contain."""
    if invalid := _INVALID_CHARACTER.search(url):
        raise ProtocolError(
            f"{safe_url(url)} contains the character U+{ord(invalid[0]):04X},"
            " which is not allowed in a URL",
            kind,
        )


def resolve_url(base: str, reference: str, *, kind: FailureKind) -> str:
    """Resolve a URL reference against the URL `base` (RFC 3986 section 5.2).

    Nothing is decoded or normalised except the case of the scheme; the fragment, which
    is not sent, is removed. Raises `ProtocolError(kind)`.
    """
    check_url(reference, kind=kind)
    if not _SCHEME.match(reference):
        try:
            reference = urljoin(base, reference)
        except ValueError:
            raise ProtocolError(f"{safe_url(reference)} is not a URL", kind) from None
    return canonical_scheme(reference.partition("#")[0])


def canonical_scheme(url: str) -> str:
    """The URL with its scheme in lower case (RFC 3986 section 3.1)."""
    scheme, colon, rest = url.partition(":")
    return f"{scheme.lower()}{colon}{rest}"


def check_realm(
    realm: str, *, registry: Origin, allowed_hosts: Collection[str] = ()
) -> str:
    """Return the realm, with its scheme in lower case, if it may get the credential.

    Raises `ProtocolError(REALM_REFUSED)`. `allowed_hosts` (lower case, no port) are the
    user's exceptions to the rule about addresses; the other rules have no exceptions.
    """
    check_url(realm, kind=FailureKind.REALM_REFUSED)
    origin = origin_of(realm)
    realm = canonical_scheme(realm)
    if "#" in realm:
        raise _refused(realm, "has a fragment")
    if registry.scheme == "https" and origin.scheme != "https":
        raise _refused(realm, f"is not https, while {registry} is")
    if origin.host == registry.host or origin.host in allowed_hosts:
        return realm
    restricted = address_class(origin.host)
    if restricted is None or (
        restricted in _SAME_CLASS_ALLOWED and restricted is address_class(registry.host)
    ):
        return realm
    raise _refused(realm, f"is a {restricted} address, which {registry} may not name")


def token_url(
    realm: str, *, service: str | None, scope: Scope | None, account: str | None = None
) -> str:
    """The URL of a token request (distribution, "Requesting a Token").

    The realm's query is kept; parameters that it already contains are not repeated.
    """
    url = realm.partition("#")[0]
    present = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    parameters = (
        ("service", service),
        ("scope", None if scope is None else str(scope)),
        ("account", account),
    )
    added = [(k, v) for k, v in parameters if v is not None and (k, v) not in present]
    if not added:
        return url
    start = url if "?" in url else f"{url}?"
    separator = "" if start.endswith(("?", "&")) else "&"
    try:
        query = urlencode(added, quote_via=quote, safe="")
    except UnicodeEncodeError:
        raise _refused(realm, "would get parameters that are not UTF-8") from None
    return start + separator + query


def address_class(host: str) -> AddressClass | None:
    """The restricted class of a host, without name resolution, or None.

    `host` is a name or an address in any spelling that getaddrinfo accepts. The only
    names with a class are those of `localhost` (RFC 6761 section 6.3).
    """
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return AddressClass.LOOPBACK
    address = _parse_address(host)
    return None if address is None else _class_of(address)


def is_loopback_host(host: str) -> bool:
    """Whether the host is a loopback address or name, without name resolution."""
    return address_class(host) is AddressClass.LOOPBACK


def address_refusal(address: str, *, registry_is_loopback: bool) -> str | None:
    """The reason to refuse an IP address that a name resolves to; None to allow it.

    The text completes the sentence "<host> resolves to ...".
    """
    try:
        restricted = _class_of(ip_address(address))
    except ValueError:
        return "something that is not an IP address"
    if restricted is None or (
        restricted is AddressClass.LOOPBACK and registry_is_loopback
    ):
        return None
    return f"{address}, a {restricted} address, which a registry may not name"


def _refuse_origin(url: str, kind: FailureKind) -> NoReturn:
    shown = safe_url(url)
    authority = _AUTHORITY.match(url)
    if authority is None or not authority[1]:
        raise ProtocolError(f"{shown} is not an absolute URL with a host", kind)
    if "@" in authority[1]:
        raise ProtocolError(f"{shown} contains a user name or password", kind)
    if not url.lower().startswith(("http://", "https://")):
        raise ProtocolError(f"{shown} is neither https nor http", kind)
    raise ProtocolError(f"{shown} has an invalid host or port", kind)


def _refused(realm: str, reason: str) -> ProtocolError:
    return ProtocolError(
        f"the token service {safe_url(realm)} {reason}", FailureKind.REALM_REFUSED
    )


def _class_of(address: IPv4Address | IPv6Address) -> AddressClass | None:
    if isinstance(address, IPv6Address):
        if address.is_loopback:
            return AddressClass.LOOPBACK
        if address.is_unspecified:
            return AddressClass.UNSPECIFIED
        address = _embedded_ipv4(address) or address
    if address in _METADATA or address in _METADATA_NETWORK:
        return AddressClass.METADATA
    if address.is_loopback:
        return AddressClass.LOOPBACK
    if address.is_link_local:
        return AddressClass.LINK_LOCAL
    if address.is_multicast:
        return AddressClass.MULTICAST
    if isinstance(address, IPv4Address):
        if address in _THIS_NETWORK:
            return AddressClass.UNSPECIFIED
        if address.is_reserved:  # 240.0.0.0/4 with the broadcast address
            return AddressClass.RESERVED
    return None


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    if address.sixtofour is not None:  # RFC 3056
        return address.sixtofour
    if any(address in network for network in _IPV4_PREFIXES):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _parse_address(host: str) -> IPv4Address | IPv6Address | None:
    if ":" in host:
        try:
            return IPv6Address(host)
        except AddressValueError:
            return None
    return _inet_aton(host)


def _inet_aton(host: str) -> IPv4Address | None:
    """Parse an IPv4 address as inet_aton(3) does: 127.1, 0x7f.0.0.1, 017700000001.

    One to four decimal, octal or hexadecimal numbers; the last one fills the remaining
    bits.
    """
    numbers = []
    for part in host.split("."):
        match = _NUMBER.fullmatch(part)
        # 32 bits have at most 11 digits, without leading zeros.
        if match is None or len(part.lstrip("0xX")) > 11:
            return None
        kind = match.lastgroup or "dec"
        numbers.append(int(match[kind] or "0", {"hex": 16, "oct": 8, "dec": 10}[kind]))
    *leading, last = numbers
    free_bits = 32 - 8 * len(leading)
    if len(leading) > 3 or last >= 1 << free_bits or any(n > 255 for n in leading):
        return None
    value = last
    for position, number in enumerate(leading):
        value |= number << (24 - 8 * position)
    return IPv4Address(value)
