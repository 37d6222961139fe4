"""The realm of a Bearer challenge: where the credential is sent for a token.

The realm is the registry's word, and a password follows it, so it is checked before
anything is sent there (distribution, "Token Authentication Specification", says what
it is; CVE-2020-15157 what happens without a check). What a *name* in it resolves to
is checked at connect time with `address_refusal`.
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

# -- address --
# Addresses that a registry must not send us to.
#
# A hostile registry can name a token service, or redirect, to where only this machine
# can connect (server-side request forgery; CVE-2020-15157 is a registry that got
# credentials this way). Private ranges are allowed: many registries live there.


class AddressClass(StrEnum):
    """The classes of addresses that are refused."""

    LOOPBACK = "loopback"
    METADATA = "cloud metadata"
    LINK_LOCAL = "link-local"
    UNSPECIFIED = "unspecified"
    MULTICAST = "multicast"
    RESERVED = "reserved"


# Metadata services outside the link-local ranges: Alibaba, Azure, Oracle; AWS, GCP.
_METADATA = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("100.100.100.200"),
        IPv4Address("168.63.129.16"),
        IPv4Address("192.0.0.192"),
        IPv6Address("fd20:ce::254"),
    }
)
# AWS keeps its local services there: metadata at ::254, credentials for pods at ::23.
_METADATA_NETWORK = IPv6Network("fd00:ec2::/32")
_THIS_NETWORK = IPv4Network("0.0.0.0/8")  # RFC 1122 section 3.2.1.3
# Prefixes that carry an IPv4 address in their last 32 bits: IPv4-mapped (RFC 4291
# section 2.5.5.2), IPv4-compatible (2.5.5.1), IPv4-translated (RFC 2765 section 2.1),
# NAT64 (RFC 6052 section 2.1; RFC 8215, of whose /48 the prefix of 96 bits is used).
_CARRIERS = (
    IPv6Network("::ffff:0:0/96"),
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
)
_NUMBER = re.compile(r"0[xX](?P<hex>[0-9a-fA-F]*)|0(?P<oct>[0-7]+)|(?P<dec>[0-9]+)")


def address_class(host: str) -> AddressClass | None:
    """The refused class that a host belongs to by its text alone, else None.

    `host` is a name or an address in any spelling that getaddrinfo takes. A name is
    only known to be loopback (`localhost`, RFC 6761 section 6.3).
    """
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return AddressClass.LOOPBACK
    address = _literal(host)
    return None if address is None else _class_of(address)


def is_loopback_host(host: str) -> bool:
    """Whether the host is this machine, by its text alone."""
    return address_class(host) is AddressClass.LOOPBACK


def address_refusal(address: str, *, registry_is_loopback: bool) -> str | None:
    """Why not to connect to an IP address a name resolved to; None if it is fine.

    The words complete the sentence "<host> resolves to ...".
    """
    try:
        found = _class_of(ip_address(address))
    except ValueError:
        return "something that is not an IP address"
    if found is None or (found is AddressClass.LOOPBACK and registry_is_loopback):
        return None
    return f"{address}, a {found} address, where a registry may not send us"


def _class_of(address: IPv4Address | IPv6Address) -> AddressClass | None:
    if isinstance(address, IPv6Address):
        if address.is_loopback:
            return AddressClass.LOOPBACK
        if address.is_unspecified:
            return AddressClass.UNSPECIFIED
        address = _carried(address) or address
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


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.sixtofour is not None:  # RFC 3056
        return address.sixtofour
    if any(address in network for network in _CARRIERS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    if ":" in host:
        try:
            return IPv6Address(host)
        except AddressValueError:
            return None
    return _inet_aton(host)


def _inet_aton(host: str) -> IPv4Address | None:
    """An IPv4 address as inet_aton(3) reads it: 127.1, 0x7f.0.0.1, 017700000001.

    One to four numbers, decimal, octal or hexadecimal; the last one fills what is
    left of the 32 bits.
    """
    numbers = []
    for part in host.split("."):
        found = _NUMBER.fullmatch(part)
        # No number of 32 bits has more digits than these, but for leading zeros.
        if found is None or len(part.lstrip("0xX")) > 11:
            return None
        if found["hex"] is not None:
            numbers.append(int(found["hex"] or "0", 16))
        elif found["oct"]:
            numbers.append(int(found["oct"], 8))
        else:
            numbers.append(int(found["dec"]))
    *leading, last = numbers
    free_bits = 32 - 8 * len(leading)
    if len(leading) > 3 or last >= 1 << free_bits or any(n > 255 for n in leading):
        return None
    value = last
    for place, number in enumerate(leading):
        value |= number << (24 - 8 * place)
    return IPv4Address(value)


# -- url --
# URLs that a registry names: taken apart in one strict way (RFC 3986).
#
# Two readers that disagree on where a host ends are how credentials get lost, so a URL
# outside this narrow form is refused instead of repaired: http or https, no userinfo,
# a plain host name or a bracketed IPv6 address, visible ASCII without backslashes.

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


def resolve_url(base: str, reference: str, *, kind: FailureKind) -> str:
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


__all__ = [
    "Origin",
    "address_refusal",
    "check_realm",
    "is_loopback_host",
    "origin_of",
    "token_url",
]

# Where a registry at such an address may send us: to its own kind. Nothing else is
# shared between the hosts of these classes.
_OWN_KIND = frozenset({AddressClass.LOOPBACK, AddressClass.LINK_LOCAL})


def check_realm(
    realm: str, *, registry: Origin, allowed_hosts: Collection[str] = ()
) -> str:
    """The realm as it stands, its scheme in small letters, or
    `ProtocolError(REALM_REFUSED)`.

    `allowed_hosts` (lower case, no port) are the user's exceptions to the rule on
    addresses; none of the other rules has one.
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
    found = address_class(origin.host)
    if found is None:
        return realm
    if found in _OWN_KIND and found is address_class(registry.host):
        return realm
    raise _refused(realm, f"is a {found} address, where {registry} may not send us")


def token_url(
    realm: str,
    *,
    service: str | None,
    scope: Scope | None,
    account: str | None = None,
) -> str:
    """The URL of a token request (distribution, "Requesting a Token").

    What the realm's own query holds stays as it is; a pair it holds already is not
    added again.
    """
    url = realm.partition("#")[0]
    query = urlsplit(url).query
    present = parse_qsl(query, keep_blank_values=True)
    wanted = (
        ("service", service),
        ("scope", None if scope is None else str(scope)),
        ("account", account),
    )
    added = [(k, v) for k, v in wanted if v is not None and (k, v) not in present]
    if not added:
        return url
    start = url if "?" in url else f"{url}?"
    separator = "" if start.endswith(("?", "&")) else "&"
    try:
        asked = urlencode(added, quote_via=quote, safe="")
    except UnicodeEncodeError:
        raise _refused(realm, "is to be asked for what is not UTF-8") from None
    return start + separator + asked


def _refused(realm: str, reason: str) -> ProtocolError:
    return ProtocolError(
        f"the token service {safe_url(realm)} {reason}", FailureKind.REALM_REFUSED
    )
