"""Image configs (OCI image-spec config.md; Docker image specification v1.2)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from auditor.fast_dataclass import dataclass
from auditor.model import LayerTrait
from auditor.oci.descriptor import essence
from auditor.oci.encoding import parse_json_object
from auditor.oci.platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an inventory needs of a config; the environment is left out on purpose,
    it often holds secrets. `created` is RFC 3339 as it stands there."""

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


def parse_image_config(raw: bytes) -> ImageConfig:
    """The facts of a config blob, or `ProtocolError` where it is not a JSON object."""
    document = parse_json_object(raw, "image config")
    inner = document.get("config")
    runtime: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    ports = runtime.get("ExposedPorts")
    labels = runtime.get("Labels")
    history = document.get("history")
    return ImageConfig(
        platform=Platform(
            os=_text(document.get("os")),
            architecture=_text(document.get("architecture")),
            variant=_text(document.get("variant")),
            os_version=_text(document.get("os.version")),
        ),
        created=_text(document.get("created")),
        author=_text(document.get("author")),
        user=_text(runtime.get("User")),
        working_directory=_text(runtime.get("WorkingDir")),
        entrypoint=_words(runtime.get("Entrypoint")),
        command=_words(runtime.get("Cmd")),
        exposed_ports=tuple(sorted(ports)) if isinstance(ports, dict) else (),
        labels={key: text for key, text in labels.items() if isinstance(text, str)}
        if isinstance(labels, dict)
        else {},
        history_length=len(history) if isinstance(history, list) else 0,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(word for word in value if isinstance(word, str))
    return ()


# -- layer_traits --
# What layers are, by their media types and annotations.
#
# Sources: OCI image-spec layer.md and media-types.md; Docker image manifest v2 schema 2;
# stargz-snapshotter docs/estargz.md; ocicrypt's `+encrypted` suffix; containers/storage
# pkg/chunked (zstd:chunked).

_ESTARGZ = "containerd.io/snapshot/stargz/toc.digest"
_ZSTD_CHUNKED = (
    "io.github.containers.zstd-chunked.manifest-checksum",
    "io.containers.zstd-chunked.manifest-checksum",
)
_ENCRYPTED = "+encrypted"
_NON_DISTRIBUTABLE = ("layer.nondistributable.", "image.rootfs.foreign.")
# Tar archives as they are: the types of OCI and of Docker end so.
_UNCOMPRESSED = (".tar", "/tar")


def layer_traits(
    media_type: str | None, annotations: Mapping[str, str]
) -> frozenset[LayerTrait]:
    """The traits of one layer. A tar archive in gzip has none, nor has a chart."""
    found = _by_media_type(media_type)
    if annotations:
        if _ESTARGZ in annotations:
            found |= {LayerTrait.ESTARGZ}
        if any(key in annotations for key in _ZSTD_CHUNKED):
            found |= {LayerTrait.ZSTD_CHUNKED}
    return found


@functools.lru_cache(maxsize=256)  # a registry has a handful; a hostile one, many
def _by_media_type(media_type: str | None) -> frozenset[LayerTrait]:
    found = set()
    name = essence(media_type) or ""
    if name.endswith(_ENCRYPTED):
        found.add(LayerTrait.ENCRYPTED)
        name = name.removesuffix(_ENCRYPTED)
    if any(part in name for part in _NON_DISTRIBUTABLE):
        found.add(LayerTrait.NON_DISTRIBUTABLE)
    if name.endswith(("+zstd", ".zstd")):
        found.add(LayerTrait.ZSTD)
    elif name.endswith(_UNCOMPRESSED):
        found.add(LayerTrait.UNCOMPRESSED)
    return frozenset(found)
