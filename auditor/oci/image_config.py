"""Image configs and layer traits.

Sources: OCI image-spec config.md, layer.md and media-types.md; Docker image
specification v1.2 and image manifest v2 schema 2; stargz-snapshotter docs/estargz.md;
ocicrypt's `+encrypted` suffix; containers/storage pkg/chunked (zstd:chunked).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from auditor.errors import ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.model import LayerTrait
from auditor.oci.descriptor import essence, parse_annotations
from auditor.oci.platform import Platform
from auditor.oci.strict_json import (
    check_platform_keys,
    name_or_none,
    parse_json_object,
    string_or_none,
)

_ESTARGZ = "containerd.io/snapshot/stargz/toc.digest"
_ZSTD_CHUNKED = (
    "io.github.containers.zstd-chunked.manifest-checksum",
    "io.containers.zstd-chunked.manifest-checksum",
)
_ENCRYPTED = "+encrypted"
_NON_DISTRIBUTABLE = ("layer.nondistributable.", "image.rootfs.foreign.")
# Suffixes of the types of plain tar archives, OCI's and Docker's.
_UNCOMPRESSED = (".tar", "/tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The fields of a config that reports use. `created` is RFC 3339, unchanged.

    `problem` says why a config has no fields: it is not a document that has one
    meaning. The environment is left out on purpose: it often contains secrets.
    """

    platform: Platform
    created: str | None
    author: str | None
    user: str | None
    working_directory: str | None
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    labels: Mapping[str, str]
    history_length: int
    problem: str | None = None


def parse_image_config(raw: bytes) -> ImageConfig:
    """Parse a config blob.

    One that is not JSON in UTF-8, or has a key twice, also in two cases, has a
    `problem` and no fields: the image itself can be read without it.
    """
    problem = None
    try:
        document = parse_json_object(raw, "image config")
        check_platform_keys(document, "image config")
    except ProtocolError as error:
        document, problem = {}, error.detail
    config = document.get("config")
    runtime: Mapping[str, Any] = config if isinstance(config, dict) else {}
    ports = runtime.get("ExposedPorts")
    history = document.get("history")
    return ImageConfig(
        platform=Platform(
            os=name_or_none(document.get("os")),
            architecture=name_or_none(document.get("architecture")),
            variant=name_or_none(document.get("variant")),
            os_version=name_or_none(document.get("os.version")),
        ),
        created=name_or_none(document.get("created")),
        author=string_or_none(document.get("author")),
        user=string_or_none(runtime.get("User")),
        working_directory=string_or_none(runtime.get("WorkingDir")),
        entrypoint=_arguments(runtime.get("Entrypoint")),
        command=_arguments(runtime.get("Cmd")),
        exposed_ports=tuple(sorted(ports)) if isinstance(ports, dict) else (),
        labels=parse_annotations(runtime.get("Labels")),
        history_length=len(history) if isinstance(history, list) else 0,
        problem=problem,
    )


def layer_traits(
    media_type: str | None, annotations: Mapping[str, str]
) -> frozenset[LayerTrait]:
    """The traits of a layer; none for a gzip-compressed tar archive or an artifact."""
    traits = _traits_of_media_type(media_type)
    if annotations:
        if _ESTARGZ in annotations:
            traits |= {LayerTrait.ESTARGZ}
        if any(key in annotations for key in _ZSTD_CHUNKED):
            traits |= {LayerTrait.ZSTD_CHUNKED}
    return traits


def _arguments(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(argument for argument in value if isinstance(argument, str))
    return ()


@functools.lru_cache(maxsize=256)  # few are in use; a hostile registry can send many
def _traits_of_media_type(media_type: str | None) -> frozenset[LayerTrait]:
    traits = set()
    name = essence(media_type) or ""
    if name.endswith(_ENCRYPTED):
        traits.add(LayerTrait.ENCRYPTED)
        name = name.removesuffix(_ENCRYPTED)
    if any(part in name for part in _NON_DISTRIBUTABLE):
        traits.add(LayerTrait.NON_DISTRIBUTABLE)
    if name.endswith(("+zstd", ".zstd")):
        traits.add(LayerTrait.ZSTD)
    elif name.endswith(_UNCOMPRESSED):
        traits.add(LayerTrait.UNCOMPRESSED)
    return frozenset(traits)
