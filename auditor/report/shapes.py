"""The three shapes of a report: an image, a platform or a layer a line.

The flat shapes are for loading into tables: every line of one shape has the same
keys. Failures are the same lines in every shape, and an image without a platform, or
a platform without a layer, still has a line with nulls, so that no reference is lost.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any

import orjson

from auditor.fast_dataclass import dataclass
from auditor.model import (
    SCHEMA,
    FailureRecord,
    ImageRecord,
    Layer,
    LayerTrait,
    PlatformRecord,
    Record,
    Shape,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRow:
    """One platform of one reference. `layers` counts them.

    `signed`, `has_sbom` and `has_provenance` are those of the whole image.

    `platform_digest` is null where the image has no platform at all.
    """

    schema: int = SCHEMA
    kind: str = "platform"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
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
    size: int | None
    layers: int | None
    layer_traits: tuple[LayerTrait, ...]
    signed: bool | None
    has_sbom: bool | None
    has_provenance: bool | None
    audited_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """One layer of one platform of one reference.

    `position` counts from the base, from 0; it is null where the platform has no
    layer or its layers are not known, and `platform_digest` where there is none.
    """

    schema: int = SCHEMA
    kind: str = "layer"
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    platform: str | None
    platform_digest: str | None
    position: int | None
    layer_digest: str | None
    layer_size: int | None
    layer_media_type: str | None
    audited_at: str


Line = Record | PlatformRow | LayerRow

# What stands in a row where there is nothing.
_NO_LAYER = Layer(digest="", size=None, media_type=None)
_NO_PLATFORM = PlatformRecord(
    os=None,
    architecture=None,
    variant=None,
    os_version=None,
    digest="",
    media_type=None,
    config_digest=None,
    created=None,
    config=None,
    base=None,
    size=None,
    layers=None,
    layer_traits=(),
)


def _name(platform: PlatformRecord) -> str | None:
    if not platform.os or not platform.architecture:
        return None
    return "/".join(
        part for part in (platform.os, platform.architecture, platform.variant) if part
    )


def images(record: Record) -> Iterator[Line]:
    """The record itself."""
    yield record


def platforms(record: Record) -> Iterator[Line]:
    """A line for each platform."""
    if isinstance(record, FailureRecord):
        yield record
        return
    for platform in record.platforms or (_NO_PLATFORM,):
        yield _platform_row(record, platform)


def layers(record: Record) -> Iterator[Line]:
    """A line for each layer of each platform."""
    if isinstance(record, FailureRecord):
        yield record
        return
    for platform in record.platforms or (_NO_PLATFORM,):
        if not platform.layers:
            yield _layer_row(record, platform, None, _NO_LAYER)
            continue
        for position, layer in enumerate(platform.layers):
            yield _layer_row(record, platform, position, layer)


def _platform_row(record: ImageRecord, platform: PlatformRecord) -> PlatformRow:
    config, base = platform.config, platform.base
    return PlatformRow(
        reference=record.reference,
        registry=record.registry,
        repository=record.repository,
        tag=record.tag,
        digest=record.digest,
        platform=_name(platform),
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        os_version=platform.os_version,
        platform_digest=platform.digest or None,
        media_type=platform.media_type,
        config_digest=platform.config_digest,
        created=platform.created,
        user=config.user if config else None,
        history=config.history if config else None,
        labels=config.labels if config else None,
        base_name=base.name if base else None,
        base_digest=base.digest if base else None,
        size=platform.size,
        layers=None if platform.layers is None else len(platform.layers),
        layer_traits=platform.layer_traits,
        signed=record.signed,
        has_sbom=record.has_sbom,
        has_provenance=record.has_provenance,
        audited_at=record.audited_at,
    )


def _layer_row(
    record: ImageRecord,
    platform: PlatformRecord,
    position: int | None,
    layer: Layer,
) -> LayerRow:
    return LayerRow(
        reference=record.reference,
        registry=record.registry,
        repository=record.repository,
        tag=record.tag,
        digest=record.digest,
        platform=_name(platform),
        platform_digest=platform.digest or None,
        position=position,
        layer_digest=layer.digest or None,
        layer_size=layer.size,
        layer_media_type=layer.media_type,
        audited_at=record.audited_at,
    )


_SHAPES: dict[Shape, Callable[[Record], Iterator[Line]]] = {
    Shape.IMAGE: images,
    Shape.PLATFORM: platforms,
    Shape.LAYER: layers,
}


# Encoded platforms at hand: tags of one image stand together. Some 10 KiB each.
MAX_ENCODED = 64


class _ImageEncoder:
    """A record as its line. What tags of one image share is encoded once: nine tenths
    of a line are its platforms, and those are the same object then."""

    def __init__(self) -> None:
        self._platforms: dict[
            int, tuple[tuple[PlatformRecord, ...], orjson.Fragment]
        ] = {}

    def __call__(self, record: Record) -> bytes:
        line: object = record
        if isinstance(record, ImageRecord) and record.platforms:
            line = vars(record) | {"platforms": self._encoded(record.platforms)}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _encoded(self, platforms: tuple[PlatformRecord, ...]) -> orjson.Fragment:
        known = self._platforms.get(id(platforms))
        if known is not None and known[0] is platforms:
            return known[1]
        encoded = orjson.Fragment(orjson.dumps(platforms))
        if len(self._platforms) >= MAX_ENCODED:
            self._platforms.pop(next(iter(self._platforms)))
        # Held with its object, so that no other can have the same id meanwhile.
        self._platforms[id(platforms)] = platforms, encoded
        return encoded


def encoder(shape: Shape) -> Callable[[Record], bytes]:
    """A function from a record to its lines: UTF-8 JSON, each ending in a newline."""
    if shape is Shape.IMAGE:
        return _ImageEncoder()
    lines = _SHAPES[shape]

    def encode(record: Record) -> bytes:
        return b"".join(
            orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
            for line in lines(record)
        )

    return encode


# -- schema --
# The JSON Schema (draft 2020-12) of report lines, derived from the records.

_LINES = (ImageRecord, FailureRecord, PlatformRow, LayerRow)
_SCALARS: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    types.NoneType: {"type": "null"},
}


def report_schema() -> dict[str, Any]:
    """What every line of a report of any shape is valid against."""
    definitions: dict[str, Any] = {}
    lines = [_reference(line, definitions) for line in _LINES]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:auditor:report:{SCHEMA}",
        "title": f"A line of an auditor report, schema {SCHEMA}",
        "oneOf": lines,
        "$defs": definitions,
    }


def _reference(record: type, definitions: dict[str, Any]) -> dict[str, str]:
    name = record.__name__
    if name not in definitions:
        definitions[name] = {}  # holds the place while its fields are described
        definitions[name] = _object(record, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _object(record: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(record)
    properties = {}
    for field in dataclasses.fields(record):
        if field.default is not dataclasses.MISSING:
            properties[field.name] = {"const": field.default}
        else:
            properties[field.name] = _type(hints[field.name], definitions)
    return {
        "description": inspect.cleandoc(record.__doc__ or ""),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return {"anyOf": [_type(option, definitions) for option in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin in {dict, Mapping}:
        values = _type(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return dict(_reference(hint, definitions))
    raise TypeError(f"no JSON Schema for {hint!r}")
