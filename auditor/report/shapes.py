"""The three shapes of a report, one line for each image, platform or layer.

The flat shapes are for loading into tables: all lines of one shape have the same keys,
the fields of `PlatformRow` or `LayerRow`. Failures are the same lines in every shape.
An image without platforms and a platform without layers still have one line, with
nulls, so that no reference is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import (
    SCHEMA,
    BaseCheck,
    BaseImage,
    ContentKind,
    FailureRecord,
    ImageRecord,
    LayerTrait,
    PlatformRecord,
    Record,
    Shape,
    Source,
)
from auditor.oci.platform import platform_text
from auditor.oci.strict_json import cut_name
from auditor.util.lru import Lru
from auditor.util.text import terminal_safe_json

# Encoded platforms to keep, some 10 KiB each: tags of one image follow each other.
MAX_ENCODED = 64
MAX_ENCODED_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRow:
    """One platform of one reference."""

    schema: int = SCHEMA
    kind: str = "platform"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    content: ContentKind
    platform: str | None
    os: str | None
    architecture: str | None
    variant: str | None
    os_version: str | None
    platform_digest: str | None
    media_type: str | None
    config_digest: str | None
    created: str | None
    user: str | None
    history: int | None
    labels: dict[str, str] | None
    base_name: str | None
    base_digest: str | None
    base_current_digest: str | None
    base_is_stale: bool | None
    size: int | None
    manifest_size: int | None
    config_size: int | None
    layers: int | None
    layer_traits: tuple[LayerTrait, ...]
    signed: bool | None
    has_sbom: bool | None
    has_provenance: bool | None
    pushed_at: str | None
    pulled_at: str | None
    untagged: bool | None
    sources: tuple[Source, ...] | None
    sources_left_out: int
    input_labels: dict[str, tuple[str, ...]] | None
    input_labels_left_out: int
    verified_by: tuple[str, ...] | None
    not_verified_by: tuple[str, ...] | None
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer of one platform of one reference.

    There are no `sources` and `input_labels`: each layer would repeat them.
    """

    schema: int = SCHEMA
    kind: str = "layer"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    content: ContentKind
    platform: str | None
    platform_digest: str | None
    position: int | None
    layer_digest: str | None
    layer_size: int | None
    layer_media_type: str | None
    pushed_at: str | None
    pulled_at: str | None
    untagged: bool | None
    audited_at: str


def encoder(shape: Shape) -> Callable[[Record], bytes]:
    """A function from a record to its lines: UTF-8 JSON, each ending in a newline."""
    if shape is Shape.IMAGE:
        return _ImageEncoder()
    rows = _platform_rows if shape is Shape.PLATFORM else _layer_rows

    def encode(record: Record) -> bytes:
        if isinstance(record, FailureRecord):
            return _line(record)
        return b"".join(map(_line, rows(record)))

    return encode


def _line(value: object) -> bytes:
    return terminal_safe_json(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


class _ImageEncoder:
    """Encodes a record as one line.

    Nine tenths of a line are its platforms. Tags of one image share them as the same
    object, which is encoded once.
    """

    def __init__(self) -> None:
        self._platforms: Lru[
            int, tuple[tuple[PlatformRecord, ...], orjson.Fragment]
        ] = Lru(MAX_ENCODED, MAX_ENCODED_BYTES)

    def __call__(self, record: Record) -> bytes:
        line: object = record
        if isinstance(record, ImageRecord) and record.platforms:
            line = vars(record) | {"platforms": self._encoded(record.platforms)}
        return _line(line)

    def _encoded(self, platforms: tuple[PlatformRecord, ...]) -> orjson.Fragment:
        cached = self._platforms.get(id(platforms))
        if cached is not None and cached[0] is platforms:
            return cached[1]
        data = orjson.dumps(platforms)
        encoded = orjson.Fragment(data)
        # Keeps the object alive, so that no other object can get its id. The platforms
        # take twice the memory of their JSON.
        self._platforms.put(id(platforms), (platforms, encoded), 3 * len(data))
        return encoded


# Stands for the platform of an image that has none.
_NO_PLATFORM = PlatformRecord(
    os=None,
    architecture=None,
    variant=None,
    os_version=None,
    digest="",
    media_type=None,
)
_PLATFORM_KEYS = tuple(field.name for field in fields(PlatformRow))
_LAYER_KEYS = tuple(field.name for field in fields(LayerRow))


def _platform_rows(record: ImageRecord) -> Iterator[dict[str, Any]]:
    for platform in record.platforms or (_NO_PLATFORM,):
        config, base, layers = platform.config, platform.base, platform.layers
        values = _shared_values(record, platform)
        check = _base_check(record, values["platform"], base)
        values.update(
            kind="platform",
            user=config.user if config else None,
            history=config.history if config else None,
            labels=config.labels if config else None,
            base_name=base.name if base else None,
            base_digest=base.digest if base else None,
            layers=None if layers is None else len(layers),
            base_current_digest=check.current_digest if check else None,
            base_is_stale=check.is_stale if check else None,
        )
        yield {key: values[key] for key in _PLATFORM_KEYS}


def _base_check(
    record: ImageRecord, platform: str | None, base: BaseImage | None
) -> BaseCheck | None:
    """What is known about the base of a platform."""
    for check in record.bases or ():
        if platform in check.platforms and (
            base is None or base.name is None or cut_name(base.name) == check.name
        ):
            return check
    return None


def _layer_rows(record: ImageRecord) -> Iterator[dict[str, Any]]:
    for platform in record.platforms or (_NO_PLATFORM,):
        values = _shared_values(record, platform) | {"kind": "layer"}
        row = {key: values.get(key) for key in _LAYER_KEYS}
        if not platform.layers:
            yield row
        for position, layer in enumerate(platform.layers or ()):
            yield row | {
                "position": position,
                "layer_digest": layer.digest,
                "layer_size": layer.size,
                "layer_media_type": layer.media_type,
            }


def _shared_values(record: ImageRecord, platform: PlatformRecord) -> dict[str, Any]:
    """The fields of the image, overridden by those of the platform."""
    return {
        **vars(record),
        **vars(platform),
        "digest": record.digest,
        "platform": platform_text(platform.os, platform.architecture, platform.variant),
        "platform_digest": platform.digest or None,
    }
