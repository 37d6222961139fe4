"""What layers are, by their media types and annotations.

Sources: OCI image-spec layer.md and media-types.md; Docker image manifest v2 schema 2;
stargz-snapshotter docs/estargz.md; ocicrypt's `+encrypted` suffix; containers/storage
pkg/chunked (zstd:chunked).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from auditor.model import LayerTrait
from auditor.protocol.media_types import essence

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
