"""What layers are, by their media types and annotations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model import LayerTrait
from auditor.oci.image_config import layer_traits

OCI = "application/vnd.oci.image.layer"
DOCKER = "application/vnd.docker.image.rootfs"
STARGZ = {"containerd.io/snapshot/stargz/toc.digest": "sha256:1"}
CHUNKED = {"io.github.containers.zstd-chunked.manifest-checksum": "sha256:1"}
U, Z, E, N = (
    LayerTrait.UNCOMPRESSED,
    LayerTrait.ZSTD,
    LayerTrait.ENCRYPTED,
    LayerTrait.NON_DISTRIBUTABLE,
)


@pytest.mark.parametrize(
    ("media_type", "traits"),
    [
        (None, set()),
        (f"{OCI}.v1.tar+gzip", set()),
        (f"{DOCKER}.diff.tar.gzip", set()),
        (f"{OCI}.v1.tar", {U}),
        (f"{DOCKER}.diff.tar", {U}),
        ("application/tar", {U}),
        (f"{OCI}.v1.tar+zstd", {Z}),
        (f"{OCI}.v1.TAR+ZSTD; charset=x", {Z}),
        (f"{DOCKER}.diff.tar.zstd", {Z}),
        (f"{OCI}.nondistributable.v1.tar", {N, U}),
        (f"{OCI}.nondistributable.v1.tar+gzip", {N}),
        (f"{OCI}.nondistributable.v1.tar+zstd", {N, Z}),
        (f"{DOCKER}.foreign.diff.tar.gzip", {N}),
        (f"{OCI}.v1.tar+gzip+encrypted", {E}),
        (f"{OCI}.v1.tar+zstd+encrypted", {E, Z}),
        (f"{OCI}.v1.tar+encrypted", {E, U}),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", set()),
        ("application/wasm", set()),
        ("application/spdx+json", set()),
    ],
)
def test_a_media_type_says_what_a_layer_is(
    media_type: str | None, traits: set[LayerTrait]
) -> None:
    assert layer_traits(media_type, {}) == traits


@pytest.mark.parametrize(
    ("media_type", "annotations", "traits"),
    [
        (f"{OCI}.v1.tar+gzip", STARGZ, {LayerTrait.ESTARGZ}),
        (f"{OCI}.v1.tar+zstd", CHUNKED, {Z, LayerTrait.ZSTD_CHUNKED}),
        (f"{OCI}.v1.tar+gzip", {"org.example": "x"}, set()),
    ],
)
def test_annotations_say_that_a_layer_can_be_read_in_parts(
    media_type: str, annotations: dict[str, str], traits: set[LayerTrait]
) -> None:
    assert layer_traits(media_type, annotations) == traits
    assert layer_traits(media_type, {}) == traits - {
        LayerTrait.ESTARGZ,
        LayerTrait.ZSTD_CHUNKED,
    }


@given(st.none() | st.text(), st.dictionaries(st.text(), st.text(), max_size=2))
def test_any_text_is_a_media_type(
    media_type: str | None, annotations: dict[str, str]
) -> None:
    assert layer_traits(media_type, annotations) <= set(LayerTrait)
