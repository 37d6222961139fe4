"""How much memory the caches and the records of a run take, in bytes. Pure.

The budget of a run, besides some 60 MB for the program itself. Every cache counts
bytes, because a registry chooses how large its documents are (a manifest has up to 4
MiB by default):

| what | bound |
|---|---|
| parsed manifests | `MAX_MANIFESTS_BYTES` |
| parsed configs | `MAX_CONFIGS_BYTES` |
| assembled images | `MAX_IMAGES_BYTES` |
| manifests by their bytes, for the tags of one image | `MAX_PARSED_BYTES` |
| finished records that wait for their position | `MAX_WAITING_BYTES` |
| encoded platforms (report/shapes.py) | 8 MiB |
| batches that wait for the digest cache's disk (cache/storage.py) | 32 MiB |
| data of images in their repositories | `MAX_DATA_BYTES` |
| platforms and annotations of a record, each | `MAX_RECORD_BYTES` |
| attachments of a record | `MAX_ATTACHMENTS_BYTES` |

Each worker adds the document that it reads, parsed, and its record. The sizes here are
estimates: what an object takes in CPython, and for records the length of the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from auditor.model import (
    Attachment,
    ChildManifest,
    FailureRecord,
    PlatformRecord,
    Record,
    Warn,
)
from auditor.oci.image_config import ImageConfig
from auditor.oci.manifest import VerifiedManifest

MIB = 1024 * 1024
MAX_MANIFESTS_BYTES = 24 * MIB
MAX_CONFIGS_BYTES = 8 * MIB
MAX_IMAGES_BYTES = 24 * MIB
MAX_PARSED_BYTES = 16 * MIB
MAX_WAITING_BYTES = 24 * MIB
MAX_DATA_BYTES = 8 * MIB
# The platforms of one record, as JSON: 13,000 layers of one platform, or 130 of each of
# a hundred. Docker allows 127 layers; an index has a dozen platforms.
MAX_RECORD_BYTES = 2 * MIB
# The attachments of one record, as JSON: ten thousand.
MAX_ATTACHMENTS_BYTES = 4 * MIB
ATTACHMENTS_LEFT_OUT = (
    f"the attachments are left out: more than {MAX_ATTACHMENTS_BYTES // MIB} MiB"
)

# A descriptor takes 150 bytes of JSON, and 370 as an object with its strings.
_PARSED_PER_BYTE = 3
_OBJECT_BYTES = 1000
_LAYER_BYTES = 400
# `ChildManifest`, an object with its digest.
_CHILD_BYTES = 500
# With its five texts.
_SOURCE_BYTES = 800
# `{"digest":"...","size":123456789,"media_type":"..."},` without the two strings.
_LAYER_JSON_BYTES = 45
# An attachment without its type, subject, predicates, annotations, tag and blobs.
_ATTACHMENT_JSON_BYTES = 200
# Fields of a platform without a config and layers.
_PLATFORM_JSON_BYTES = 500


def manifest_bytes(verified: VerifiedManifest) -> int:
    """The memory of a parsed manifest."""
    return _OBJECT_BYTES + _PARSED_PER_BYTE * verified.size


def parsed_bytes(raw: bytes) -> int:
    """The memory of a manifest, parsed, with its own bytes."""
    return _OBJECT_BYTES + (1 + _PARSED_PER_BYTE) * len(raw)


def config_bytes(config: ImageConfig) -> int:
    """The memory of a parsed config."""
    texts = (config.user, config.author, config.working_directory, config.created)
    lists = (config.entrypoint, config.command, config.exposed_ports)
    return (
        _OBJECT_BYTES
        + sum(len(text or "") for text in texts)
        + sum(len(text) + 60 for one in lists for text in one)
        + _mapping_bytes(config.labels)
    )


def platforms_bytes(platforms: tuple[PlatformRecord, ...]) -> int:
    """The memory of the platforms of an image."""
    size = 0
    for platform in platforms:
        layers = len(platform.layers or ())
        for one in platform.alternatives:
            layers += len(one.layers)
        size += _OBJECT_BYTES + _texts_json_bytes(platform) + _LAYER_BYTES * layers
    return size


def record_bytes(record: Record | None) -> int:
    """The memory of a record."""
    if record is None:
        return _OBJECT_BYTES
    size = 0
    if record.sources:
        size = _SOURCE_BYTES * len(record.sources)
    if record.input_labels:
        for name, values in record.input_labels.items():
            size += sum(200 + len(name) + len(value) for value in values)
    if isinstance(record, FailureRecord):
        return _OBJECT_BYTES + size
    if record.bases:
        size += 2 * _OBJECT_BYTES * len(record.bases)
    if record.signatures:
        size += _OBJECT_BYTES * len(record.signatures)
    if record.other_children:
        size += children_bytes(record.other_children)
    return size + image_bytes(
        record.platforms, record.annotations, record.attachments, record.warnings
    )


def image_bytes(
    platforms: tuple[PlatformRecord, ...],
    annotations: Mapping[str, str],
    attachments: Sequence[Attachment],
    warnings: Sequence[Warn],
) -> int:
    """The memory of the parts of an image."""
    return (
        2 * _OBJECT_BYTES
        + platforms_bytes(platforms)
        + _mapping_bytes(annotations)
        + attachments_bytes(attachments)
        + sum(200 + len(warning.detail) for warning in warnings)
    )


def bounded_platform(
    platform: PlatformRecord, max_bytes: int
) -> tuple[PlatformRecord, list[str]]:
    """The platform in a record, and what was left out because it is too long.

    Texts that a config chooses come first, then the layers. What is left out is None.
    """
    left_out: list[str] = []
    left = max_bytes + _PLATFORM_JSON_BYTES
    texts = _texts_json_bytes(platform)
    if texts > left:
        left_out.append("the fields of its config and its base image")
        platform = replace(platform, config=None, base=None, created=None)
        texts = 0
    left -= texts
    layers = platform.layers or ()
    size = sum(
        _LAYER_JSON_BYTES + len(one.digest) + len(one.media_type or "")
        for one in layers
    )
    if size > left:
        left_out.append(f"{len(layers)} layers")
        platform = replace(platform, layers=None)
    return platform, left_out


def attachments_bytes(attachments: Sequence[Attachment]) -> int:
    """The memory of attachments."""
    return sum(_OBJECT_BYTES + attachment_json_bytes(one) for one in attachments)


def attachment_json_bytes(attachment: Attachment) -> int:
    """The length of an attachment as JSON, nearly."""
    predicates = attachment.predicates or ()
    texts = (
        attachment.artifact_type,
        attachment.subject,
        attachment.tag,
        *predicates,
    )
    blobs = sum(
        _LAYER_JSON_BYTES + len(one.digest) + len(one.media_type or "")
        for one in attachment.blobs or ()
    )
    return (
        _ATTACHMENT_JSON_BYTES
        + blobs
        + sum(len(text or "") + 3 for text in texts)
        + mapping_json_bytes(attachment.annotations)
    )


def children_bytes(children: Sequence[ChildManifest]) -> int:
    """The memory of the children that are no platforms and no attachments."""
    return sum(_CHILD_BYTES + len(one.media_type or "") for one in children)


def mapping_json_bytes(texts: Mapping[str, str]) -> int:
    """The length of a mapping as JSON, nearly."""
    return sum(len(name) + len(text) + 6 for name, text in texts.items())


def _mapping_bytes(texts: Mapping[str, str]) -> int:
    return sum(len(name) + len(text) + 200 for name, text in texts.items())


def _texts_json_bytes(platform: PlatformRecord) -> int:
    # Without loops: it is called for each platform of each record.
    size = len(platform.created or "")
    base, config = platform.base, platform.config
    if base is not None:
        size += len(base.name or "") + len(base.digest or "")
    if config is not None:
        size += len(config.user or "") + mapping_json_bytes(config.labels or {})
    return size
