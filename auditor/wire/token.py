"""What a token service answers, and what its token says.

Sources: distribution "Token Authentication Specification" (answer fields) and "Token
Authentication Implementation" (the `access` claim), RFC 7519 (registered claims),
RFC 6750 section 2.1 (what a bearer token may be made of).

Nothing here checks a signature: see `auditor.protocol.signatures.keys`.
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
from auditor.oci import encoding
from auditor.util.secret import Secret

# The specification's default, and the least that a server should ever give.
MIN_LIFETIME_S = 60.0
# A name for the services' logs; none is known to look at it.
CLIENT_ID = "auditor"
# The longest lifetimes in use are 12 h (ECR) to 24 h: more is a mistake, and a token
# is asked for again after a day at the latest.
MAX_LIFETIME_S = 24 * 60 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenResponse:
    """A token as it was given. `expires_in_s` counts from the request's sending."""

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
    """A JWT's header and payload, unverified; times are seconds since the epoch.

    `grants` is None where the token does not say what it grants: it has no `access`
    claim, or one that cannot be read. A claim of another type than its specification
    gives it counts as absent; `header` and `payload` keep it.
    """

    header: Mapping[str, Any]
    payload: Mapping[str, Any]
    grants: tuple[Grant, ...] | None
    subject: str | None
    issuer: str | None
    audience: tuple[str, ...]
    issued_at: float | None
    not_before: float | None
    expires_at: float | None
    token_id: str | None


def parse_token_response(body: bytes) -> TokenResponse:
    """The token in a token service's answer; `ProtocolError(TOKEN_REJECTED)` if none.

    `token` and `access_token` mean the same (OAuth 2.0 compatibility), some servers
    fill in only one of them. A lifetime that cannot be read is `MIN_LIFETIME_S`.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _rejected(_not_json(body)) from None
    if not isinstance(answer, dict):
        raise _rejected("the token service answered with JSON that is not an object")
    token = answer.get("token") or answer.get("access_token")
    if not token:
        raise _rejected("the token service's answer holds no token")
    if not is_bearer_token(token):
        raise _rejected("the token service's token is not one line of visible ASCII")
    refresh_token = answer.get("refresh_token")
    return TokenResponse(
        token=Secret(token),
        expires_in_s=_lifetime_s(answer.get("expires_in")),
        refresh_token=Secret(refresh_token) if is_bearer_token(refresh_token) else None,
    )


def refresh_form(
    refresh_token: Secret, *, service: str | None, scope: str | None
) -> bytes:
    """The body that asks for an access token by POST.

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
    """Whether it can stand in an `Authorization` field (a superset of RFC 6750)."""
    return (
        isinstance(value, str)
        and bool(value)
        and all("!" <= character <= "~" for character in value)
    )


def read_claims(token: str) -> Claims | None:
    """What a JWT says of itself; None for every other token. Never raises."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    header, payload = _json_object(parts[0]), _json_object(parts[1])
    if header is None or payload is None:
        return None
    return claims_of(header, payload)


def claims_of(header: Mapping[str, Any], payload: Mapping[str, Any]) -> Claims:
    """The claims in a header and payload that are already read."""
    return Claims(
        header=header,
        payload=payload,
        grants=_grants(payload["access"]) if "access" in payload else None,
        subject=_string(payload.get("sub")),
        issuer=_string(payload.get("iss")),
        audience=_audience(payload.get("aud")),
        issued_at=_time(payload.get("iat")),
        not_before=_time(payload.get("nbf")),
        expires_at=_time(payload.get("exp")),
        token_id=_string(payload.get("jti")),
    )


def granted_actions(
    claims: Claims, name: str, resource: str = "repository"
) -> tuple[str, ...] | None:
    """The actions granted for a repository, or for another type of resource.

    They are sorted; None: the token does not say. As in distribution's access
    controller a grant's class makes no difference.
    """
    if claims.grants is None:
        return None
    return _sorted_unique(
        action
        for grant in claims.grants
        if grant.type == resource and grant.name == name
        for action in grant.actions
    )


def can_pull(actions: Iterable[str]) -> bool:
    """Whether they include `pull`; `*` is every action. Actions are case-sensitive."""
    return not {"pull", "*"}.isdisjoint(actions)


def access_of(
    token: str,
    name: str,
    *,
    resource: str = "repository",
    verified: bool = False,
    credential: CredentialSource | None = None,
) -> Access:
    """What the token says of the right to pull from a repository.

    Of another type of resource (`registry`, whose catalog is `catalog`) it is the
    right to anything at all: products name other actions than `pull` there.
    `verified`: whether its signature was checked (`keys.verify_token`); `credential`:
    where the login stands that it was given for.
    """
    claims = read_claims(token)
    actions = None if claims is None else granted_actions(claims, name, resource)
    if actions is None:
        state = AccessState.UNVERIFIABLE
    elif can_pull(actions) or (actions and resource != "repository"):
        state = AccessState.GRANTED
    else:
        state = AccessState.DENIED
    return Access(
        state=state,
        actions=actions or (),
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
        return "the token service's answer is empty"
    found = "an HTML page" if start == b"<" else "something that is not JSON"
    return f"the token service answered with {found} instead of a token"


def _lifetime_s(value: object) -> float:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = float(value)  # some servers write the number as a string
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MIN_LIFETIME_S
    return min(max(MIN_LIFETIME_S, float(value)), MAX_LIFETIME_S)


def _json_object(part: str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(encoding.decode_base64url(part))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _grants(access: object) -> tuple[Grant, ...] | None:
    if access is None:  # Go writes an empty list as null
        return ()
    if not isinstance(access, list):
        return None
    grants = tuple(grant for entry in access if (grant := _grant(entry)) is not None)
    # A list in which nothing can be read says nothing; an empty one says "nothing".
    return grants if grants or not access else None


def _grant(entry: object) -> Grant | None:
    if not isinstance(entry, dict):
        return None
    resource, name, actions = entry.get("type"), entry.get("name"), entry.get("actions")
    if not isinstance(resource, str) or not isinstance(name, str):
        return None
    # The scope grammar writes a class as `repository(plugin)`, the claim has a field
    # for it; servers that copy the scope put the first form into the claim.
    kind, _, in_brackets = resource.partition("(")
    return Grant(
        type=kind,
        name=name,
        resource_class=_string(entry.get("class")) or in_brackets.rstrip(")") or None,
        actions=_sorted_unique(
            action
            for action in (actions if isinstance(actions, list) else ())
            if isinstance(action, str)
        ),
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


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _sorted_unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))
