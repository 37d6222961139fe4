"""The three kinds of credentials that container tools keep for a registry.

A login is a user name and password, sent as Basic (RFC 7617). An identity token is an
OAuth2 refresh token for the token service (RFC 6749 section 6; docker's
`identitytoken`). A registry token is an access token for the registry (RFC 6750;
docker's `registrytoken`).
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass
from auditor.util.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user name, without a colon (RFC 7617 section 2), and a password."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityToken:
    """A refresh token, and the user name that was stored with it."""

    token: Secret
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryToken:
    """An access token, sent to the registry unchanged, without a user name."""

    token: Secret
    username: None = None


# cloud.google.com/artifact-registry/docs/docker/authentication, "JSON key".
_JSON_KEY_USER = "_json_key"
_LINE_BREAKS = str.maketrans("", "", "\r\n\t")

Credential = Login | IdentityToken | RegistryToken


def is_username(text: str) -> bool:
    """Whether Basic can encode this user name: no colon, no control characters."""
    return bool(text) and ":" not in text and is_password(text)


def is_password_of(username: str, text: str) -> bool:
    """Whether Basic can encode this user's password.

    The key file of a Google service account can be a password, with its line breaks.
    """
    if username == _JSON_KEY_USER:
        text = text.translate(_LINE_BREAKS)
    return is_password(text)


def is_password(text: str) -> bool:
    """Whether Basic can encode this password: valid UTF-8, no control characters."""
    return not any(
        char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"
        for char in text
    )
