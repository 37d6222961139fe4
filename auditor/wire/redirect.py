"""Redirects: which ones are followed, and which headers are kept (RFC 9110 15.4).

Registries redirect blobs to object stores and CDNs. These must not receive the
registry's Authorization header, and reject requests that have one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_url
from auditor.wire.url_policy import address_class, origin_of, resolve_url

# A registry, its CDN, the CDN's region and its object store are four hops. RFC 1945
# section 9.3 recommends five.
MAX_REDIRECTS = 5
# The header fields that are kept when a redirect leaves the origin.
KEPT_HEADERS = frozenset({"Accept", "Range"})
_REFUSED = FailureKind.REDIRECT_REFUSED
# The resource of a URL of the registry API: its last two segments.
_RESOURCE = LazyPattern(r"[a-z]+://[^/]+/v2/.+/([a-z]+/[^/?#]+)(?:[?#].*)?")


class Redirects(StrEnum):
    """Which redirects of a response are followed.

    `SAME_RESOURCE`: those to a registry that has the same resource, whatever its name
    and the name of the repository there (lscr.io, registry.k8s.io).
    """

    FOLLOWED = "followed"
    SAME_RESOURCE = "same resource"
    REFUSED = "refused"

    def allows(self, url: str, target: str) -> bool:
        """Whether a redirect from `url` to `target` is followed."""
        if self is not Redirects.SAME_RESOURCE:
            return self is Redirects.FOLLOWED
        here, there = _RESOURCE.fullmatch(url), _RESOURCE.fullmatch(target)
        return here is not None and there is not None and here[1] == there[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """The next request."""

    url: str
    same_origin: bool

    def kept_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers to send: all to the same origin, else `KEPT_HEADERS` only."""
        if self.same_origin:
            return headers
        return {name: value for name, value in headers.items() if name in KEPT_HEADERS}


def follow_redirect(
    current_url: str,
    location: str | None,
    hops: int,
    *,
    allowed_hosts: Collection[str] = (),
) -> Redirect:
    """The target of redirect number `hops` (from 1).

    Raises `ProtocolError(REDIRECT_REFUSED)` for too many hops, https to http, userinfo,
    another scheme than http(s), a missing or invalid Location, and a literal address of
    a restricted class (loopback, link-local, ...) that is not the class of the current
    host and not in `allowed_hosts`.
    """
    here = safe_url(current_url)
    if hops > MAX_REDIRECTS:
        raise ProtocolError(
            f"{here} redirects again after {MAX_REDIRECTS} redirects", _REFUSED
        )
    if not location:
        raise ProtocolError(f"{here} redirects without a Location", _REFUSED)
    url = resolve_url(current_url, location, kind=_REFUSED)
    current = origin_of(current_url, kind=_REFUSED)
    target = origin_of(url, kind=_REFUSED)
    if current.scheme == "https" and target.scheme != "https":
        raise ProtocolError(f"{here} redirects from https to {safe_url(url)}", _REFUSED)
    if target.host != current.host and target.host not in allowed_hosts:
        restricted = address_class(target.host)
        if restricted is not None and restricted is not address_class(current.host):
            raise ProtocolError(
                f"{here} redirects to the {restricted} address {target.host}", _REFUSED
            )
    return Redirect(url=url, same_origin=target == current)
