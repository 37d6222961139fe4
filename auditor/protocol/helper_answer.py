"""What a credential helper answers.

Source: docker/docker-credential-helpers, "Credential helper protocol", and its
`client.Get`. A helper is a program `docker-credential-NAME`; `get` takes a server's
name on standard input and prints `{"ServerURL", "Username", "Secret"}`.
"""

from __future__ import annotations

from typing import TypeGuard

import orjson

from auditor.errors import FailureKind, ProtocolError
from auditor.util.lazy_regex import Pattern
from auditor.util.secret import Secret
from auditor.wire.login import (
    Credential,
    IdentityToken,
    Login,
    is_password_of,
    is_username,
)
from auditor.wire.token import is_bearer_token

# The user name that says that the secret is an identity token (credentials.go).
TOKEN_USER = "<token>"
# What a helper prints, with a failing exit code, for a server it does not know
# (credentials/error.go: errCredentialsNotFoundMessage).
NOT_FOUND = b"credentials not found in native keychain"

# What is a file name of its own, and nothing that a shell or a path reads differently.
_NAME = Pattern(r"[A-Za-z0-9._-]+")


def is_helper_name(name: object) -> TypeGuard[str]:
    """Whether `docker-credential-NAME` is the name of one program."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def parse_helper_answer(output: bytes) -> Login | None:
    """The login in a helper's answer; None where it says that it has none.

    `ProtocolError(DENIED)` with a sentence that goes after the helper's name, and
    that repeats nothing of the answer.
    """
    try:
        answer = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise _wrong("did not answer with JSON") from None
    if not isinstance(answer, dict):
        raise _wrong("answered with JSON that is not an object")
    username, secret = answer.get("Username", ""), answer.get("Secret", "")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _wrong("answered with a Username or a Secret that is not a text")
    if not username and not secret:
        return None
    if not secret:
        raise _wrong("answered with an empty Secret")
    if username == TOKEN_USER:
        if not is_bearer_token(secret):
            raise _wrong("answered with an identity token that is not visible ASCII")
        return IdentityToken(token=Secret(secret))
    if not is_username(username) or not is_password_of(username, secret):
        raise _wrong(
            "answered with a Username or Secret that is empty or has control characters"
        )
    return Credential(username=username, password=Secret(secret))


def _wrong(sentence: str) -> ProtocolError:
    return ProtocolError(sentence, FailureKind.DENIED)
