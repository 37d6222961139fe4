"""Token responses and the claims of registry tokens.

Sources: distribution "Token Authentication Specification" (response fields) and "Token
Authentication Implementation" (the `access` claim), RFC 7519 (registered claims),
RFC 6750 section 2.1 (characters of a bearer token).

Claims are not verified here; `token_keys.py` verifies signatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard
from urllib.parse import urlencode

import orjson

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import Access, AccessState, CredentialSource
from auditor.oci.strict_json import decode_base64url, string_or_none
from auditor.util.secret import Secret

# The specification's default, which is also its minimum.
MIN_LIFETIME_S = 60.0
# For the logs of token services.
CLIENT_ID = "auditor"
# Tokens are renewed after a day at the latest. The longest lifetimes in use are 12 h
# (ECR) to 24 h.
MAX_LIFETIME_S = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResponse:
    """A token from a token service. `expires_in_s` counts from sending the request."""

    token: Secret
    expires_in_s: float
    refresh_token: Secret | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One entry of the `access` claim. `actions` are sorted and unique."""

    type: str
    name: str
    resource_class: str | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a JWT, unverified; times are seconds since the epoch.

    `grants` is None if the `access` claim is absent or unreadable. A claim of the wrong
    type is treated as absent.
    """

    grants: tuple[Grant, ...] | None
    subject: str | None
    issuer: str | None
    audience: tuple[str, ...]
    issued_at: float | None
    not_before: float | None
    expires_at: float | None
    token_id: str | None


def parse_token_response(body: bytes) -> TokenResponse:
    """Parse a token service's response. Raises `ProtocolError(TOKEN_REJECTED)`.

    `token` and `access_token` mean the same (OAuth 2.0 compatibility); some servers
    send only one of them. Without a readable `expires_in` the lifetime is that of the
    token's claims (docker_auth, Pulp), or `MIN_LIFETIME_S`.
    """
    try:
        response = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _rejected(_not_json(body)) from None
    if not isinstance(response, dict):
        raise _rejected("the token service returned JSON that is not an object")
    token = response.get("token") or response.get("access_token")
    if not token:
        raise _rejected("the token service's response has no token")
    if not is_bearer_token(token):
        raise _rejected("the token service's token is not one line of visible ASCII")
    refresh_token = response.get("refresh_token")
    return TokenResponse(
        token=Secret(token),
        expires_in_s=_lifetime_s(response.get("expires_in"), token),
        refresh_token=Secret(refresh_token) if is_bearer_token(refresh_token) else None,
    )


def refresh_form(
    refresh_token: Secret, *, service: str | None, scope: str | None
) -> bytes:
    """The form of a POST request for an access token.

    Source: distribution, "OAuth2 Token Authentication": `grant_type=refresh_token`
    with the fields of RFC 6749 section 6, `service` and `client_id`.
    """
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token.reveal(),
        "service": service,
        "scope": scope,
        "client_id": CLIENT_ID,
    }
    return urlencode({k: v for k, v in fields.items() if v is not None}).encode()


def is_bearer_token(value: object) -> TypeGuard[str]:
    """Whether an `Authorization` header can contain it (wider than RFC 6750)."""
    return (
        isinstance(value, str)
        and bool(value)
        and all("!" <= character <= "~" for character in value)
    )


def read_jwt(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The unverified header and payload of a JWT; None for any other token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header, payload = _json_object(parts[0]), _json_object(parts[1])
    return None if header is None or payload is None else (header, payload)


def read_claims(token: str) -> Claims | None:
    """The unverified claims of a JWT; None for any other token. Never raises."""
    jwt = read_jwt(token)
    return None if jwt is None else claims_of(jwt[1])


def claims_of(payload: Mapping[str, Any]) -> Claims:
    """The claims in a JWT's payload."""
    return Claims(
        grants=_grants(payload["access"]) if "access" in payload else None,
        subject=string_or_none(payload.get("sub")),
        issuer=string_or_none(payload.get("iss")),
        audience=_audience(payload.get("aud")),
        issued_at=_time(payload.get("iat")),
        not_before=_time(payload.get("nbf")),
        expires_at=_time(payload.get("exp")),
        token_id=string_or_none(payload.get("jti")),
    )


