"""Builds images in the old format: Docker image manifest version 2, schema 1.

distribution docs, "Image Manifest Version 2, Schema 1": layers and history are newest
first. Signed manifests have libtrust's pretty form, a JWS (RFC 7515); its payload is
the document without its `signatures`, described by `formatLength` and `formatTail`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from auditor.demo.demo_tokens import SigningKey
from auditor.demo.image_builder import (
    CREATED,
    BuiltImage,
    BuiltManifest,
    layer,
    single_image,
    split_platform,
)
from auditor.model import Layer
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1, sha256_digest
from auditor.oci.schema1 import EMPTY_LAYER
from auditor.oci.strict_json import encode_base64url

SIGNED_AT = "2016-02-02T00:33:24Z"
_TAIL = b"\n}"


def schema1_image(
    name: str,
    tag: str,
    *,
    platform: str = "linux/amd64",
    layers: Sequence[Layer] | None = None,
    created: str = CREATED,
    keys: Sequence[SigningKey] = (),
) -> BuiltImage:
    """An image for this repository and tag, signed with each of the keys.

    `layers` are base first; without them it gets three made-up ones and two empty
    steps. A layer with the digest of `EMPTY_LAYER` is marked as throwaway.
    """
    if layers is None:
        files = [layer(f"{name}:{tag} {platform} {number}") for number in range(3)]
        empty = replace(layer("empty"), digest=EMPTY_LAYER)
        layers = [*files[:2], empty, files[2], empty]
    document = {
        "name": name,
        "tag": tag,
        "architecture": split_platform(platform)[1],
        "fsLayers": [{"blobSum": one.digest} for one in reversed(layers)],
        "history": [
            {"v1Compatibility": entry}
            for entry in _history(name, layers, platform, created)
        ],
        "schemaVersion": 1,
    }
    payload = _pretty(document)
    raw = _signed(payload, keys) if keys else payload
    manifest = BuiltManifest(
        raw=raw,
        payload=payload,
        digest=sha256_digest(payload),
        media_type=SIGNED_SCHEMA1 if keys else SCHEMA1,
    )
    sizeless = [replace(one, size=None, media_type=None) for one in layers]
    return single_image(
        manifest, sizeless, platform, config=None, source="schema1", created=created
    )


def _history(
    name: str, layers: Sequence[Layer], platform: str, created: str
) -> list[str]:
    """The v1 image of each layer as JSON, newest first; only the newest is complete."""
    os, architecture, variant = split_platform(platform)
    ids = [
        hashlib.sha256(f"{name} {platform} {number}".encode()).hexdigest()
        for number in range(len(layers))
    ]
    entries: list[str] = []
    for number, one in enumerate(layers):
        entry: dict[str, Any] = {"id": ids[number], "created": created}
        if number:
            entry["parent"] = ids[number - 1]
        if number == len(layers) - 1:
            entry |= {"architecture": architecture, "os": os}
            entry |= {"variant": variant} if variant else {}
        entry["container_config"] = {"Cmd": [f"/bin/sh -c #(step) {number}"]}
        if one.digest == EMPTY_LAYER:
            entry["throwaway"] = True
        entries.insert(0, orjson.dumps(entry).decode())
    return entries


def _pretty(document: object) -> bytes:
    """JSON as Go's `MarshalIndent(_, "", "   ")` writes it, which Docker signs."""
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    lines = []
    for line in text.split(b"\n"):
        content = line.lstrip(b" ")
        lines.append(b"   " * ((len(line) - len(content)) // 2) + content)
    return b"\n".join(lines)


def _signed(payload: bytes, keys: Sequence[SigningKey]) -> bytes:
    """The document with libtrust `signatures` (JWS, ES256) before its last brace."""
    body = payload.removesuffix(_TAIL)
    protected = encode_base64url(
        orjson.dumps(
            {
                "formatLength": len(body),
                "formatTail": encode_base64url(_TAIL),
                "time": SIGNED_AT,
            }
        )
    )
    signing_input = f"{protected}.{encode_base64url(payload)}".encode()
    signatures = [
        {
            "header": {"jwk": key.jwk, "alg": "ES256"},
            "signature": encode_base64url(key.sign(signing_input)),
            "protected": protected,
        }
        for key in keys
    ]
    member = _pretty({"signatures": signatures}).removeprefix(b"{")
    return body + b"," + member
