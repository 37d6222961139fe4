"""Addresses that a registry must not send us to.

A hostile registry can name a token service, or redirect, to where only this machine
can connect (server-side request forgery; CVE-2020-15157 is a registry that got
credentials this way). Private ranges are allowed: many registries live there.
"""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)


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
