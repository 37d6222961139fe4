"""Manifests of every kind, from raw bytes to values.

Sources: OCI image-spec v1.1 (manifest.md, image-index.md, descriptor.md), distribution
manifest v2 schema 2. Schema 1 has a module of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from auditor.errors import FailureKind, ProtocolError
from auditor.protocol import media_types
from auditor.protocol.json_document import check_key_case, parse_object
from auditor.protocol.platform import PlatformSpec
from auditor.protocol.reference import is_digest
from auditor.protocol.schema1 import Schema1, parse_schema1
from auditor.values import dataclass

MAX_SIZE = 2**63 - 1  # descriptor.md: size is an int64
# Docker's builder adds these annotations to the attestation manifests of an index.
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"


class Descriptor(NamedTuple):
    """A descriptor. `size` is bytes; `platform` is null where none is given.

    A named tuple: there are some ten for each manifest, and a frozen dataclass takes
    four times as long to make.
    """

    media_type: str | None
    digest: str
    size: int
    platform: PlatformSpec | None
    annotations: Mapping[str, str]
    artifact_type: str | None
    has_urls: bool

    @property
    def attests(self) -> str | None:
        """The digest that this attestation manifest is about, if it is one."""
        if self.annotations.get(REFERENCE_TYPE) == "attestation-manifest":
            return self.annotations.get(REFERENCE_DIGEST, "")
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An OCI index or a Docker manifest list."""

    media_type: str
    children: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An OCI manifest or a Docker manifest v2. Layers stand base first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: str | None

    @property
    def has_image_config(self) -> bool:
        """Whether the config says os and architecture (an artifact's does not)."""
        return _is_image_config(self.config.media_type, self.media_type)


Manifest = Index | ImageManifest | Schema1


def parse_manifest(raw: bytes, content_type: str | None) -> Manifest:
    """The manifest in `raw`.

    `content_type` is the header's value; the document's own `mediaType` wins over it.
    Raises `ProtocolError` with `PROTOCOL_VIOLATION`, `AMBIGUOUS_DOCUMENT` (both an
    index and an image, CVE-2021-41190; keys standing twice or in two cases) or
    `UNSUPPORTED_MEDIA_TYPE`.
    """
    said = media_types.essence(content_type)
    first = raw.lstrip()[:1]
    if first == b"<" or (said == "text/html" and first != b"{"):
        raise ProtocolError("the registry answered with an HTML page, not a manifest")
    document = parse_object(raw, "manifest")
    check_key_case((document,), "manifest")
    _refuse_two_kinds(document)
    media_type = _media_type(document, said)
    if media_type in media_types.INDEX_TYPES:
        return _index(document, media_type)
    if media_type in media_types.IMAGE_TYPES:
        return _image(document, media_type)
    return parse_schema1(raw, document)


def _refuse_two_kinds(document: Mapping[str, Any]) -> None:
    kinds = [
        found[0]
        for keys in (("manifests",), ("layers", "config"), ("fsLayers",))
        if (found := [key for key in keys if document.get(key) is not None])
    ]
    if len(kinds) > 1:
        raise ProtocolError(
            f'the manifest has both "{kinds[0]}" and "{kinds[1]}"',
            FailureKind.AMBIGUOUS_DOCUMENT,
        )


def _media_type(document: Mapping[str, Any], said: str | None) -> str:
    """The document's own type, else the header's, else what its keys tell."""
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise ProtocolError("the manifest's mediaType is not a string")
    version = document.get("schemaVersion")
    if type(version) is not int or version not in {1, 2}:
        raise ProtocolError(
            f"the document is no manifest: its schemaVersion is {_short(version)}"
        )
    if version == 1:
        if own and own not in media_types.SCHEMA1_TYPES:
            raise ProtocolError(
                f"the document says it is {_short(own)} but its schemaVersion is 1",
                FailureKind.AMBIGUOUS_DOCUMENT,
            )
        return media_types.SIGNED_SCHEMA1
    if own:
        if own not in media_types.INDEX_TYPES | media_types.IMAGE_TYPES:
            raise ProtocolError(
                f"manifests of type {_short(own)} are not known",
                FailureKind.UNSUPPORTED_MEDIA_TYPE,
            )
        expected = own
    elif said in media_types.INDEX_TYPES | media_types.IMAGE_TYPES:
        expected = said
    elif "manifests" in document:
        expected = media_types.OCI_INDEX
    else:
        expected = media_types.OCI_MANIFEST
    wants_children = expected in media_types.INDEX_TYPES
    if wants_children != ("manifests" in document):
        raise ProtocolError(
            f"the document says it is {expected} but its keys are of another kind",
            FailureKind.AMBIGUOUS_DOCUMENT
            if "manifests" in document or "config" in document
            else FailureKind.PROTOCOL_VIOLATION,
        )
    return expected


