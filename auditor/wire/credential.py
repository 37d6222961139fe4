"""What a registry is asked with: the three kinds of login that container tools keep.

A user and a password travel as Basic (RFC 7617). An identity token is an OAuth2
refresh token (RFC 6749 section 6; docker's `identitytoken`), which only a token
service takes. A registry token is a ready access token (docker's `registrytoken`,
RFC 6750), which the registry itself takes.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass
from auditor.util.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks. `username` holds no colon (RFC 7617 section 2)."""

    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityToken:
    """A refresh token. `username` is whose it is, where that was kept with it."""

    token: Secret
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryToken:
    """An access token that is sent as it is. Nobody knows whose it is."""

    token: Secret
    username: None = None


# cloud.google.com/artifact-registry/docs/docker/authentication, "JSON key".
_JSON_KEY_USER = "_json_key"
_LINE_BREAKS = str.maketrans("", "", "\r\n\t")

Credential = Login | IdentityToken | RegistryToken


def is_username(text: str) -> bool:
    """Whether Basic can carry this user-id: no colon, no control characters."""
    return bool(text) and ":" not in text and is_password(text)


def is_password_of(username: str, text: str) -> bool:
    """Whether Basic can carry this password of a user.

    A Google service account's key file is one, with its line breaks: docker's file
    holds it so, and base64 carries it.
    """
    if username == _JSON_KEY_USER:
        text = text.translate(_LINE_BREAKS)
    return is_password(text)


def is_password(text: str) -> bool:
    """Whether Basic can carry this password: no control characters, and encodable."""
    return not any(
        char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"
        for char in text
    )
