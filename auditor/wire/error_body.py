"""What a registry says went wrong, as one sentence that is safe to show.

The form is that of the OCI distribution-spec, "Error Codes"; products also answer
with other JSON, XML (object stores), HTML (proxies), plain text, and nothing. The
sentence never decides anything: the HTTP status does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson

from auditor.util.lazy_regex import LazyPattern
from auditor.util.masking import mask_secrets
from auditor.util.text import safe_text

MAX_SENTENCE_CHARS = 200
# As much as the transport reads of an error.
MAX_BODY_BYTES = 64 * 1024
# What is looked through for secrets: ten times what is shown, because masking makes
# a text shorter, and no more, because looking takes time.
_MAX_READ_CHARS = 10 * MAX_SENTENCE_CHARS
# {"error": {"message": {"detail": ...}}}: deeper ones are not for people.
_MAX_DEPTH = 3
# Two errors and their messages fill the sentence.
_MAX_ERRORS = 3

# RFC 6749 section 5.2 and RFC 9457 section 3.1 among products' own names.
_MESSAGE_KEYS = (
    "message",
    "error_description",
    "details",
    "detail",
    "title",
    "error",
    "msg",
)
_CODE = LazyPattern(r"[A-Z0-9_]{1,64}")
_TITLE = LazyPattern(r"<title[^<>]{0,200}>([^<]{0,200})", re.IGNORECASE)
_XML_FIELD = LazyPattern(r"<(Code|Message)>([^<]*)</\1>")


def error_sentence(body: bytes, *, content_type: str | None, status: int) -> str:
    """One line of at most 200 characters; empty if the body says nothing.

    No secrets (see `mask_secrets`), no control characters. A body that only repeats
    the status or its name ("401: Unauthorized") says nothing: whoever shows the
    sentence shows the status before it.
    """
    said = " ".join(_said(body[:MAX_BODY_BYTES], content_type or "").split())
    said = said[:_MAX_READ_CHARS]
    again = str(status)
    while said.startswith(again) and (rest := said[len(again) :])[:1] in {"", " ", ":"}:
        said = rest.lstrip(": ")
    if said.rstrip(".").casefold() == _status_phrase(status):
        return ""
    return safe_text(mask_secrets(said), MAX_SENTENCE_CHARS)


def error_codes(body: bytes) -> tuple[str, ...]:
    """The codes of a body in the spec's form, in order, upper case. Never raises.

    Numbers count (Red Hat answers `"404"`); what is no code at all is left out.
    """
    codes = (_code(error).upper() for error in _errors(_json(body)))
    return tuple(code for code in codes if _CODE.fullmatch(code))


def _said(body: bytes, content_type: str) -> str:
    document = _json(body)
    if document is not None:
        return _from_json(document)
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if "\0" in text or text.count("\ufffd") > len(text) // 10:
        return "an answer that is not text"
    from html import unescape  # noqa: PLC0415  (its table of names is large)

    start = text[:200].lower()
    if "html" in content_type.lower() or "<html" in start or "<!doctype html" in start:
        title = _TITLE.search(text)
        name = " ".join(unescape(title[1]).split()) if title else ""
        return f'an HTML page (title "{name}")' if name else "an HTML page"
    if start.startswith("<"):
        fields = [unescape(value) for _, value in _XML_FIELD.findall(text)]
        return ": ".join(fields) if fields else "an XML document"
    return text


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _from_json(document: Any) -> str:
    errors = [_error(error) for error in _errors(document)][:_MAX_ERRORS]
    if any(errors):
        return "; ".join(error for error in errors if error)
    return _message(document)


def _errors(document: Any) -> Iterator[dict[str, Any]]:
    found = document.get("errors") if isinstance(document, dict) else None
    for error in found if isinstance(found, list) else ():
        if isinstance(error, dict):
            yield error


def _error(error: dict[str, Any]) -> str:
    return ": ".join(part for part in (_code(error), _message(error)) if part)


def _code(error: dict[str, Any]) -> str:
    code = error.get("code")
    return str(code) if isinstance(code, str | int) else ""


def _message(document: Any, depth: int = 0) -> str:
    """The first text among the usual names, here or in an object below."""
    if isinstance(document, str):
        return document
    if depth == _MAX_DEPTH:
        return ""
    if isinstance(document, list):
        return _message(document[0], depth + 1) if document else ""
    if isinstance(document, dict):
        for key in _MESSAGE_KEYS:
            if said := _message(document.get(key), depth + 1):
                return said
    return ""


def _status_phrase(status: int) -> str | None:
    try:
        return HTTPStatus(status).phrase.casefold()
    except ValueError:
        return None
