"""Docker image manifests version 2, schema 1 ("Image Manifest Version 2, Schema 1").

Layers stand newest first in the document, base first in the value. There are no
sizes. Platform and creation time are those of `history[0].v1Compatibility`, a JSON
document inside a JSON string.

A signed manifest is its payload: that is what is signed, what the digest is over, and
so it is also what is read. Keys that stand in the document but not in the payload
have no say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.encoding import check_key_case, parse_object
from auditor.oci.reference import is_digest
from auditor.protocol.signatures.pretty import (
    check_signatures,
    signed_payload,
)
from auditor.protocol.signatures.value import SignatureCheck

__all__ = [
    "EMPTY_LAYER",
    "Schema1",
    "SignatureCheck",
    "parse_schema1",
    "signed_payload",
]

# The gzipped tar file of nothing, which docker lists for steps without a file system.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
# A layer takes at least 111 bytes of the document, 86 in fsLayers and 25 in history:
# `{"blobSum":"sha256:<64 hex>"},` and `{"v1Compatibility":"{}"},`. More than fit into
# 4 MiB, what distribution accepts as a manifest, are refused even where the
# configuration allows larger documents.
MAX_LAYERS = 4 * 1024 * 1024 // 111


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema1:
    """A schema 1 manifest. `layers` are blob digests, base first, as many as it lists.

    `throwaway[i]` is the flag of the history entry for `layers[i]`: the step changed
    no file. `payload` is what the digest is over: all bytes of an unsigned manifest.
    """

    name: str | None
    tag: str | None
    architecture: str | None
    os: str | None
    variant: str | None
    created: str | None
    layers: tuple[str, ...]
    throwaway: tuple[bool, ...]
    signed: bool
    payload: bytes
    signatures: tuple[SignatureCheck, ...]


def parse_schema1(raw: bytes, document: Mapping[str, Any]) -> Schema1:
    """The manifest in `raw`, which `document` was parsed from.

    An invalid signature is a value in `signatures`. Raises `ProtocolError` for a
    document that breaks the format or whose payload cannot be cut out.
    """
    signatures = document.get("signatures") or ()
    signed = bool(signatures)
    payload = raw
    if signed:
        payload = signed_payload(raw, document)
        document = parse_object(payload, "signed manifest")
        check_key_case((document,), "signed manifest")
    if document.get("schemaVersion") != 1:
        raise ProtocolError("the manifest's schemaVersion is not 1")
    layers = _layers(document)
    history = _history(document, expected=len(layers))
    newest = history[0]
    return Schema1(
        name=_text(document.get("name")),
        tag=_text(document.get("tag")),
        # The image's own word goes before the manifest's copy of it.
        architecture=_text(newest.get("architecture"))
        or _text(document.get("architecture")),
        os=_text(newest.get("os")),
        variant=_text(newest.get("variant")),
        created=_text(newest.get("created")),
        layers=tuple(reversed(layers)),
        throwaway=tuple(entry.get("throwaway") is True for entry in reversed(history)),
        signed=signed,
        payload=payload,
        signatures=check_signatures(payload, signatures),
    )


def _layers(document: Mapping[str, Any]) -> list[str]:
    entries = _objects(document, "fsLayers")
    check_key_case(entries, "manifest's fsLayers")
    if len(entries) > MAX_LAYERS:
        raise ProtocolError(f"the manifest lists more than {MAX_LAYERS} layers")
    layers = []
    for number, entry in enumerate(entries):
        layer = entry.get("blobSum")
        if not isinstance(layer, str) or not is_digest(layer):
            raise ProtocolError(
                f"the manifest's fsLayers[{number}] has no valid blobSum"
            )
        layers.append(layer)
    return layers


def _history(document: Mapping[str, Any], *, expected: int) -> list[dict[str, Any]]:
    entries = _objects(document, "history")
    if len(entries) != expected:
        raise ProtocolError(
            f"the manifest has {expected} fsLayers but {len(entries)} history entries"
        )
    return [
        _compatibility(entry.get("v1Compatibility"), number)
        for number, entry in enumerate(entries)
    ]


def _compatibility(text: object, number: int) -> dict[str, Any]:
    where = f"the manifest's history[{number}].v1Compatibility"
    if not isinstance(text, str):
        raise ProtocolError(f"{where} is not a string")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ProtocolError(f"{where} is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} is JSON but not an object")
    return value


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not value:
        raise ProtocolError(f'the manifest\'s "{key}" is not a list with entries')
    for number, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ProtocolError(f"the manifest's {key}[{number}] is not an object")
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
