"""What a manifest is: the one definition for children of an index and for tags."""

from __future__ import annotations

from typing import Any

import pytest

from auditor.model import ContentKind
from auditor.oci.content_kind import child_kind, index_kind, manifest_kind, tagged_kind
from auditor.oci.manifest import ImageIndex, ImageManifest, parse_manifest
from auditor.oci.platform import Platform, parse_platform
from tests import manifests
from tests.manifests import OCI_MANIFEST, descriptor, digest, raw

IMAGE, ATTACHMENT, ARTIFACT, UNKNOWN = (
    ContentKind.IMAGE,
    ContentKind.ATTACHMENT,
    ContentKind.ARTIFACT,
    ContentKind.UNKNOWN,
)
HEX = "a" * 64
LINUX = parse_platform("linux/amd64")
NOWHERE = Platform(os="unknown", architecture="unknown", variant=None, os_version=None)
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
HELM = "application/vnd.cncf.helm.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
GZIP_TAR = "application/vnd.oci.image.layer.v1.tar+gzip"


def marked(kind: str) -> dict[str, str]:
    return {
        "vnd.docker.reference.type": kind,
        "vnd.docker.reference.digest": digest("b"),
    }


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        # Decided by the manifest.
        ({"platform": {"os": "linux", "architecture": "amd64"}}, None),
        ({}, None),
        ({"mediaType": manifests.DOCKER_MANIFEST}, None),
        ({"mediaType": OCI_MANIFEST.upper() + "; charset=utf-8"}, None),  # RFC 9110
        ({"artifactType": "application/spdx+json"}, None),
        # BuildKit attestation-storage.md; buildx may write other reference types.
        ({"annotations": marked("attestation-manifest")}, ATTACHMENT),
        ({"annotations": marked("builder")}, ATTACHMENT),
        # "If any other value is specified, the entire manifest should be ignored"; only
        # "when present", the digest says of what.
        ({"annotations": {"vnd.docker.reference.type": "builder"}}, ATTACHMENT),
        ({"annotations": {"vnd.docker.reference.digest": digest("b")}}, None),
        ({"annotations": {"vnd.docker.reference.type": ""}}, None),
        (
            {
                "annotations": marked("builder"),
                "platform": {"os": "linux", "architecture": "amd64"},
            },
            ATTACHMENT,
        ),
        ({"platform": {"os": "unknown", "architecture": "unknown"}}, ATTACHMENT),
        # image-spec image-index.md: an unknown type "MUST NOT generate an error".
        ({"mediaType": "application/vnd.example.new.v3+json"}, UNKNOWN),
        ({"mediaType": GZIP_TAR}, UNKNOWN),
        (
            {
                "mediaType": "application/vnd.example.new.v3+json",
                "artifactType": "application/spdx+json",
            },
            ARTIFACT,
        ),
        ({"mediaType": OCI_ARTIFACT}, ARTIFACT),  # image-spec 1.1.0-rc2
        (
            {"mediaType": "application/vnd.cncf.oras.artifact.manifest.v1+json"},
            ARTIFACT,
        ),
    ],
)
def test_a_child_is_told_by_its_descriptor(
    fields: dict[str, Any], kind: ContentKind | None
) -> None:
    child = {"mediaType": OCI_MANIFEST, "digest": digest("1"), "size": 1} | fields
    index = parse_manifest(raw(manifests.index(manifests=[child])), None)
    assert isinstance(index, ImageIndex)
    assert child_kind(index.children[0]) is kind


def layers(*media_types: str) -> list[dict[str, Any]]:
    return [
        descriptor(str(number), mediaType=media_type)
        for number, media_type in enumerate(media_types)
    ]