def _index(document: Mapping[str, Any], media_type: str) -> Index:
    children = _list(document.get("manifests"), "manifests")
    return Index(
        media_type=media_type,
        children=_descriptors(children, "manifests"),
        annotations=_annotations(document.get("annotations")),
        artifact_type=_text(document.get("artifactType")),
        subject=_subject(document),
    )


def _image(document: Mapping[str, Any], media_type: str) -> ImageManifest:
    layers = _list(document.get("layers"), "layers")
    value = document.get("config")
    config = _usual(value) or _descriptor(value, "config")
    artifact_type = _text(document.get("artifactType"))
    if artifact_type is None and not _is_image_config(config.media_type, media_type):
        # image-spec manifest.md, "Guidelines for Artifact Usage": without an
        # artifactType the config's media type names the artifact.
        artifact_type = config.media_type
    return ImageManifest(
        media_type=media_type,
        config=config,
        layers=_descriptors(layers, "layers"),
        annotations=_annotations(document.get("annotations")),
        artifact_type=artifact_type,
        subject=_subject(document),
    )


def _is_image_config(config_type: str | None, manifest_type: str) -> bool:
    if manifest_type == media_types.DOCKER_MANIFEST and (
        config_type is None or config_type in media_types.DEFAULTED_CONFIG_TYPES
    ):
        return True
    return config_type in media_types.IMAGE_CONFIG_TYPES


def _descriptors(values: list[Any], where: str) -> tuple[Descriptor, ...]:
    return tuple(
        [
            _usual(value) or _descriptor(value, f"{where}[{number}]")
            for number, value in enumerate(values)
        ]
    )


def _usual(value: Any) -> Descriptor | None:
    """What `_descriptor` gives for the three required fields, with a platform or
    without, and nothing else; null for anything that needs a closer look.

    Nearly every descriptor is such a one, and a third of an audit's own work was in
    the other's checks: see docs/performance.md.
    """
    if type(value) is not dict or not 3 <= len(value) <= 4:
        return None
    try:
        media_type, digest, size = _required(value)
    except KeyError:
        return None
    if (
        type(media_type) is not str
        or type(size) is not int
        or not 0 <= size <= MAX_SIZE
        or type(digest) is not str
        or not media_type
        or not is_digest(digest)
    ):
        return None
    platform = None
    if len(value) == 4:
        described = value.get("platform")
        if type(described) is not dict or not _PLATFORM_KEYS.issuperset(described):
            return None
        platform = _platform(described, "")
    return Descriptor(media_type, digest, size, platform, _NOTHING, None, False)


_required = itemgetter("mediaType", "digest", "size")
_PLATFORM_KEYS = frozenset({"os", "architecture", "variant", "os.version"})
_NOTHING: Mapping[str, str] = MappingProxyType({})


def _descriptor(value: object, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ProtocolError(f"the manifest's {where} is not a descriptor")
    check_key_case((value,), f"manifest's {where}")
    digest = value.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ProtocolError(f"the manifest's {where} has no valid digest")
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
        raise ProtocolError(f"the manifest's {where} has no valid size")
    return Descriptor(
        media_type=_text(value.get("mediaType")),
        digest=digest,
        size=size,
        platform=_platform(value.get("platform"), where),
        annotations=_annotations(value.get("annotations")),
        artifact_type=_text(value.get("artifactType")),
        has_urls=bool(value.get("urls")),
    )


def _platform(value: object, where: str) -> PlatformSpec | None:
    if not isinstance(value, dict):
        return None
    check_key_case((value,), f"manifest's {where}.platform")
    os, architecture = _text(value.get("os")), _text(value.get("architecture"))
    if os is None or architecture is None:
        # Both are REQUIRED (image-index.md). Half a platform is none, so that the
        # child is looked at and not taken for something that is no image.
        return None
    return _platform_spec(
        os, architecture, _text(value.get("variant")), _text(value.get("os.version"))
    )


@functools.lru_cache(maxsize=256)  # there are some dozen
def _platform_spec(
    os: str, architecture: str, variant: str | None, os_version: str | None
) -> PlatformSpec:
    return PlatformSpec(
        os=os, architecture=architecture, variant=variant, os_version=os_version
    )


def _subject(document: Mapping[str, Any]) -> str | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, "subject").digest


def _annotations(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return _NOTHING
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _list(value: object, where: str) -> list[Any]:
    # Go writes an empty list as null.
    if value is None:
        return []
    if not isinstance(value, list):
        raise ProtocolError(f'the manifest\'s "{where}" is not a list')
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _short(value: object) -> str:
    return ascii(value)[:80]