def access_of(
    token: str,
    name: str,
    *,
    resource: str = "repository",
    verified: bool = False,
    credential: CredentialSource | None = None,
) -> Access:
    """The right to pull from a repository, as stated by a token.

    For another type of resource (`catalog` of type `registry`) any action is enough,
    because products use other actions than `pull`. `verified`: the signature was
    checked (`token_keys.verify_token`). `credential`: where its credential comes from.
    """
    claims = read_claims(token)
    grants = None if claims is None else claims.grants
    # As in distribution's access controller, the class of a grant is ignored.
    actions = _sorted_unique(
        action
        for grant in grants or ()
        if grant.type == resource and grant.name == name
        for action in grant.actions
    )
    if grants is None:
        state = AccessState.UNVERIFIABLE
    elif {"pull", "*"} & set(actions) or (actions and resource != "repository"):
        state = AccessState.GRANTED
    else:
        state = AccessState.DENIED
    return Access(
        state=state,
        actions=actions,
        subject=None if claims is None else claims.subject,
        issuer=None if claims is None else claims.issuer,
        verified=verified and claims is not None,
        credential=credential,
    )


def _rejected(detail: str) -> ProtocolError:
    return ProtocolError(detail, FailureKind.TOKEN_REJECTED)


def _not_json(body: bytes) -> str:
    start = body.lstrip()[:1]
    if not start:
        return "the token service's response is empty"
    content = "an HTML page" if start == b"<" else "something that is not JSON"
    return f"the token service returned {content} instead of a token"


def _lifetime_s(value: object, token: str) -> float:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)  # some servers send a string
    if isinstance(value, bool) or not isinstance(value, int | float):
        value = _claimed_lifetime_s(token)
    return min(max(MIN_LIFETIME_S, float(value)), MAX_LIFETIME_S)


def _claimed_lifetime_s(token: str) -> float:
    """The time between the claims of a JWT, whatever this machine's clock says."""
    claims = read_claims(token)
    if claims is None or claims.expires_at is None:
        return 0.0
    issued_at = claims.not_before if claims.issued_at is None else claims.issued_at
    return 0.0 if issued_at is None else claims.expires_at - issued_at


def _json_object(part: str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(decode_base64url(part))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _grants(access: object) -> tuple[Grant, ...] | None:
    if access is None:  # Go serialises an empty list as null
        return ()
    if not isinstance(access, list):
        return None
    grants = tuple(grant for entry in access if (grant := _grant(entry)) is not None)
    # An empty list grants nothing; one without a readable grant is unreadable.
    return grants if grants or not access else None


def _grant(entry: object) -> Grant | None:
    if not isinstance(entry, dict):
        return None
    resource, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
    if not isinstance(resource, str) or not isinstance(name, str):
        return None
    # The claim has a field for the class; some servers copy `repository(plugin)` from
    # the scope instead.
    kind, _, in_brackets = resource.partition("(")
    names = actions if isinstance(actions, list) else ()
    return Grant(
        type=kind,
        name=name,
        resource_class=string_or_none(entry.get("class"))
        or in_brackets.rstrip(")")
        or None,
        actions=_sorted_unique(one for one in names if isinstance(one, str)),
    )


def _audience(value: object) -> tuple[str, ...]:
    # RFC 7519 section 4.1.3: a string or a list of strings.
    values = value if isinstance(value, list) else [value]
    return tuple(text for text in values if isinstance(text, str))


def _time(value: object) -> float | None:
    # RFC 7519 section 2, NumericDate.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _sorted_unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))
