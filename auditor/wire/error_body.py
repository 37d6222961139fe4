"""The message in the body of an error response, as one sentence that is safe to print.

The format is that of the OCI distribution-spec, "Error Codes"; products also send other
JSON, XML (object stores), HTML (proxies), plain text and empty bodies. The message is
for people only: code decides by the HTTP status.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import orjson

from auditor.util.lazy_regex import LazyPattern
from auditor.util.secret import mask_secrets
from auditor.util.text import safe_text

MAX_SENTENCE_CHARS = 200
# The transport reads no more of an error response.
MAX_BODY_BYTES = 64 * 1024
# Searched for secrets: more than is printed, because masking shortens the text, but
# bounded, because the search takes time.
_MAX_READ_CHARS = 10 * MAX_SENTENCE_CHARS
# As in {"error": {"message": {"detail": ...}}}: no product nests deeper.
_MAX_DEPTH = 3
# More would not fit into the sentence.
_MAX_ERRORS = 3

# RFC 6749 section 5.2, RFC 9457 section 3.1, and names that products use.
_MESSAGE_KEYS = (
    "message",
    "error_description",
    "details",
    "detail",
    "title",
    "error",
    "msg",
)
_TITLE = LazyPattern(r"<title[^<>]{0,200}>([^<]{0,200})", re.IGNORECASE)
_XML_FIELD = LazyPattern(r"<(Code|Message)>([^<]*)</\1>")


def error_sentence(body: bytes, *, content_type: str | None, status: int) -> str:
    """One line of at most 200 characters without secrets or control characters.

    Empty if there is no message. The status and its name ("401: Unauthorized") are
    removed, because the caller prints the status.
    """
    message = " ".join(_message_of(body[:MAX_BODY_BYTES], content_type or "").split())
    message = message[:_MAX_READ_CHARS]
    code = str(status)
    while message.startswith(code) and message[len(code) :][:1] in {"", " ", ":"}:
        message = message[len(code) :].lstrip(": ")
    if message.rstrip(".").casefold() == _status_phrase(status):
        return ""
    return safe_text(mask_secrets(message), MAX_SENTENCE_CHARS)


def _message_of(body: bytes, content_type: str) -> str:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if document is not None:
        return _from_json(document)
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if "\0" in text or text.count("\ufffd") > len(text) // 10:
        return "a response that is not text"
    from html import unescape  # noqa: PLC0415  (a large table of names)

    start = text[:200].lower()
    if "html" in content_type.lower() or "<html" in start or "<!doctype html" in start:
        title = _TITLE.search(text)
        name = " ".join(unescape(title[1]).split()) if title else ""
        return f'an HTML page (title "{name}")' if name else "an HTML page"
    if start.startswith("<"):
        fields = [unescape(value) for _, value in _XML_FIELD.findall(text)]
        return ": ".join(fields) if fields else "an XML document"
    return text


def _from_json(document: Any) -> str:
    errors = document.get("errors") if isinstance(document, dict) else None
    messages = [
        _error(error)
        for error in (errors if isinstance(errors, list) else ())
        if isinstance(error, dict)
    ][:_MAX_ERRORS]
    return "; ".join(filter(None, messages)) or _message(document)


def _error(error: dict[str, Any]) -> str:
    code = error.get("code")
    parts = (str(code) if isinstance(code, str | int) else "", _message(error))
    return ": ".join(filter(None, parts))


def _message(document: Any, depth: int = 0) -> str:
    """The first string among the usual keys, also of nested objects."""
    if isinstance(document, str):
        return document
    if depth == _MAX_DEPTH:
        return ""
    if isinstance(document, list):
        return _message(document[0], depth + 1) if document else ""
    if isinstance(document, dict):
        for key in _MESSAGE_KEYS:
            if message := _message(document.get(key), depth + 1):
                return message
    return ""


def _status_phrase(status: int) -> str | None:
    try:
        return HTTPStatus(status).phrase.casefold()
    except ValueError:
        return None
