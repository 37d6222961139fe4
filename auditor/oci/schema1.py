"""Docker image manifests version 2, schema 1 ("Image Manifest Version 2, Schema 1").

Layers are newest first in the document and base first in `Schema1Manifest`; there are
no sizes. Platform and creation time come from `history[0].v1Compatibility`, a JSON
document in a JSON string.

A signed manifest contains libtrust's "pretty" signatures: a JWS inside the document
that it signs (section "Signed Manifests"; docker/libtrust, jsonsign.go). The signed
payload is the document without `signatures`, `body[:formatLength] +
base64url(formatTail)`, with both values from the JWS protected header. The digest is
computed over the payload, and only the payload is parsed: other keys are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.oci.descriptor import is_digest
from auditor.oci.strict_json import (
    check_key_case,
    check_platform_keys,
    decode_base64url,
    encode_base64url,
    name_or_none,
    parse_json_object,
    string_or_none,
)

if TYPE_CHECKING:
    from auditor.oci.jws import SignatureCheck

# An empty gzipped tar archive, which docker lists for build steps that change no file.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
# A layer takes at least 111 bytes: `{"blobSum":"sha256:<64 hex>"},` in fsLayers and
# `{"v1Compatibility":"{}"},` in history. 4 MiB is distribution's limit for a manifest.
MAX_LAYERS = 4 * 1024 * 1024 // 111
# A registry can keep the signatures of several pushes. Each check hashes the whole
# payload: a hundred of 4 MiB take about half a second.
MAX_SIGNATURES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema1Manifest:
    """A schema 1 manifest. `layers` are blob digests, base first.

    `throwaway[i]` is true if the build step of `layers[i]` changed no file. `payload`
    is the content of the digest: all bytes of an unsigned manifest.
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


def parse_schema1(raw: bytes, document: Mapping[str, Any]) -> Schema1Manifest:
    """Parse a manifest from `raw` and the JSON `document` in it.

    Signatures are checked; `signatures` has the results, also of invalid signatures.
    Raises `ProtocolError` for an invalid document or a payload that cannot be
    determined.
    """
    signatures = document.get("signatures") or ()
    signed = bool(signatures)
    payload = raw
    if signed:
        payload = signed_payload(raw, document)
        document = parse_json_object(payload, "signed manifest")
        check_key_case((document,), "signed manifest")
    if document.get("schemaVersion") != 1:
        raise ProtocolError("the manifest's schemaVersion is not 1")
    layers = _layers(document)
    history = _history(document, expected=len(layers))
    newest = history[0]
    _check_newest(document)
    return Schema1Manifest(
        name=string_or_none(document.get("name")),
        tag=string_or_none(document.get("tag")),
        # The image's value takes precedence over the manifest's copy.
        architecture=name_or_none(newest.get("architecture"))
        or name_or_none(document.get("architecture")),
        os=name_or_none(newest.get("os")),
        variant=name_or_none(newest.get("variant")),
        created=name_or_none(newest.get("created")),
        layers=tuple(reversed(layers)),
        throwaway=tuple(entry.get("throwaway") is True for entry in reversed(history)),
        signed=signed,
        payload=payload,
        signatures=_check_signatures(payload, signatures),
    )


def signed_payload(raw: bytes, document: Mapping[str, Any]) -> bytes:
    """The signed bytes of `raw`, from the signatures in its JSON `document`.

    Raises `ProtocolError` if they cannot be determined or two signatures disagree.
    """
    payload = None
    for index, signature in enumerate(_signatures(document.get("signatures"))):
        where = f"the manifest's signatures[{index}]"
        length, tail = _format(signature, where)
        if length > len(raw):
            raise ProtocolError(
                f"{where} signs {length} bytes of a document of {len(raw)}"
            )
        signed = raw[:length] + tail
        if payload is not None and signed != payload:
            raise ProtocolError(
                f"{where} signs different content than the previous ones"
            )
        payload = signed
    if payload is None:
        raise ProtocolError("the manifest is not signed")
    return payload


def _layers(document: Mapping[str, Any]) -> list[str]:
    entries = _objects(document, "fsLayers")
    check_key_case(entries, "manifest's fsLayers")
    if len(entries) > MAX_LAYERS:
        raise ProtocolError(f"the manifest lists more than {MAX_LAYERS} layers")
    layers = []
    for index, entry in enumerate(entries):
        layer = entry.get("blobSum")
        if not isinstance(layer, str) or not is_digest(layer):
            raise ProtocolError(
                f"the manifest's fsLayers[{index}] has no valid blobSum"
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
        _compatibility(entry.get("v1Compatibility"), index)
        for index, entry in enumerate(entries)
    ]


def _compatibility(text: object, index: int) -> dict[str, Any]:
    where = f"the manifest's history[{index}].v1Compatibility"
    if not isinstance(text, str):
        raise ProtocolError(f"{where} is not a string")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ProtocolError(f"{where} is not JSON") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} is JSON but not an object")
    return value


def _check_newest(document: Mapping[str, Any]) -> None:
    """Refuse a platform that parsers would read in two ways."""
    raw = document["history"][0]["v1Compatibility"].encode()
    what = "manifest's history[0].v1Compatibility"
    check_platform_keys(parse_json_object(raw, what), what)


def _objects(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not value:
        raise ProtocolError(f'the manifest\'s "{key}" is not a list with entries')
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ProtocolError(f"the manifest's {key}[{index}] is not an object")
    return value


def _check_signatures(
    payload: bytes, signatures: Sequence[object]
) -> tuple[SignatureCheck, ...]:
    if not signatures:
        return ()
    from auditor.oci.jws import check_libtrust_signature  # noqa: PLC0415  (slow)

    encoded = encode_base64url(payload)
    return tuple(check_libtrust_signature(encoded, one) for one in signatures)


def _signatures(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ProtocolError('the manifest\'s "signatures" is not a list')
    if len(value) > MAX_SIGNATURES:
        raise ProtocolError(f"the manifest has more than {MAX_SIGNATURES} signatures")
    return value


def _format(signature: object, where: str) -> tuple[int, bytes]:
    protected = signature.get("protected") if isinstance(signature, dict) else None
    if not isinstance(protected, str):
        raise ProtocolError(f"{where} has no protected header")
    try:
        header = orjson.loads(decode_base64url(protected))
        length = header["formatLength"]
        tail = decode_base64url(header["formatTail"])
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(f"{where} has an invalid protected header") from None
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise ProtocolError(f"{where} has an invalid protected header")
    return length, tail
