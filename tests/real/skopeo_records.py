"""The record that an audit must write, made from the output of skopeo."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from tests.real.skopeo import Skopeo

_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
Described = Mapping[str, Any]


def expected_record(skopeo: Skopeo, host: str, image: str) -> dict[str, Any]:
    """Every field but `access` and `audited_at`, with each platform's config read."""
    repository, _, tag = image.partition(":")
    raw = skopeo.raw(image)
    document = json.loads(raw)
    inspected = skopeo.inspect(image)
    platforms: list[dict[str, Any]] = []
    attachments: list[dict[str, Any]] = []
    nested: list[dict[str, Any]] = []
    if document.get("mediaType") in _INDEXES:
        _index(skopeo, repository, document, platforms, attachments, nested)
    else:
        at = f"{repository}@{inspected['Digest']}"
        platforms.append(_platform(skopeo, at, None))
    layers = [layer for platform in platforms for layer in platform["layers"]]
    return {
        "schema": 1,
        "kind": "image",
        "reference": f"{host}/{image}",
        "registry": host,
        "repository": repository,
        "tag": tag,
        "digest": inspected["Digest"],
        "media_type": document.get("mediaType", _SIGNED),
        "schema_version": document["schemaVersion"],
        "artifact_type": None,
        "content": "image",
        "architectures": sorted({_name(platform) for platform in platforms}),
        "platforms": platforms,
        "platforms_left_out": 0,
        "attachments": sorted(attachments, key=lambda one: str(one["digest"])),
        "signed": None,
        "has_sbom": None,
        "has_provenance": None,
        "size": _size(layers),
        "annotations": document.get("annotations", {}),
        "location": None,
        "pushed_at": None,
        "pulled_at": None,
        "subject": None,
        "manifest_size": _stored_bytes(raw),
        "other_children": sorted(nested, key=lambda one: str(one["digest"])),
        "untagged": False,
        # What was not asked for.
        "bases": None,
        "bases_left_out": 0,
        "sources": None,
        "sources_left_out": 0,
        "input_labels": None,
        "input_labels_left_out": 0,
        "verified_by": None,
        "not_verified_by": None,
        "signatures": None,
        "signatures_left_out": 0,
        "warnings": [],
    }


def _index(
    skopeo: Skopeo,
    repository: str,
    index: Described,
    platforms: list[dict[str, Any]],
    attachments: list[dict[str, Any]],
    nested: list[dict[str, Any]],
) -> None:
    for entry in index["manifests"]:
        at = f"{repository}@{entry['digest']}"
        annotations = entry.get("annotations", {})
        if entry["mediaType"] in _INDEXES:
            nested.append(
                {
                    "digest": entry["digest"],
                    "media_type": entry["mediaType"],
                    "size": entry["size"],
                }
            )
            inner = json.loads(skopeo.raw(at))
            _index(skopeo, repository, inner, platforms, attachments, nested)
        elif "vnd.docker.reference.type" in annotations:
            attachments.append(
                {
                    "kind": "attestation",
                    "artifact_type": None,
                    "digest": entry["digest"],
                    "subject": annotations["vnd.docker.reference.digest"],
                    "predicates": None,
                    "size": entry["size"],
                    "blobs": None,  # its manifest is not read
                    "tag": None,
                    "in_index": True,
                    "annotations": {},
                    "annotations_left_out": 0,
                }
            )
        else:
            platforms.append(_platform(skopeo, at, entry["platform"]))


def _platform(skopeo: Skopeo, at: str, described: Described | None) -> dict[str, Any]:
    """One manifest. `described` is its platform in an index, else its config's."""
    raw = skopeo.raw(at)
    manifest = json.loads(raw)
    inspected = skopeo.inspect(at)
    layers: list[dict[str, Any]]
    if manifest["schemaVersion"] == 1:
        newest = json.loads(manifest["history"][0]["v1Compatibility"])
        config, config_digest, config_size = newest, None, None
        layers = [
            {"digest": digest, "size": None, "media_type": None}
            for digest in inspected["Layers"]
        ]
    else:
        config, config_digest = skopeo.config(at), manifest["config"]["digest"]
        config_size = manifest["config"]["size"]
        layers = [
            {
                "digest": layer["digest"],
                "size": layer["size"],
                "media_type": layer["mediaType"],
            }
            for layer in manifest["layers"]
        ]
        assert inspected["Layers"] == [layer["digest"] for layer in layers]
    described = described or config
    assert inspected["Os"] == described["os"]
    assert inspected["Architecture"] == described["architecture"]
    assert inspected["Created"] == config["created"]
    return {
        "os": inspected["Os"],
        "architecture": inspected["Architecture"],
        "variant": described.get("variant"),
        "os_version": described.get("os.version"),
        "digest": inspected["Digest"],
        "media_type": manifest.get("mediaType", _SIGNED),
        "config_digest": config_digest,
        "created": inspected["Created"],
        "config": config_digest
        and {
            "user": config.get("config", {}).get("User") or None,
            "history": len(config.get("history") or []),
            "labels": None,
        },
        "base": None,
        "size": _size(layers),
        "layers": layers,
        "layer_traits": [],
        "alternatives": [],
        "manifest_size": _stored_bytes(raw),
        "config_size": config_size,
    }


def _stored_bytes(raw: bytes) -> int:
    """The bytes that the digest is of: a schema 1 manifest without its signatures."""
    document = json.loads(raw)
    if "signatures" not in document:
        return len(raw)
    protected = json.loads(_decoded(document["signatures"][0]["protected"]))
    return int(protected["formatLength"]) + len(_decoded(protected["formatTail"]))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _name(platform: Described) -> str:
    parts = (platform["os"], platform["architecture"], platform["variant"])
    # An audit reports arm64/v8 as arm64.
    return "/".join(filter(None, parts)).replace("/arm64/v8", "/arm64")


def _size(layers: list[dict[str, Any]]) -> int | None:
    sizes = {layer["digest"]: layer["size"] for layer in layers}
    return None if None in sizes.values() else sum(sizes.values())
