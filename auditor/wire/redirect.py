"""Redirects, one hop at a time (RFC 9110 section 15.4).

Registries redirect blobs to object stores and CDNs. Those answer an error if the
registry's Authorization comes along, and must not see it anyway.
"""

from __future__ import annotations

from collections.abc import Collection

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.text import safe_url
from auditor.wire.url_policy import address_class, origin_of, resolve_url

# A registry, its CDN, the CDN's region and its object store are four. RFC 1945
# section 9.3 recommended five, and a longer chain is a loop in practice.
MAX_REDIRECTS = 5
_REFUSED = FailureKind.REDIRECT_REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """The next request.

    Unless `same_origin`, it goes without Authorization and custom header fields.
    """

    url: str
    same_origin: bool


def follow_redirect(
    current_url: str,
    location: str | None,
    hops: int,
    *,
    allowed_hosts: Collection[str] = (),
) -> Redirect:
    """Where hop number `hops` (from 1) leads, or `ProtocolError(REDIRECT_REFUSED)`.

    Refused: too many hops, https to http, userinfo, anything but http(s), a missing
    or damaged Location, and a literal address of a class that the current host is
    not in (loopback, link-local, ...) unless its host is in `allowed_hosts`.
    """
    here = safe_url(current_url)
    if hops > MAX_REDIRECTS:
        raise ProtocolError(
            f"{here} redirects once more after {MAX_REDIRECTS} redirects", _REFUSED
        )
    if not location:
        raise ProtocolError(f"{here} redirects without saying where to", _REFUSED)
    url = resolve_url(current_url, location, kind=_REFUSED)
    current = origin_of(current_url, kind=_REFUSED)
    target = origin_of(url, kind=_REFUSED)
    if current.scheme == "https" and target.scheme != "https":
        raise ProtocolError(f"{here} redirects from https to {safe_url(url)}", _REFUSED)
    if target.host != current.host and target.host not in allowed_hosts:
        found = address_class(target.host)
        if found is not None and found is not address_class(current.host):
            raise ProtocolError(
                f"{here} redirects to the {found} address {target.host}", _REFUSED
            )
    return Redirect(url=url, same_origin=target == current)
