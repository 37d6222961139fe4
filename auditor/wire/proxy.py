"""The proxy of a request: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The variables mean the same as in Go's `http.ProxyFromEnvironment`
(golang.org/x/net/http/httpproxy), which docker, podman, skopeo and crane use; curl's
`ALL_PROXY` applies if the scheme's own variable is not set.
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
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy. `authorization` is the value of Proxy-Authorization.

    `named_by` is the variable or setting that it comes from.
    """

    origin: Origin
    named_by: str
    authorization: Secret | None = None

    def __str__(self) -> str:
        return f"{self.origin} ({self.named_by})"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidProxy:
    """A proxy setting that cannot be used. `detail` is a sentence without the value."""

    detail: str


ProxyChoice = Proxy | InvalidProxy | None


@dataclass(frozen=True, slots=True)
class _NoProxyRule:
    """One entry of NO_PROXY; a `port` of None matches every port."""

    matches: Callable[[str, _Address | None], bool]
    port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """The proxies for http and https, and the hosts without a proxy."""

    http: ProxyChoice = None
    https: ProxyChoice = None
    no_proxy: tuple[_NoProxyRule, ...] = ()

    def choose(self, origin: Origin) -> ProxyChoice:
        """The proxy for an origin; None for a direct connection.

        Loopback hosts are always direct: a proxy would connect to itself.
        """
        chosen = self.https if origin.scheme == "https" else self.http
        if chosen is None or is_loopback_host(origin.host):
            return None
        address = _parse(ip_address, origin.host)
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        for rule in self.no_proxy:
            if rule.port in {None, origin.port} and rule.matches(origin.host, address):
                return None
        return chosen


NO_PROXIES = Proxies()


def proxies_from_environment(
    environment: Mapping[str, str], setting: str | None = None
) -> Proxies:
    """The proxies of `setting` (a URL or `none`), or else of the environment.

    `NO_PROXY` applies to both.
    """
    if setting == NO_PROXY:
        return NO_PROXIES
    no_proxy = _no_proxy_rules(_variable(environment, "NO_PROXY")[1])
    if setting is not None:
        proxy = parse_proxy(setting, "proxy")
        return Proxies(http=proxy, https=proxy, no_proxy=no_proxy)
    all_proxy = _variable(environment, "ALL_PROXY")
    http_proxy = _variable(environment, "HTTP_PROXY")
    if http_proxy[0] == "HTTP_PROXY" and environment.get("REQUEST_METHOD"):
        # In a CGI program this is the client's `Proxy` header (CVE-2016-5385).
        http_proxy = "HTTP_PROXY", ""
    return Proxies(
        http=_proxy(http_proxy, all_proxy),
        https=_proxy(_variable(environment, "HTTPS_PROXY"), all_proxy),
        no_proxy=no_proxy,
    )


def parse_proxy(text: str, named_by: str) -> Proxy | InvalidProxy:
    """Parse the URL of a proxy; the scheme defaults to http."""
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match["scheme"].lower(), match["rest"]) if match else ("http", text)
    if scheme not in {"http", "https"}:
        return InvalidProxy(
            detail=f"{named_by} names a proxy that is neither http nor https; use an"
            " HTTP proxy, or exclude the host with NO_PROXY"
        )
    userinfo, at, host = rest.partition("/")[0].rpartition("@")
    try:
        origin = origin_of(f"{scheme}://{host}")
        authorization = _authorization(userinfo) if at else None
    except (ProtocolError, UnicodeEncodeError):
        return InvalidProxy(
            detail=f"{named_by} is not the URL of a proxy, such as http://proxy:3128"
        )
    return Proxy(origin=origin, named_by=named_by, authorization=authorization)


def _authorization(userinfo: str) -> Secret:
    name, _, password = userinfo.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return Secret("Basic " + base64.b64encode(pair).decode("ascii"))


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Name and value of a variable in upper case or, if it is empty, in lower case."""
    text = environment.get(name, "").strip()
    if text:
        return name, text
    return name.lower(), environment.get(name.lower(), "").strip()


def _proxy(*variables: tuple[str, str]) -> ProxyChoice:
    for name, text in variables:
        if text:
            return parse_proxy(text, name)
    return None


def _no_proxy_rules(text: str) -> tuple[_NoProxyRule, ...]:
    rules = map(_no_proxy_rule, re.split(r"[,\s]+", text.lower()))
    return tuple(rule for rule in rules if rule is not None)


def _no_proxy_rule(entry: str) -> _NoProxyRule | None:
    """Parse one entry of NO_PROXY; None if it is malformed.

    `*`; an address range; or, each with an optional port, an address, a domain with its
    subdomains, or the subdomains only (`.example.com`, `*.example.com`).
    """
    if entry == "*":
        return _NoProxyRule(lambda _host, _address: True)
    if "/" in entry:
        network = _parse(ip_network, entry, False)
        if network is None:
            return None
        return _NoProxyRule(
            lambda _host, address: address is not None and address in network
        )
    host, port = entry, None
    if (match := _PORT.fullmatch(entry)) is not None:
        host = match["host"]
        port = int(match["port"]) if match["port"] else None
    host = host.strip("[]")
    address = _parse(ip_address, host)
    if address is not None:
        return _NoProxyRule(lambda _host, other: other == address, port)
    host = host.removeprefix("*")
    if not host.strip("."):
        return None
    suffix = f".{host.lstrip('.')}"
    domain = None if host.startswith(".") else host
    return _NoProxyRule(
        lambda other, _address: other == domain or other.endswith(suffix), port
    )


def _parse(parser: Callable[..., _Parsed], *arguments: object) -> _Parsed | None:
    try:
        return parser(*arguments)
    except ValueError:
        return None
