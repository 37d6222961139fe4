"""Manifests of all kinds, valid and malformed."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.errors import FailureKind, ProtocolError
from auditor.oci.manifest import ImageIndex, ImageManifest, Manifest, parse_manifest
from auditor.oci.platform import Platform
from auditor.oci.schema1 import Schema1Manifest
from tests.manifests import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    SCHEMA1,
    SIGNED_SCHEMA1,
    child,
    descriptor,
    digest,
    image,
    index,
    raw,
    schema1,
    without,
)

VIOLATION = FailureKind.PROTOCOL_VIOLATION
AMBIGUOUS = FailureKind.AMBIGUOUS_DOCUMENT
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
ORAS_ARTIFACT = "application/vnd.cncf.oras.artifact.manifest.v1+json"
TYPE, ABOUT = "vnd.docker.reference.type", "vnd.docker.reference.digest"
UNSUPPORTED = FailureKind.UNSUPPORTED_MEDIA_TYPE


def read(document: object, content_type: str | None = None) -> Manifest:
    return parse_manifest(raw(document), content_type)


def read_image(**more: Any) -> ImageManifest:
    found = read(image(**more))
    assert isinstance(found, ImageManifest)
    return found


def read_index(**more: Any) -> ImageIndex:
    found = read(index(**more))
    assert isinstance(found, ImageIndex)
    return found


def refusal(document: object, content_type: str | None = None) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        read(document, content_type)
    assert caught.value.detail.isprintable()
    return caught.value


# -- kinds ----------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "content_type", "kind", "media_type"),
    [
        (image(), OCI_MANIFEST, ImageManifest, OCI_MANIFEST),
        (image(), None, ImageManifest, OCI_MANIFEST),
        (image(), "text/plain; charset=utf-8", ImageManifest, OCI_MANIFEST),
        (image(), "application/octet-stream", ImageManifest, OCI_MANIFEST),
        (image(), "text/html", ImageManifest, OCI_MANIFEST),
        (image(), OCI_INDEX, ImageManifest, OCI_MANIFEST),
        (image(mediaType=DOCKER_MANIFEST), None, ImageManifest, DOCKER_MANIFEST),
        (without(image(), "mediaType"), None, ImageManifest, OCI_MANIFEST),
        (
            without(image(), "mediaType"),
            DOCKER_MANIFEST,
            ImageManifest,
            DOCKER_MANIFEST,
        ),
        (
            without(image(), "mediaType"),
            DOCKER_MANIFEST.upper() + " ; q=1",
            ImageManifest,
            DOCKER_MANIFEST,
        ),
        (image(mediaType=""), DOCKER_MANIFEST, ImageManifest, DOCKER_MANIFEST),
        (image(mediaType=None), "application/json", ImageManifest, OCI_MANIFEST),
        (index(), OCI_INDEX, ImageIndex, OCI_INDEX),
        (index(mediaType=DOCKER_LIST), OCI_MANIFEST, ImageIndex, DOCKER_LIST),
        (without(index(), "mediaType"), None, ImageIndex, OCI_INDEX),
        (without(index(), "mediaType"), DOCKER_LIST, ImageIndex, DOCKER_LIST),
        (index(manifests=None), None, ImageIndex, OCI_INDEX),
        (index(manifests=[]), None, ImageIndex, OCI_INDEX),
        (index(layers=None, config=None), None, ImageIndex, OCI_INDEX),
        (image(fsLayers=None), None, ImageManifest, OCI_MANIFEST),
        (schema1(), SCHEMA1, Schema1Manifest, None),
        (schema1(), SIGNED_SCHEMA1, Schema1Manifest, None),
        (schema1(), "application/json", Schema1Manifest, None),
        (schema1(mediaType=SCHEMA1), None, Schema1Manifest, None),
        (schema1(signatures=[]), None, Schema1Manifest, None),
    ],
)
def test_the_media_type_of_the_document_overrides_the_header(
    document: object, content_type: str | None, kind: type, media_type: str | None
) -> None:
    found = read(document, content_type)
    assert type(found) is kind
    assert getattr(found, "media_type", None) == media_type


@pytest.mark.parametrize(
    ("document", "content_type", "kind", "word"),
    [
        # CVE-2021-41190: both an index and an image
        (image(manifests=[]), None, AMBIGUOUS, '"manifests" and "layers"'),
        (index(layers=[]), None, AMBIGUOUS, '"manifests" and "layers"'),
        (index(config={}), None, AMBIGUOUS, '"manifests" and "config"'),
        (image(fsLayers=[]), None, AMBIGUOUS, '"layers" and "fsLayers"'),
        (index(fsLayers=[]), None, AMBIGUOUS, '"manifests" and "fsLayers"'),
        (schema1(layers=[]), None, AMBIGUOUS, '"layers" and "fsLayers"'),
        (schema1(manifests=[]), None, AMBIGUOUS, '"manifests" and "fsLayers"'),
        # a mediaType of another kind
        (image(mediaType=OCI_INDEX), None, AMBIGUOUS, OCI_INDEX),
        (image(mediaType=DOCKER_LIST), None, AMBIGUOUS, DOCKER_LIST),
        (index(mediaType=OCI_MANIFEST), None, AMBIGUOUS, OCI_MANIFEST),
        (index(mediaType=DOCKER_MANIFEST), None, AMBIGUOUS, DOCKER_MANIFEST),
        (without(image(), "mediaType"), OCI_INDEX, AMBIGUOUS, OCI_INDEX),
        (without(index(), "mediaType"), OCI_MANIFEST, AMBIGUOUS, OCI_MANIFEST),
        (schema1(mediaType=OCI_MANIFEST), None, AMBIGUOUS, "schemaVersion is 1"),
        (image(schemaVersion=1), None, AMBIGUOUS, "schemaVersion is 1"),
        (without(index(), "manifests"), None, VIOLATION, OCI_INDEX),
        # unsupported types
        (image(mediaType="application/x"), None, UNSUPPORTED, "application/x"),
        (image(mediaType=SCHEMA1), None, UNSUPPORTED, "v1+json"),
        (schema1(schemaVersion=2, mediaType=SCHEMA1), None, UNSUPPORTED, "v1+json"),
        (image(mediaType="application/\x1b[1m"), None, UNSUPPORTED, r"\x1b"),
        (image(mediaType=7), None, VIOLATION, "mediaType"),
        (image(mediaType=["x"]), None, VIOLATION, "mediaType"),
        # schemaVersion
        (without(image(), "schemaVersion"), None, VIOLATION, "no schemaVersion"),
        (image(schemaVersion=0), None, VIOLATION, "schemaVersion is 0"),
        (image(schemaVersion=3), None, VIOLATION, "schemaVersion is 3"),
        (image(schemaVersion="2"), None, VIOLATION, "schemaVersion is '2'"),
        (image(schemaVersion=2.0), None, VIOLATION, "schemaVersion is 2.0"),
        (image(schemaVersion=True), None, VIOLATION, "schemaVersion is True"),
        (schema1(schemaVersion=True), None, VIOLATION, "schemaVersion is True"),
        (image(schemaVersion=[]), None, VIOLATION, r"schemaVersion is \[\]"),
        (image(schemaVersion={"a": 1}), None, VIOLATION, "schemaVersion is"),
        ({}, None, VIOLATION, "no schemaVersion"),
        ({"errors": [{"code": "X"}]}, None, VIOLATION, "no schemaVersion"),
        ({"errors": []}, "application/json", VIOLATION, "no schemaVersion"),
        # Types that have no schemaVersion: image-spec 1.1.0-rc2 artifact.md, ORAS.
        ({"mediaType": OCI_ARTIFACT, "blobs": []}, None, UNSUPPORTED, OCI_ARTIFACT),
        ({"mediaType": OCI_ARTIFACT}, "application/json", UNSUPPORTED, OCI_ARTIFACT),
        ({"blobs": []}, OCI_ARTIFACT, UNSUPPORTED, OCI_ARTIFACT),
        ({"mediaType": ORAS_ARTIFACT, "blobs": []}, None, UNSUPPORTED, ORAS_ARTIFACT),
        (image(mediaType=OCI_ARTIFACT), OCI_MANIFEST, UNSUPPORTED, OCI_ARTIFACT),
        ({"schemaVersion": 2}, None, VIOLATION, "config"),
        # keys in another case
        (image(Layers=[]), None, AMBIGUOUS, "Layers"),
        (image(MediaType=OCI_INDEX), None, AMBIGUOUS, "MediaType"),
        (image(SchemaVersion=1), None, AMBIGUOUS, "SchemaVersion"),
        (schema1(FSLayers=[]), None, AMBIGUOUS, "FSLayers"),
    ],
)  # fmt: skip
def test_a_document_of_no_kind_or_two_kinds_is_refused(
    document: object, content_type: str | None, kind: FailureKind, word: str
) -> None:
    error = refusal(document, content_type)
    assert error.kind is kind
    assert word.replace("\\", "") in error.detail.replace("\\", "")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!DOCTYPE html><html></html>", None),
        (b"<html>", "text/html; charset=utf-8"),
        (b"\n  <html>", "application/json"),
        (b"Sign in", "text/html"),
        (b"", "text/html"),
        (b"<?xml version='1.0'?><Error/>", "application/xml"),
    ],
)
def test_an_html_page_is_reported_as_one(body: bytes, content_type: str | None) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_manifest(body, content_type)
    assert caught.value.kind is VIOLATION
    assert "HTML page" in caught.value.detail


@pytest.mark.parametrize("body", [b"", b"404 page not found", b"[]", b"null", b"{"])
def test_a_manifest_that_is_not_json_is_a_protocol_violation(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_manifest(body, OCI_MANIFEST)
    assert caught.value.kind is VIOLATION


def test_a_duplicate_key_is_ambiguous() -> None:
    body = raw(image())[:-1] + b',"layers":[]}'
    with pytest.raises(ProtocolError) as caught:
        parse_manifest(body, None)
    assert caught.value.kind is AMBIGUOUS


# -- descriptors ---------------------------------------------------------------


BAD_DIGESTS: list[object] = [
    None, "", 7, "abc", digest("a")[:-1], digest("a") + "a", digest("A"), digest("g"),
    digest("a") + "\n", "md5:", "app:1", "md5:" + "a" * 31,
    "MD5:" + "a" * 32, "blake3:../" + "a" * 32, "blake3:" + "a" * 32 + "?b",
    "blake3:" + "a" * 249, "a..b:c", "sha256:../../x", "sha512:" + "a" * 64,
    [digest("a")],
]  # fmt: skip
BAD_SIZES: list[object] = [
    None, True, False, -1, 2**63, 2**64 - 1, 2**64, 1.0, "100", [],
]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        None,
        "sha256:abc",
        7,
        [],
        {},
        without(descriptor(), "digest"),
        without(descriptor(), "size"),
        *(descriptor(digest=bad) for bad in BAD_DIGESTS),
        *(descriptor(size=bad) for bad in BAD_SIZES),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["config", "layer", "child", "subject"])
def test_an_invalid_descriptor_is_a_violation_with_its_position(
    value: object, where: str
) -> None:
    place, document = {
        "config": ("config", image(config=value)),
        "layer": ("layers[1]", image(layers=[descriptor(), value])),
        "child": ("manifests[0]", index(manifests=[value])),
        "subject": ("subject", image(subject=value)),
    }[where]
    if where == "subject" and value is None:
        assert read(document).subject is None  # type: ignore[union-attr]
        return
    error = refusal(document)
    assert error.kind is VIOLATION
    assert f"the manifest's {place} " in error.detail


@pytest.mark.parametrize("size", [0, 1, 2**53 + 1, 2**63 - 1])
def test_a_size_is_a_non_negative_int64(size: int) -> None:
    assert read_image(layers=[descriptor(size=size)]).layers[0].size == size


@pytest.mark.parametrize(
    ("given", "is_verifiable"),
    [
        ("sha384:" + "a" * 96, True),
        ("sha512:" + "a" * 128, True),
        ("blake3:" + "a" * 64, False),  # registered since image-spec 1.1.1
        # descriptor.md: unrecognized algorithms "SHOULD" pass the grammar
        ("md5:" + "a" * 32, False),
        ("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", False),
        ("sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", False),
        ("blake3:" + "a" * 248, False),
    ],
)
def test_digests_of_all_algorithms_are_accepted(
    given: str, is_verifiable: bool
) -> None:
    found = read_image(layers=[descriptor(digest=given)]).layers[0]
    assert (found.digest, found.is_verifiable) == (given, is_verifiable)


@pytest.mark.parametrize(
    "document",
    [
        image(layers=[descriptor(Digest=digest("b"))]),
        image(config=descriptor(SIZE=1)),
        image(subject=descriptor(mediatype="x")),
        index(manifests=[child("1", Platform={})]),
        index(manifests=[child("1", Annotations={})]),
        index(manifests=[child("1", platform={"os": "linux", "OS": "windows"})]),
    ],
)
def test_a_descriptors_key_in_another_case_is_ambiguous(document: object) -> None:
    assert refusal(document).kind is AMBIGUOUS


@pytest.mark.parametrize("value", [{}, "text", 7, True])
@pytest.mark.parametrize("key", ["layers", "manifests"])
def test_a_value_that_is_not_a_list_is_a_violation(key: str, value: object) -> None:
    document = image(layers=value) if key == "layers" else index(manifests=value)
    error = refusal(document)
    assert error.kind is VIOLATION
    assert f'"{key}"' in error.detail


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"a": "b"}, {"a": "b"}),
        ({"a": 1, "b": None, "c": "d"}, {"c": "d"}),
        (None, {}),
        ([], {}),
        ("text", {}),
    ],
)
def test_annotations_that_are_not_strings_are_left_out(
    annotations: object, expected: dict[str, str]
) -> None:
    assert read_image(annotations=annotations).annotations == expected
    assert read_index(annotations=annotations).annotations == expected
    layer = descriptor(annotations=annotations)
    assert read_image(layers=[layer]).layers[0].annotations == expected


@pytest.mark.parametrize(
    ("urls", "expected"),
    [(["https://example.com/layer"], True), ([], False), (None, False), ("x", True)],
)
def test_layers_with_urls_are_marked(urls: object, expected: bool) -> None:
    assert read_image(layers=[descriptor(urls=urls)]).layers[0].has_urls is expected


# -- images and artifacts ------------------------------------------------------


def test_layers_are_in_document_order_base_first() -> None:
    found = read_image()
    assert [layer.digest for layer in found.layers] == [digest("1"), digest("2")]
    assert [layer.size for layer in found.layers] == [100, 200]
    assert [layer.media_type for layer in found.layers] == [OCI_LAYER, OCI_LAYER]
    assert found.config.digest == digest("c")


@pytest.mark.parametrize("layers", [None, []])
def test_an_image_can_have_no_layers(layers: object) -> None:
    assert read_image(layers=layers).layers == ()
    assert read(without(image(), "layers")).layers == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("media_type", "config_type", "artifact_type", "is_image", "expected_type"),
    [
        (OCI_MANIFEST, OCI_CONFIG, None, True, None),
        (DOCKER_MANIFEST, DOCKER_CONFIG, None, True, None),
        (OCI_MANIFEST, DOCKER_CONFIG, None, True, None),
        (OCI_MANIFEST, OCI_CONFIG, "application/x", True, "application/x"),
        (OCI_MANIFEST, "application/x", None, False, "application/x"),
        (OCI_MANIFEST, "application/x", "application/y", False, "application/y"),
        (OCI_MANIFEST, "application/octet-stream", None, False,
         "application/octet-stream"),
        (OCI_MANIFEST, "application/vnd.oci.empty.v1+json", "application/y", False,
         "application/y"),
        (OCI_MANIFEST, "application/vnd.cncf.helm.config.v1+json", None, False,
         "application/vnd.cncf.helm.config.v1+json"),
        (OCI_MANIFEST, "application/vnd.wasm.config.v0+json", None, False,
         "application/vnd.wasm.config.v0+json"),
        (OCI_MANIFEST, "application/vnd.unknown.config.v1+json", None, False,
         "application/vnd.unknown.config.v1+json"),  # ORAS without a type
        (OCI_MANIFEST, None, None, False, None),
        (OCI_MANIFEST, 7, "", False, None),
        # distribution issue 1621: registries that lost the config's type
        (DOCKER_MANIFEST, "application/octet-stream", None, True, None),
        (DOCKER_MANIFEST, "application/json", None, True, None),
        (DOCKER_MANIFEST, "text/html", None, True, None),
        (DOCKER_MANIFEST, "", None, True, None),
        (DOCKER_MANIFEST, "application/vnd.docker.plugin.v1+json", None, False,
         "application/vnd.docker.plugin.v1+json"),
    ],
)  # fmt: skip
def test_the_config_type_distinguishes_images_and_artifacts(
    media_type: str,
    config_type: object,
    artifact_type: str | None,
    is_image: bool,
    expected_type: str | None,
) -> None:
    found = read_image(
        mediaType=media_type,
        config=descriptor("c", mediaType=config_type),
        artifactType=artifact_type,
    )
    assert found.has_image_config is is_image
    assert found.artifact_type == expected_type


def test_a_subject_is_its_digest() -> None:
    assert read_image().subject is None
    assert read_image(subject=descriptor("d")).subject == digest("d")
    assert read_index(subject=descriptor("d")).subject == digest("d")


# -- indexes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"os": "linux", "architecture": "amd64"}, ("linux", "amd64", None, None)),
        (
            {"os": "linux", "architecture": "arm", "variant": "v7"},
            ("linux", "arm", "v7", None),
        ),
        (
            {"os": "windows", "architecture": "amd64", "os.version": "10.0.1",
             "os.features": ["win32k"], "features": ["sse4"]},
            ("windows", "amd64", None, "10.0.1"),
        ),
        ({"os": "unknown", "architecture": "unknown"},
         ("unknown", "unknown", None, None)),
        ({"os": "linux", "architecture": "amd64", "variant": ""},
         ("linux", "amd64", None, None)),
        ({"os": "linux", "architecture": "amd64", "variant": 7},
         ("linux", "amd64", None, None)),
        (None, None),
        ({}, None),
        ([], None),
        ("linux/amd64", None),
        ({"os": "linux"}, None),
        ({"architecture": "amd64"}, None),
        ({"os": "", "architecture": ""}, None),
        ({"os": None, "architecture": "amd64"}, None),
    ],
)  # fmt: skip
def test_a_platform_without_os_or_architecture_is_none(
    platform: object, expected: tuple[str | None, ...] | None
) -> None:
    found = read_index(manifests=[child("1", platform=platform)]).children[0].platform
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert expected == (
            found.os, found.architecture, found.variant, found.os_version,
        )  # fmt: skip


def test_a_platform_can_be_absent() -> None:
    manifests = [without(child("1"), "platform")]
    assert read_index(manifests=manifests).children[0].platform is None


@pytest.mark.parametrize(
    ("os", "architecture", "real"),
    [
        ("linux", "amd64", True),
        ("unknown", "unknown", False),
        ("linux", "unknown", False),
        ("unknown", "amd64", False),
        (None, None, False),
        ("", "amd64", False),
    ],
)
def test_unknown_is_not_a_real_platform(
    os: str | None, architecture: str | None, real: bool
) -> None:
    spec = Platform(os=os, architecture=architecture, variant=None, os_version=None)
    assert spec.is_real is real


def test_an_index_can_contain_indexes_and_duplicate_children() -> None:
    nested = descriptor("9", mediaType=OCI_INDEX)
    found = read_index(manifests=[nested, child("1"), child("1")])
    assert [entry.media_type for entry in found.children] == [
        OCI_INDEX,
        OCI_MANIFEST,
        OCI_MANIFEST,
    ]


@pytest.mark.parametrize(
    ("annotations", "is_attestation", "about"),
    [
        ({TYPE: "attestation-manifest", ABOUT: digest("1")}, True, digest("1")),
        ({TYPE: "attestation-manifest"}, True, None),
        ({TYPE: "attestation-manifest", ABOUT: ""}, True, None),
        ({TYPE: "builder", ABOUT: digest("1")}, False, digest("1")),
        ({TYPE: "other"}, False, None),
        ({ABOUT: digest("1")}, False, None),
        ({}, False, None),
    ],
)
def test_annotations_name_the_child_that_another_is_about(
    annotations: dict[str, str], is_attestation: bool, about: str | None
) -> None:
    manifests = [
        child("1", os="unknown", architecture="unknown", annotations=annotations)
    ]
    (found,) = read_index(manifests=manifests).children
    assert (found.is_attestation, found.reference_digest) == (is_attestation, about)


def test_a_duplicate_attestation_annotation_is_ambiguous() -> None:
    mark = b'"vnd.docker.reference.type":"x"'
    manifests = [child("1", annotations={})]
    body = raw(index(manifests=manifests)).replace(
        b'"annotations": {}', b'"annotations": {' + mark + b"," + mark + b"}"
    )
    with pytest.raises(ProtocolError) as caught:
        parse_manifest(body, None)
    assert caught.value.kind is AMBIGUOUS


def test_an_index_can_have_an_artifact_type() -> None:
    assert read_index(artifactType="application/x").artifact_type == "application/x"
    assert read_index(artifactType=7).artifact_type is None


def test_an_index_can_have_thousands_of_children() -> None:
    manifests = [child("1") | {"digest": f"sha256:{n:064x}"} for n in range(5000)]
    assert len(read_index(manifests=manifests).children) == 5000
