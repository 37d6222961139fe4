"""The realm of a Bearer challenge: where the credential is sent for a token.

The realm is the registry's word, and a password follows it, so it is checked before
anything is sent there (distribution, "Token Authentication Specification", says what
it is; CVE-2020-15157 what happens without a check). What a *name* in it resolves to
is checked at connect time with `address_refusal`.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from auditor.errors import FailureKind, ProtocolError
from auditor.protocol.address import (
    AddressClass,
    address_class,
    address_refusal,
    is_loopback_host,
)
from auditor.protocol.scope import Scope
from auditor.protocol.url import Origin, canonical_scheme, check_url, origin_of
from auditor.util.text import safe_url

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
