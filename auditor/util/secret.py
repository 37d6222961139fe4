"""Secrets: a string that does not print itself, and masks in text from elsewhere.

Error bodies echo requests: tokens, passwords, presigned URLs. `mask_secrets` masks
everything that looks like one, at the price of an occasional harmless word. Digests
stay, because the reader needs them.

A server may also repeat a password that looks like a word: `KnownSecrets` finds the
secrets of a run by their value, in each form in which error messages quote a request.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from typing import NoReturn, final
from urllib.parse import quote, quote_plus

from auditor.util.lazy_regex import LazyPattern
from auditor.util.text import safe_url

_MASK = "***"

_URL = LazyPattern(r"[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s\"'<>]+")
# RFC 9110 section 11.4, except in sentences about the schemes: "bearer token", ...
_CREDENTIALS = LazyPattern(
    r"\b(bearer|basic|negotiate)(\s+)"
    r"(?!(?:auth\w*|token|tokens|realm|challenge|scheme|credentials?|is|was|not|or|and"
    r"|required)\b(?![=.]))"
    r"[\"']?[^\s\"',;]+",
    re.IGNORECASE,
)
_NAMED = LazyPattern(
    r"(?P<name>(?:"
    r"passwd|password|passphrase|pwd|secret|api[_-]?key|access[_-]?key|authorization"
    r"|cookie|(?:access|refresh|identity|id|registry|auth)[_-]?token"
    r")[\w-]{0,40}[\"']?\s*[=:]\s*"
    # In prose a colon after these is punctuation: "invalid token: expired".
    r"|(?:token|signature|credential|session|key|auth|jwt|sig)[\w-]{0,40}[\"']?\s*=\s*)"
    r"(?:(?:bearer|basic)\s+)?"
    r"(?:\"[^\"]*\"?|'[^']*'?|[^\s,;&\"'}]+)",
    re.IGNORECASE,
)
_JWT = LazyPattern(r"eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_=-]*){0,4}")
_DIGEST_OR_RUN = LazyPattern(
    r"\bsha(?:256|384|512):[a-f0-9]{64,128}(?![A-Za-z0-9])|[A-Za-z0-9_+=-]{20,}"
)
# After the @ of a reference: a digest, possibly damaged, or nothing.
_DIGEST_POSITION = LazyPattern(
    r"sha[0-9-]*:|\w{2,10}:[0-9a-f]{32}|[0-9a-f]*(?:\s|$)", re.IGNORECASE
)
_QUOTED = LazyPattern(r"[^\"']+")
_SCHEME = LazyPattern(r"\s*[A-Za-z][A-Za-z0-9+.-]{0,20}://")
# A run of 20 characters with both cases and digits, or of 32 with two of these, is
# base64, hexadecimal or a product's own token: 20 characters of base64 are 120 bits.
_MIXED_RUN_CHARS = 20
_PLAIN_RUN_CHARS = 32


@final
class Secret:
    """A password or token; only `reveal()` returns the text.

    `repr`, `str` and `format` return a mask of fixed length, and pickling fails, so
    that a secret does not reach a log, report or cache by accident. Equal by value.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._text), _bytes(other._text))

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, format_spec: str) -> str:
        return format(_MASK, format_spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def mask_secrets(text: str) -> str:
    """Mask everything that looks like a credential.

    URLs keep scheme, host and path (see `safe_url`).
    """
    text = _URL.sub(lambda match: safe_url(match[0]), text)
    text = _NAMED.sub(lambda match: match["name"] + _MASK, text)
    text = _CREDENTIALS.sub(rf"\1\2{_MASK}", text)
    text = _JWT.sub(_MASK, text)
    return _DIGEST_OR_RUN.sub(_mask_run, text)


def mask_userinfo(text: str) -> str:
    """Mask user and password before an @ that no digest follows.

    For input that should be a reference. A password may contain slashes, spaces and
    further @; in a line of JSON, each quoted string is masked separately.
    """
    if text.lstrip().startswith(("{", "[")):
        return _QUOTED.sub(lambda match: _without_userinfo(match[0]), text)
    return _without_userinfo(text)


def _without_userinfo(text: str) -> str:
    at = text.rfind("@")
    while at >= 0 and _DIGEST_POSITION.match(text, at + 1):
        at = text.rfind("@", 0, at)
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    if at < 0 or ":" not in text[start:at]:
        return text
    return f"{text[:start]}{_MASK}{text[at:]}"


def _mask_run(match: re.Match[str]) -> str:
    run = match[0]
    if ":" in run:
        return run  # a digest
    kinds = sum(bool(re.search(kind, run)) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
    min_chars = _MIXED_RUN_CHARS if kinds == 3 else _PLAIN_RUN_CHARS
    return _MASK if kinds > 1 and len(run) >= min_chars else run


# -- secrets of a run, by their value --------------------------------------------------

_MASK_BYTES = b"***"
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
            body = body.replace(sent.encode(), _MASK_BYTES)  # a token needs no escapes
        elif sent:
            body = _pattern_of([sent.encode()]).sub(_MASK_BYTES, body)
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
        return self._pattern.sub(_MASK_BYTES, body)

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
