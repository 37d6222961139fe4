"""Secrets: a string that does not print itself, and masks in text from elsewhere.

Error bodies echo requests: tokens, passwords, presigned URLs. `mask_secrets` masks
everything that looks like one, at the price of an occasional harmless word. Digests
stay, because the reader needs them.
"""

from __future__ import annotations

import hmac
import re
from typing import NoReturn, final

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