@pytest.mark.parametrize(
    ("fields", "platform", "kind"),
    [
        ({}, LINUX, IMAGE),
        ({}, None, IMAGE),
        ({}, NOWHERE, IMAGE),  # a config that states no platform
        ({"layers": []}, LINUX, IMAGE),
        # cosign and BuildKit use the config of an image.
        ({"layers": layers(SIMPLE_SIGNING)}, None, ATTACHMENT),
        ({"layers": layers(IN_TOTO, IN_TOTO)}, NOWHERE, ATTACHMENT),
        # A proxy took "unknown/unknown" for a default platform.
        ({"layers": layers(IN_TOTO)}, LINUX, ATTACHMENT),
        ({"layers": layers("text/spdx")}, None, ATTACHMENT),
        ({"layers": layers(GZIP_TAR, IN_TOTO)}, LINUX, IMAGE),
        # manifest.md, "Guidelines for Artifact Usage".
        ({"config": descriptor("c", mediaType=HELM)}, None, ARTIFACT),
        ({"config": descriptor("c", mediaType=HELM)}, LINUX, ARTIFACT),
        ({"config": descriptor("c", mediaType=EMPTY)}, None, ARTIFACT),
        (
            {
                "config": descriptor("c", mediaType=EMPTY),
                "subject": descriptor("b", mediaType=OCI_MANIFEST),
            },
            None,
            ATTACHMENT,
        ),
        ({"artifactType": "application/x"}, None, ARTIFACT),
        ({"artifactType": "application/x"}, LINUX, IMAGE),  # containerd runs it
        ({"artifactType": manifests.OCI_CONFIG}, None, IMAGE),
        ({"subject": descriptor("b", mediaType=OCI_MANIFEST)}, LINUX, IMAGE),
        # distribution#1621: a registry that lost the config's media type.
        ({"config": descriptor("c", mediaType="application/octet-stream")}, LINUX,
         IMAGE),
        ({"config": descriptor("c", mediaType="application/octet-stream")}, None,
         ARTIFACT),
    ],
)  # fmt: skip
def test_a_manifest_is_told_by_config_layers_and_artifact_type(
    fields: dict[str, Any], platform: Platform | None, kind: ContentKind
) -> None:
    manifest = parse_manifest(raw(manifests.image(**fields)), None)
    assert isinstance(manifest, ImageManifest)
    assert manifest_kind(manifest, platform) is kind


def test_the_artifact_type_can_stand_in_the_descriptor_only() -> None:
    manifest = parse_manifest(raw(manifests.image()), None)
    assert isinstance(manifest, ImageManifest)
    assert manifest_kind(manifest, None, artifact_type="application/x") is ARTIFACT


def test_schema_1_is_an_image() -> None:
    manifest = parse_manifest(raw(manifests.schema1()), None)
    assert not isinstance(manifest, ImageIndex)
    assert manifest_kind(manifest, None) is IMAGE


@pytest.mark.parametrize(
    ("children", "subject", "kind"),
    [
        ({IMAGE, ATTACHMENT, ARTIFACT, UNKNOWN}, None, IMAGE),
        ({ARTIFACT, ATTACHMENT}, None, ARTIFACT),
        ({ARTIFACT}, digest("b"), ATTACHMENT),
        ({IMAGE}, digest("b"), IMAGE),
        ({ATTACHMENT, UNKNOWN}, None, ATTACHMENT),
        ({UNKNOWN}, None, UNKNOWN),
        (set(), None, UNKNOWN),
    ],
)
def test_an_index_is_what_its_children_are(
    children: set[ContentKind], subject: str | None, kind: ContentKind
) -> None:
    assert index_kind(children, subject=subject) is kind


@pytest.mark.parametrize(
    ("tag", "found", "kind"),
    [
        (None, IMAGE, IMAGE),
        ("1.0", IMAGE, IMAGE),
        ("1.0", ARTIFACT, ARTIFACT),
        ("1.0.sig", ARTIFACT, ARTIFACT),
        (f"sha256-{HEX}.sig", IMAGE, ATTACHMENT),  # a signature without layers
        (f"sha256-{HEX}.sig", ATTACHMENT, ATTACHMENT),
        (f"sha256-{HEX}.src", IMAGE, ATTACHMENT),  # a source image
        (f"sha256-{HEX}", ARTIFACT, ATTACHMENT),  # referrers, fallback tag
        (f"sha256-{HEX}", UNKNOWN, ATTACHMENT),
        (f"sha512-{HEX * 2}", ARTIFACT, ATTACHMENT),
        (f"sha256-{HEX}", IMAGE, IMAGE),  # an image that is kept by its digest
        (f"sha256-{HEX}.imgpkg", IMAGE, IMAGE),  # imgpkg names copies so
        (f"sha256-{HEX[:-1]}.sig", IMAGE, IMAGE),  # no digest
    ],
)
def test_a_digest_tag_names_an_attachment(
    tag: str | None, found: ContentKind, kind: ContentKind
) -> None:
    assert tagged_kind(found, tag) is kind
