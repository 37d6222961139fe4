"""Image configs and layer traits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.model import LayerTrait
from auditor.oci.image_config import ImageConfig, layer_traits, parse_image_config
from auditor.oci.platform import Platform
from tests.manifests import raw

FULL: dict[str, Any] = {
    "created": "2026-08-05T10:00:00Z",
    "author": "somebody",
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "os.version": "1.2",
    "config": {
        "User": "app",
        "WorkingDir": "/srv",
        "Entrypoint": ["/bin/app"],
        "Cmd": ["--serve", "80"],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
        "Env": ["PASSWORD=hunter2"],
        "Labels": {"a": "b", "n": 1},
    },
    "history": [{}, {}, {}],
    "rootfs": {"type": "layers", "diff_ids": []},
}


def test_the_fields_of_a_config() -> None:
    assert parse_image_config(raw(FULL)) == ImageConfig(
        platform=Platform(
            os="linux", architecture="arm64", variant="v8", os_version="1.2"
        ),
        created="2026-08-05T10:00:00Z",
        author="somebody",
        user="app",
        working_directory="/srv",
        entrypoint=("/bin/app",),
        command=("--serve", "80"),
        exposed_ports=("443/tcp", "80/tcp"),
        labels={"a": "b"},
        history_length=3,
    )


def test_the_environment_is_left_out_because_it_contains_secrets() -> None:
    assert "hunter2" not in repr(parse_image_config(raw(FULL)))


NOTHING = parse_image_config(b"{}")


def test_an_empty_config_has_no_values() -> None:
    assert (
        ImageConfig(
            platform=Platform(
                os=None, architecture=None, variant=None, os_version=None
            ),
            created=None,
            author=None,
            user=None,
            working_directory=None,
            entrypoint=(),
            command=(),
            exposed_ports=(),
            labels={},
            history_length=0,
        )
        == NOTHING
    )


@pytest.mark.parametrize("value", [None, 7, True, 1.5, "", [], {}, [[]], [{}], [None]])
@pytest.mark.parametrize(
    "place", sorted(FULL.keys() - {"config", "rootfs"} | {"config"})
)
def test_a_field_of_the_wrong_type_is_ignored(place: str, value: object) -> None:
    found = dataclasses.replace(
        parse_image_config(raw({place: value})), history_length=0
    )
    assert found == NOTHING


@pytest.mark.parametrize("value", [None, 7, True, "", [], {}, [7], [None]])
@pytest.mark.parametrize("place", sorted(FULL["config"]))
def test_a_runtime_field_of_the_wrong_type_is_ignored(
    place: str, value: object
) -> None:
    found = parse_image_config(raw({"config": {place: value}}))
    assert dataclasses.replace(found, entrypoint=(), command=()) == NOTHING
    assert all(isinstance(word, str) for word in found.entrypoint + found.command)


@pytest.mark.parametrize("key", ["Entrypoint", "Cmd"])
def test_a_command_in_shell_form_is_one_argument(key: str) -> None:
    found = parse_image_config(raw({"config": {key: "run me"}}))
    assert (found.entrypoint or found.command) == ("run me",)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "not JSON"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b"\x1f\x8b", "not JSON"),
        ('{"author":"J\xf6rg","os":"linux"}'.encode("latin-1"), "not JSON"),
        ('{"os":"linux"}'.encode("utf-16"), "not JSON"),
        (b'{"os":"linux","os":"linux"}', '"os"'),
        (b'{"architecture":"a","architecture":"b"}', '"architecture"'),
        (b'{"config":{"Labels":{"name":"a","name":"b"}}}', '"name"'),
        # Readers in Go take the last one, whatever its case.
        (b'{"os":"linux","OS":"windows"}', '"OS"'),
        (b'{"Architecture":"arm64"}', '"Architecture"'),
        ('{"o\u017f":"windows","os":"linux"}'.encode(), "which some parsers read"),
    ],
)
def test_a_config_without_one_meaning_has_a_problem_and_no_fields(
    body: bytes, word: str
) -> None:
    found = parse_image_config(body)
    assert word in (found.problem or "")
    assert "image config" in (found.problem or "")
    assert dataclasses.replace(found, problem=None) == NOTHING


def test_other_keys_of_a_config_may_have_any_case() -> None:
    # Docker wrote the size of old images so.
    found = parse_image_config(b'{"os":"linux","Size":1,"ID":"","Config":null}')
    assert (found.problem, found.platform.os) == (None, "linux")


# -- layer traits --

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
def test_the_media_type_determines_the_traits_of_a_layer(
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
def test_annotations_mark_layers_with_partial_reads(
    media_type: str, annotations: dict[str, str], traits: set[LayerTrait]
) -> None:
    assert layer_traits(media_type, annotations) == traits
    assert layer_traits(media_type, {}) == traits - {
        LayerTrait.ESTARGZ,
        LayerTrait.ZSTD_CHUNKED,
    }


@given(st.none() | st.text(), st.dictionaries(st.text(), st.text(), max_size=2))
def test_any_media_type_has_traits_or_none(
    media_type: str | None, annotations: dict[str, str]
) -> None:
    assert layer_traits(media_type, annotations) <= set(LayerTrait)
