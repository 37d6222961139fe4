"""Masks the secrets of a run, as values, in what servers respond.

`mask_secrets` (secret.py) masks what looks like a secret. A server may also repeat a
password that looks like a word: that is found by its value, in each form in which error
messages quote a request.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from auditor.util.secret import Secret

_MASK = b"***"
# Shorter secrets are masked only as whole words: "a" is a part of most words.
_SHORT_BYTES = 8
# A run has a login for each namespace, and identity tokens that replace each other.
MAX_SECRETS = 10_000


class KnownSecrets:
    """The passwords and tokens that a run has found, to be masked in responses."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[str | None, Secret], None] = {}
        self._pattern: re.Pattern[bytes] | None = None

    def add(self, secret: Secret, username: str | None = None) -> None:
        """Mask this secret from now on, also in the Basic form with its user."""
        if (username, secret) not in self._secrets and len(self._secrets) < MAX_SECRETS:
            self._secrets[username, secret] = None
            self._pattern = None

    def mask(self, body: bytes, *, authorization: str | None = None) -> bytes:
        """The body of an error response, without the secrets of the run.

        `authorization` is the field of the request, whose value is masked, too.
        """
        sent = (authorization or "").partition(" ")[2]
        if len(sent) >= _SHORT_BYTES:
            body = body.replace(sent.encode(), _MASK)  # a token needs no escapes
        elif sent:
            body = _pattern_of([sent.encode()]).sub(_MASK, body)
        if not body or not self._secrets:
            return body
        if self._pattern is None:
            self._pattern = _pattern_of(
                form
                for username, secret in self._secrets
                for form in (
                    *_forms(secret.reveal()),
                    *_basic_forms(username, secret.reveal()),
                )
            )
        return self._pattern.sub(_MASK, body)

    def mask_text(self, text: str) -> str:
        """A message that quotes what a server sent, without the secrets of the run."""
        return self.mask(text.encode(errors="replace")).decode(errors="replace")


def _forms(text: str) -> Iterator[bytes]:
    """The text as it is, and escaped for JSON, URLs, HTML and headers."""
    import html  # noqa: PLC0415  (a large table of names)

    yield text.encode()
    yield text.strip().encode()
    yield json.dumps(text)[1:-1].encode()
    yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
    yield json.dumps(text)[1:-1].replace("/", "\\/").encode()
    for quoted in (quote(text), quote(text, safe=""), quote_plus(text)):
        yield quoted.encode()
    yield html.escape(text).encode()
    yield html.escape(text, quote=False).encode()
    yield repr(text)[1:-1].encode()
    yield from _base64_forms(text)


def _basic_forms(username: str | None, text: str) -> Iterator[bytes]:
    return _base64_forms(f"{username or ''}:{text}")


def _base64_forms(text: str) -> Iterator[bytes]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(text.encode()).rstrip(b"=")


def _pattern_of(forms: Iterable[bytes]) -> re.Pattern[bytes]:
    """Matches each form; the longest first, and a short one only as a word.

    Without regard to case, as in `%2f` and `%2F`.
    """
    found = sorted({form for form in forms if form}, key=len, reverse=True)
    return re.compile(b"|".join(map(_expression, found)) or rb"(?!)", re.IGNORECASE)


def _expression(form: bytes) -> bytes:
    escaped = re.escape(form)
    if len(form) >= _SHORT_BYTES:
        return escaped
    return rb"(?<![0-9A-Za-z])" + escaped + rb"(?![0-9A-Za-z])"
