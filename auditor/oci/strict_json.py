"""Strict JSON and base64url: text that two parsers would read differently is refused.

JSON parsers in Go match keys case-insensitively, and parsers differ on which of two
equal keys counts (RFC 8259 section 4). A document in which this matters for a key of
the manifest formats is refused; CVE-2021-41190 is a case of such ambiguity.

Python's base64 decoder skips characters outside the alphabet, so that different texts
decode to the same bytes; here they are an error.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any

import orjson

from auditor.errors import FailureKind, ProtocolError
from auditor.util.text import safe_text

# The keys that decide what a manifest, index, descriptor or platform means, and the
# annotations with which Docker's builder marks attestations.
STRUCTURAL_KEYS = frozenset(
    {
        "annotations", "architecture", "artifactType", "blobSum", "config", "digest",
        "features", "fsLayers", "history", "layers", "manifests", "mediaType", "name",
        "os", "os.features", "os.version", "platform", "schemaVersion", "signatures",
        "size", "subject", "tag", "urls", "v1Compatibility", "variant",
        "vnd.docker.reference.digest", "vnd.docker.reference.type",
    }
)  # fmt: skip
# Case-folded as in Go, where U+017F is an "s" and U+212A a "k".
_FOLDED = {key.casefold(): key for key in STRUCTURAL_KEYS}
# The keys of an image config, and of the history of schema 1, that records use.
_PLATFORM_KEYS = frozenset({"architecture", "created", "os", "os.version", "variant"})
_BLANKS = b" \t\r\n"
# Larger documents are compared without indentation, which could make a deeply nested
# one 45 times as long. Manifests and indexes have a few kB.
MAX_INDENTED_BYTES = 64 * 1024
# Media types have 255 characters at most (RFC 6838 section 4.2).
MAX_NAME_CHARS = 1000
_INDENTED = b'{\n  "'
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def parse_json_object(raw: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object. Raises `ProtocolError`, with `what` in its message.

    `PROTOCOL_VIOLATION`: not JSON or not an object, or nested more than about 250 deep,
    which orjson cannot serialise. `AMBIGUOUS_DOCUMENT`: a duplicate structural key.
    """
    document = _parse(raw, what, STRUCTURAL_KEYS)
    if not isinstance(document, dict):
        raise ProtocolError(f"the {what} is JSON but not an object")
    return document


def parse_json(raw: bytes, what: str) -> Any:
    """Parse the JSON of a listing API. Raises `ProtocolError`.

    `AMBIGUOUS_DOCUMENT`: any duplicate key. With two lists under one key a parser would
    silently drop one of them, and the keys of products' APIs are not a fixed set.
    """
    return _parse(raw, what, None)


def _parse(raw: bytes, what: str, unique: Container[str] | None) -> Any:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if raw.lstrip().startswith(b"<"):
            problem = f"the {what} is a web page, not JSON: this may not be a registry"
        else:
            problem = f"the {what} is not JSON: {error.msg} at character {error.pos}"
        raise ProtocolError(problem) from None
    try:
        if not _round_trips(raw, document):
            _refuse_duplicates(raw, what, unique)
    except (orjson.JSONEncodeError, RecursionError):
        raise ProtocolError(f"the {what} is nested too deeply") from None
    return document


def check_key_case(objects: Iterable[dict[str, Any]], what: str) -> None:
    """Refuse keys that differ from a structural key only in case."""
    for fields in objects:
        if STRUCTURAL_KEYS.issuperset(fields):
            continue
        for key in fields.keys() - STRUCTURAL_KEYS:
            structural = _FOLDED.get(key.casefold())
            if structural is not None:
                raise ProtocolError(
                    f'the {what} has the key "{key}", which some parsers read as'
                    f' "{structural}"',
                    FailureKind.AMBIGUOUS_DOCUMENT,
                )


def check_platform_keys(document: Mapping[str, Any], what: str) -> None:
    """Refuse keys that differ from those of a platform or a time only in case.

    Others may: the configs of old images have a `Size`.
    """
    for key in sorted(document.keys() - _PLATFORM_KEYS):
        if (read_as := key.casefold()) in _PLATFORM_KEYS:
            raise ProtocolError(
                f'the {what} has the key "{safe_text(key)}", which some parsers read'
                f' as "{read_as}"',
                FailureKind.AMBIGUOUS_DOCUMENT,
            )


def _round_trips(raw: bytes, document: Any) -> bool:
    """Whether the serialised document equals `raw` apart from whitespace.

    A duplicate key would be lost in parsing, so this proves that there is none. Nearly
    all documents are equal byte by byte, compact or with BuildKit's indentation.
    """
    indented = len(raw) <= MAX_INDENTED_BYTES and raw.startswith(_INDENTED)
    option = orjson.OPT_INDENT_2 if indented else None
    again = orjson.dumps(document, option=option)
    return again == raw or again.translate(None, _BLANKS) == raw.translate(
        None, _BLANKS
    )


class _DuplicateKeyError(ProtocolError):
    """A key that is there twice in one object."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(
            f'the {what} has the key "{safe_text(key)}" twice in one object',
            FailureKind.AMBIGUOUS_DOCUMENT,
        )
        self.key = key


def _refuse_duplicates(raw: bytes, what: str, unique: Container[str] | None) -> None:
    """Refuse duplicates of the keys in `unique`; None stands for all keys."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen and (unique is None or key in unique):
                raise _DuplicateKeyError(key, what)
            seen.add(key)

    json.loads(raw, object_pairs_hook=check)


def duplicate_key(raw: bytes, document: Any) -> str | None:
    """A key that is there twice in one object of a parsed document, or None.

    For documents of others, in which not every repeated key is worth a refusal. Raises
    `ProtocolError` for a document that is nested too deeply to be compared.
    """
    try:
        if _round_trips(raw, document):
            return None
        _refuse_duplicates(raw, "document", None)
    except (orjson.JSONEncodeError, RecursionError):
        raise ProtocolError("the document is nested too deeply") from None
    except _DuplicateKeyError as error:
        return error.key
    return None


def string_or_none(value: object) -> str | None:
    """The value if it is a string and not empty."""
    return value if isinstance(value, str) and value else None


def name_or_none(value: object) -> str | None:
    """The same for a media type, a part of a platform or a time: a long one is cut.

    They are kept in caches and stand in records once for each manifest.
    """
    text = string_or_none(value)
    return text if text is None else cut_name(text)


def cut_name(text: str) -> str:
    """A text that names something, cut where no name is as long."""
    return text if len(text) <= MAX_NAME_CHARS else text[:MAX_NAME_CHARS] + "..."


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2). Raises `ValueError`."""
    if _BASE64URL.fullmatch(text) is None:
        raise ValueError("it contains characters that are not base64url")
    if len(text) % 4 == 1:
        raise ValueError(f"{len(text)} base64url characters are not whole bytes")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_base64url(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
