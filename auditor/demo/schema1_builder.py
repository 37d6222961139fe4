"""Builds images in the old format: Docker image manifest version 2, schema 1.

distribution docs, "Image Manifest Version 2, Schema 1": layers and history are newest
first. Signed manifests have libtrust's pretty form, a JWS (RFC 7515) of which the
payload is the document without its `signatures`, described by `formatLength` and
`formatTail`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from auditor.demo.image_builder import (
    CREATED,
    BuiltImage,
    BuiltManifest,
    ImageContent,
    layer,
    sha256,
    split_platform,
)
from auditor.demo.signing_key import SigningKey
from auditor.model import Layer, PlatformRecord
from auditor.oci.encoding import encode_base64url

UNSIGNED = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
# The gzipped empty tar, which Docker stored for every step that changes no files.
EMPTY_LAYER = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
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
        empty = layer("empty", size=32)
        layers = [
            files[0],
            files[1],
            _with_digest(empty, EMPTY_LAYER),
            files[2],
            _with_digest(empty, EMPTY_LAYER),
        ]
    os, architecture, variant = split_platform(platform)
    document = {
        "name": name,
        "tag": tag,
        "architecture": architecture,
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
        digest=sha256(payload),
        media_type=SIGNED if keys else UNSIGNED,
    )
    record = PlatformRecord(
        os=os,
        architecture=architecture,
        variant=variant,
        os_version=None,
        digest=manifest.digest,
        media_type=manifest.media_type,
        config_digest=None,
        created=created,
        config=None,
        base=None,
        size=None,
        layers=tuple(
            Layer(digest=one.digest, size=None, media_type=None) for one in layers
        ),
        layer_traits=(),
    )
    return BuiltImage(
        manifests=(manifest,),
        blobs=(),
        content=ImageContent(
            digest=manifest.digest,
            media_type=manifest.media_type,
            schema_version=1,
            platforms=(record,),
            source="schema1",
        ),
    )


def _with_digest(one: Layer, digest: str) -> Layer:
    return Layer(digest=digest, size=one.size, media_type=one.media_type)


def _history(
    name: str, layers: Sequence[Layer], platform: str, created: str
) -> list[str]:
    """The v1 image of each layer as JSON, newest first; only the newest is complete."""
    os, architecture, variant = split_platform(platform)
    ids = [
        sha256(f"{name} {platform} {number}".encode()).removeprefix("sha256:")
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
