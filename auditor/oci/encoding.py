"""JSON from a registry, read so that nobody can read it differently.

Readers written in Go match keys without regard to case, some parsers keep the first
of two equal keys and others the last. A document in which that makes a difference
for a key of the manifest formats is refused (RFC 8259 section 4 calls the behaviour
unpredictable; CVE-2021-41190 is the same mistake one level up).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Container, Iterable
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
# Folded as Go folds them, where U+017F is an "s" and U+212A a "k".
_FOLDED = {key.casefold(): key for key in STRUCTURAL_KEYS}
_BLANKS = b" \t\r\n"
# Larger ones are not indented to be compared: what is nested deep would be 45 times as
# long. Manifests and indexes have some KB.
MAX_INDENTED_BYTES = 64 * 1024
_INDENTED = b'{\n  "'


def parse_json_object(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`, or `ProtocolError`.

    `PROTOCOL_VIOLATION`: not JSON, or not an object. `AMBIGUOUS_DOCUMENT`: a
    structural key stands twice in one object. Objects and arrays may be nested some
    250 deep, which is as far as orjson writes them; no manifest needs ten.
    """
    document = _parse(raw, what, STRUCTURAL_KEYS)
    if not isinstance(document, dict):
        raise ProtocolError(f"the {what} is JSON but not an object")
    return document


def parse_json(raw: bytes, what: str) -> Any:
    """The JSON of a list that an API answers, or `ProtocolError`.

    `AMBIGUOUS_DOCUMENT`: any key stands twice in one object. Whichever of two lists
    a reader takes, it would leave out the other without a word; and what a product's
    entries are made of is no fixed set of keys.
    """
    return _parse(raw, what, None)


def _parse(raw: bytes, what: str, once: Container[str] | None) -> Any:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(
            f"the {what} is not JSON: {error.msg} at character {error.pos}"
        ) from None
    try:
        if not _round_trips(raw, document):
            _refuse_duplicates(raw, what, once)
    except (orjson.JSONEncodeError, RecursionError):
        raise ProtocolError(f"the {what} is nested too deeply") from None
    return document


def check_key_case(objects: Iterable[dict[str, Any]], what: str) -> None:
    """Refuse keys that only differ in case from a structural key."""
    for found in objects:
        if STRUCTURAL_KEYS.issuperset(found):
            continue
        for key in found.keys() - STRUCTURAL_KEYS:
            meant = _FOLDED.get(key.casefold())
            if meant is not None:
                raise ProtocolError(
                    f'the {what} has a key "{key}", which some readers take for '
                    f'"{meant}"',
                    FailureKind.AMBIGUOUS_DOCUMENT,
                )


def _round_trips(raw: bytes, document: Any) -> bool:
    """Whether the document, written again, is `raw` but for blanks.

    A duplicate key is lost in parsing, so such a document has none. Nearly every one
    comes back byte by byte in one of two forms: indented by two, as BuildKit writes,
    or without blanks.
    """
    indented = len(raw) <= MAX_INDENTED_BYTES and raw.startswith(_INDENTED)
    option = orjson.OPT_INDENT_2 if indented else None
    again = orjson.dumps(document, option=option)
    return again == raw or again.translate(None, _BLANKS) == raw.translate(
        None, _BLANKS
    )


def _refuse_duplicates(raw: bytes, what: str, once: Container[str] | None) -> None:
    """Refuse a key that stands twice, one of `once` or, if that is None, any."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen and (once is None or key in once):
                raise ProtocolError(
                    f'the {what} holds the key "{safe_text(key)}" twice in one object',
                    FailureKind.AMBIGUOUS_DOCUMENT,
                )
            seen.add(key)

    json.loads(raw, object_pairs_hook=check)


# -- base64url --
# Base64url without padding (RFC 7515 section 2), decoded strictly.
#
# Python's decoder skips characters outside the alphabet, so that different texts would
# decode to the same bytes.

_TEXT = re.compile(r"[A-Za-z0-9_-]*")


def decode_base64url(text: str) -> bytes:
    """The bytes, or `ValueError` with a clause that says what is wrong."""
    if _TEXT.fullmatch(text) is None:
        raise ValueError("it holds characters that are not base64url")
    if len(text) % 4 == 1:
        raise ValueError(f"{len(text)} base64url characters cannot be whole bytes")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode_base64url(data: bytes) -> str:
    """The text, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
