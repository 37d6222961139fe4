"""Manifests as plain dictionaries, to be changed by tests."""

from __future__ import annotations

import json
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

Json = dict[str, Any]


def digest(digit: str) -> str:
    return "sha256:" + digit * 64


def descriptor(digit: str = "a", **more: Any) -> Json:
    return {"mediaType": OCI_LAYER, "digest": digest(digit), "size": 100} | more


def image(**more: Any) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("c", mediaType=OCI_CONFIG),
        "layers": [descriptor("1"), descriptor("2", size=200)],
    } | more


def child(
    digit: str, os: str = "linux", architecture: str = "amd64", **more: Any
) -> Json:
    platform = {"os": os, "architecture": architecture}
    return descriptor(digit, mediaType=OCI_MANIFEST, platform=platform) | more


def index(**more: Any) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [child("1"), child("2", architecture="arm64")],
    } | more


def schema1(**more: Any) -> Json:
    return {
        "schemaVersion": 1,
        "name": "team/app",
        "tag": "1",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest("2")}, {"blobSum": digest("1")}],
        "history": [
            {"v1Compatibility": '{"os":"linux","architecture":"amd64"}'},
            {"v1Compatibility": "{}"},
        ],
    } | more


def without(document: Json, *keys: str) -> Json:
    return {key: value for key, value in document.items() if key not in keys}


def raw(document: object) -> bytes:
    return json.dumps(document).encode()
