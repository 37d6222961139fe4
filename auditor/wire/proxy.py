"""Which proxy a request goes through.

The variables and their meaning are those of Go's `http.ProxyFromEnvironment`
(golang.org/x/net/http/httpproxy), which docker, podman, skopeo and crane use, with
curl's `ALL_PROXY` for what has no variable of its own.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeVar
from urllib.parse import unquote

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import Secret
from auditor.wire.url_policy import Origin, is_loopback_host, origin_of

NO_PROXY = "none"

_SCHEME = LazyPattern(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_PORT = LazyPattern(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{0,5})")

_Address = IPv4Address | IPv6Address
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy. `authorization` is its Proxy-Authorization field, a secret.

    `named_by` is the variable or setting that names it.
    """

    origin: Origin
    named_by: str
    authorization: Secret | None = None

    def __str__(self) -> str:
        return f"{self.origin} ({self.named_by})"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidProxy:
    """What names a proxy and cannot be used: one sentence, without the value."""

    detail: str


ProxyChoice = Proxy | InvalidProxy | None


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY; `port` is null for every port."""

    matches: Callable[[str, _Address | None], bool]
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """What to go through for http and for https, and for whom not to."""

    http: ProxyChoice = None
    https: ProxyChoice = None
    exceptions: tuple[_Exception, ...] = ()

    def choose(self, origin: Origin) -> ProxyChoice:
        """The proxy for requests to an origin; None: they go there directly.

        Nothing on this machine is asked through a proxy, which would find itself.
        """
        chosen = self.https if origin.scheme == "https" else self.http
        if chosen is None or is_loopback_host(origin.host):
            return None
        address = _made(ip_address, origin.host)
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        for one in self.exceptions:
            if one.port in {None, origin.port} and one.matches(origin.host, address):
                return None
        return chosen


NO_PROXIES = Proxies()


def proxies_from_environment(
    environment: Mapping[str, str], said: str | None = None
) -> Proxies:
    """The proxies of the environment; of `said`, a URL or `none`, where that is given.

    `NO_PROXY` holds for both.
    """
    if said == NO_PROXY:
        return NO_PROXIES
    exceptions = _exceptions(_first(environment, "NO_PROXY")[1])
    if said is not None:
        proxy = parse_proxy(said, "proxy")
        return Proxies(http=proxy, https=proxy, exceptions=exceptions)
    everything = _first(environment, "ALL_PROXY")
    plain = _first(environment, "HTTP_PROXY")
    if plain[0] == "HTTP_PROXY" and environment.get("REQUEST_METHOD"):
        # In a CGI program this is what a client sent as `Proxy:` (CVE-2016-5385).
        plain = "HTTP_PROXY", ""
    return Proxies(
        http=_proxy(plain, everything),
        https=_proxy(_first(environment, "HTTPS_PROXY"), everything),
        exceptions=exceptions,
    )


def parse_proxy(text: str, named_by: str) -> Proxy | InvalidProxy:
    """A proxy from its URL; without a scheme it is http, as everywhere."""
    found = _SCHEME.fullmatch(text)
    scheme, rest = (found["scheme"].lower(), found["rest"]) if found else ("http", text)
    if scheme not in {"http", "https"}:
        return InvalidProxy(
            detail=f"{named_by} names a proxy that is neither http nor https, and"
            " others are not supported; NO_PROXY says who needs none"
        )
    user, at, place = rest.partition("/")[0].rpartition("@")
    try:
        origin = origin_of(f"{scheme}://{place}")
        authorization = _authorization(user) if at else None
    except (ProtocolError, UnicodeEncodeError):
        return InvalidProxy(detail=f"{named_by} is not the URL of a proxy")
    return Proxy(origin=origin, named_by=named_by, authorization=authorization)


def _authorization(user: str) -> Secret:
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def _first(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable in capitals or, if that says nothing, in small letters."""
    text = environment.get(name, "").strip()
    if text:
        return name, text
    return name.lower(), environment.get(name.lower(), "").strip()


def _proxy(own: tuple[str, str], everything: tuple[str, str]) -> ProxyChoice:
    for name, text in (own, everything):
        if text:
            return parse_proxy(text, name)
    return None


def _exceptions(text: str) -> tuple[_Exception, ...]:
    found = (_exception(entry) for entry in re.split(r"[,\s]+", text.lower()))
    return tuple(one for one in found if one is not None)


def _exception(entry: str) -> _Exception | None:
    """One entry: `*`, an address, a range, a name and what is below it, or below it
    only (`.example.com`, `*.example.com`); all but a range with a port or without."""
    if entry == "*":
        return _Exception(lambda _host, _address: True)
    if "/" in entry:
        network = _made(ip_network, entry, False)
        if network is None:
            return None
        return _Exception(
            lambda _host, address: address is not None and address in network
        )
    host, port = entry, None
    if (found := _PORT.fullmatch(entry)) is not None:
        host = found["host"]
        port = int(found["port"]) if found["port"] else None
    host = host.strip("[]")
    address = _made(ip_address, host)
    if address is not None:
        return _Exception(lambda _host, other: other == address, port)
    host = host.removeprefix("*")
    if not host.strip("."):
        return None
    below = f".{host.lstrip('.')}"
    itself = None if host.startswith(".") else host
    return _Exception(
        lambda other, _address: other == itself or other.endswith(below), port
    )


def _made(make: Callable[..., _Made], *arguments: object) -> _Made | None:
    try:
        return make(*arguments)
    except ValueError:
        return None
