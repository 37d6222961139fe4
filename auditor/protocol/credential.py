"""A user and a password, as Basic carries them (RFC 7617)."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Who asks. `username` holds no colon (RFC 7617 section 2)."""

    username: str
    password: Secret


def is_username(text: str) -> bool:
    """Whether Basic can carry this user-id: no colon, no control characters."""
    return bool(text) and ":" not in text and is_password(text)


def is_password(text: str) -> bool:
    """Whether Basic can carry this password: no control characters, and encodable."""
    return not any(
        char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff"
        for char in text
    )
