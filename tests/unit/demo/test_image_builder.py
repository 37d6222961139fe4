"""The generators: their bytes against the specifications, their truth against both."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import Any

import jwt
import pytest

from auditor.demo.artifact_builder import HELM_CONFIG, SPDX, artifact, helm_chart
from auditor.demo.demo_images import (
    OFFICIAL,
    demo_images,
    official_images,
    official_repositories,
)
from auditor.demo.demo_tokens import SigningKey
from auditor.demo.image_builder import (
    BuiltImage,
    Family,
    PlacedImage,
    image,
    index,
    layer,
)
from auditor.demo.schema1_builder import schema1_image
from auditor.model import AttachmentKind
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1
from auditor.oci.sbom import parse_sbom
from auditor.oci.schema1 import EMPTY_LAYER
from tests.support.expected import (
    expected_architectures,
    expected_size,
    visible_content,
)

KEY = SigningKey.from_seed("tests")
AMD64 = image("app", platform="linux/amd64")
ARM = image("app", platform="linux/arm/v7")
EVERY_KIND = {
    "oci manifest": AMD64,
    "docker manifest": image("app", family=Family.DOCKER),
    "oci index": index([AMD64, ARM]),
    "docker list": index([image("app", family=Family.DOCKER)], family=Family.DOCKER),
    "nested index": index([index([AMD64]), ARM]),
    "attested index": index([AMD64, ARM], attested=True),
    "helm chart": helm_chart("app"),
    "artifact": artifact("app", subject=AMD64.root),
    "schema 1": schema1_image("team/app", "1"),
    "signed schema 1": schema1_image("team/app", "1", keys=[KEY]),
}
every_kind = pytest.mark.parametrize(
    "built", EVERY_KIND.values(), ids=EVERY_KIND.keys()
)


def _document(built: BuiltImage) -> Any:
    return json.loads(built.root.raw)


def _from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@every_kind
def test_digests_are_those_of_the_payload(built: BuiltImage) -> None:
    for part, content in [
        *((one.digest, one.payload) for one in built.manifests),
        *((one.digest, one.content) for one in built.blobs),
    ]:
        assert part == "sha256:" + hashlib.sha256(content).hexdigest()
    assert built.content.digest == built.root.digest
    assert built.content.media_type == built.root.media_type


@every_kind
def test_every_descriptor_refers_to_something_built(built: BuiltImage) -> None:
    sizes = {one.digest: len(one.payload) for one in built.manifests}
    sizes |= {one.digest: len(one.content) for one in built.blobs}
    for manifest in built.manifests:
        document = json.loads(manifest.raw)
        named = [*document.get("manifests", ())]
        if "config" in document:
            named.append(document["config"])
        for descriptor in named:
            assert sizes[descriptor["digest"]] == descriptor["size"]


@pytest.mark.parametrize("family", Family)
def test_the_platform_is_in_the_config_and_in_the_index(
    family: Family,
) -> None:
    child = image("app", platform="windows/amd64", os_version="10.0.1", family=family)
    built = index([child], family=family)
    config = json.loads(child.blobs[0].content)
    (entry,) = _document(built)["manifests"]
    expected = {"os": "windows", "architecture": "amd64", "os.version": "10.0.1"}
    assert entry["platform"] == expected
    assert {key: config[key] for key in expected} == expected
    (platform,) = built.content.platforms
    assert (platform.os, platform.os_version) == ("windows", "10.0.1")
    assert platform.media_type == family.manifest
    assert platform.layers is not None
    assert {one.media_type for one in platform.layers} == {family.layer}


def test_the_content_lists_layers_as_the_manifest_does() -> None:
    (platform,) = AMD64.content.platforms
    assert platform.layers is not None
    assert [(one.digest, one.size) for one in platform.layers] == [
        (one["digest"], one["size"]) for one in _document(AMD64)["layers"]
    ]
    assert platform.size == sum(one["size"] for one in _document(AMD64)["layers"])


def test_the_size_of_an_image_counts_a_shared_layer_once() -> None:
    shared, own = layer("shared", size=100), layer("own", size=10)
    built = index(
        [
            image("a", layers=[shared, shared]),
            image("b", platform="linux/s390x", layers=[shared, own]),
        ]
    )
    assert [one.size for one in built.content.platforms] == [100, 110]
    assert expected_size(built.content) == 110


def test_a_nested_index_has_the_platforms_of_all_levels() -> None:
    assert expected_architectures(EVERY_KIND["nested index"].content) == (
        "linux/amd64",
        "linux/arm/v7",
    )
    assert len(EVERY_KIND["nested index"].manifests) == 4


def test_attestations_are_attachments_and_not_platforms() -> None:
    content = EVERY_KIND["attested index"].content
    assert expected_architectures(content) == ("linux/amd64", "linux/arm/v7")
    assert {one.kind for one in content.attachments} == {AttachmentKind.ATTESTATION}
    assert {one.subject for one in content.attachments} == {
        AMD64.root.digest,
        ARM.root.digest,
    }
    marked = [
        one["annotations"]["vnd.docker.reference.digest"]
        for one in _document(EVERY_KIND["attested index"])["manifests"]
        if one["platform"]["os"] == "unknown"
    ]
    assert marked == [AMD64.root.digest, ARM.root.digest]


@pytest.mark.parametrize(
    ("kind", "artifact_type"),
    [("helm chart", HELM_CONFIG), ("artifact", SPDX)],
)
def test_an_artifact_has_layers_and_no_architecture(
    kind: str, artifact_type: str
) -> None:
    content = EVERY_KIND[kind].content
    assert content.artifact_type == artifact_type
    assert expected_architectures(content) == ()
    assert [one.os for one in content.platforms] == [None]
    assert expected_size(content)


@pytest.mark.parametrize(
    ("image_config", "kind", "architectures", "dated"),
    [
        ("always", "oci index", ("linux/amd64", "linux/arm/v7"), True),
        ("auto", "oci index", ("linux/amd64", "linux/arm/v7"), False),
        ("never", "oci index", ("linux/amd64", "linux/arm/v7"), False),
        ("always", "oci manifest", ("linux/amd64",), True),
        ("auto", "oci manifest", ("linux/amd64",), True),
        ("never", "oci manifest", (), False),
        ("never", "signed schema 1", ("linux/amd64",), True),
    ],
)
def test_the_visible_content_depends_on_the_configs_that_are_read(
    image_config: Any, kind: str, architectures: tuple[str, ...], dated: bool
) -> None:
    seen = visible_content(EVERY_KIND[kind].content, image_config)
    assert expected_architectures(seen) == architectures
    assert all((one.created is not None) is dated for one in seen.platforms)


def test_schema_1_has_layers_newest_first_and_its_content_base_first() -> None:
    built = EVERY_KIND["signed schema 1"]
    document = _document(built)
    (platform,) = built.content.platforms
    stored = [one["blobSum"] for one in document["fsLayers"]]
    assert platform.layers is not None
    assert [one.digest for one in platform.layers] == stored[::-1]
    assert stored[0] == EMPTY_LAYER
    assert len(document["history"]) == len(stored)
    newest = json.loads(document["history"][0]["v1Compatibility"])
    assert newest["throwaway"]
    assert (newest["os"], newest["architecture"]) == ("linux", "amd64")


def test_a_signed_schema_1_manifest_has_its_payload_and_valid_signatures() -> None:
    built = schema1_image("team/app", "1", keys=[KEY, SigningKey.generate()])
    document = _document(built)
    assert built.root.media_type == SIGNED_SCHEMA1
    assert len(document["signatures"]) == 2
    for signature in document["signatures"]:
        protected = json.loads(_from_base64url(signature["protected"]))
        payload = built.root.raw[: protected["formatLength"]]
        payload += _from_base64url(protected["formatTail"])
        assert payload == built.root.payload
        encoded = base64.urlsafe_b64encode(payload).rstrip(b"=")
        key = jwt.PyJWK(signature["header"]["jwk"], "ES256")
        assert key.Algorithm.verify(
            signature["protected"].encode() + b"." + encoded,
            key.key,
            _from_base64url(signature["signature"]),
        )


def test_an_unsigned_schema_1_manifest_is_its_payload() -> None:
    built = EVERY_KIND["schema 1"]
    assert built.root.raw == built.root.payload
    assert built.root.media_type == SCHEMA1
    assert built.root.digest == EVERY_KIND["signed schema 1"].root.digest


def test_the_same_inputs_give_the_same_digests() -> None:
    assert image("app", platform="linux/arm/v7") == ARM
    assert SigningKey.from_seed("tests").key_id == KEY.key_id


def test_a_key_id_has_twelve_groups_of_four_and_is_in_the_jwk() -> None:
    assert [len(one) for one in KEY.key_id.split(":")] == [4] * 12
    assert KEY.jwk["kid"] == KEY.key_id


# -- test_official_images --
# The official images as a workload: how much it is, and what its images are.


@cache
def _everything() -> tuple[PlacedImage, ...]:
    return tuple(official_images())


def _find(reference: str) -> PlacedImage:
    repository, _, tag = reference.rpartition(":")
    (found,) = (
        one
        for one in official_images([repository])
        if one.repository == repository and tag in one.tags
    )
    return found


def test_the_official_images_have_their_known_numbers() -> None:
    tags = [(one.repository, tag) for one in _everything() for tag in one.tags]
    indexes = {one.image.root.digest for one in _everything()}
    children = {
        manifest.digest
        for one in _everything()
        for manifest in one.image.manifests[:-1]
    }
    assert len(official_repositories()) == 144
    assert len(tags) == len(set(tags)) == 9_849
    assert len(indexes) == 2_496
    assert len(children) == 7_935


def test_the_content_has_a_platform_for_every_child() -> None:
    for one in _everything():
        children = [manifest.digest for manifest in one.image.manifests[:-1]]
        assert [platform.digest for platform in one.image.content.platforms] == children


def test_a_shared_tag_has_the_platforms_of_all_its_images() -> None:
    linux = _find("library/hello-world:linux").image.content
    shared = _find("library/hello-world:latest").image.content
    windows = {one for one in shared.platforms if one.os == "windows"}
    assert set(linux.platforms) < set(shared.platforms)
    assert windows
    assert windows == set(shared.platforms) - set(linux.platforms)
    assert all(one.os_version for one in windows)


def test_images_have_shared_layers_and_own_layers() -> None:
    used = [
        layer.digest
        for one in _everything()
        for platform in one.image.content.platforms
        for layer in platform.layers or ()
    ]
    assert len(set(used)) < len(used) * 0.6


def test_one_repository_is_the_same_as_among_all() -> None:
    whole = [one for one in _everything() if one.repository == "library/alpine"]
    assert list(official_images(["library/alpine"])) == whole


def test_an_unknown_repository_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="library/none"):
        list(official_images(["library/none"]))


def test_the_demo_has_the_bytes_of_its_sboms() -> None:
    (attested, attached) = (
        one.image for one in demo_images() if one.repository == "team/api"
    )
    found = {}
    for built in (attested, attached):
        blobs = {blob.digest: blob for blob in built.blobs}
        for manifest in built.manifests:
            for listed in json.loads(manifest.raw).get("layers", ()):
                if blob := blobs.get(listed["digest"]):
                    assert len(blob.content) == listed["size"]
                    found[blob.digest] = parse_sbom(blob.content)
    assert len(found) == 4
    assert all(sbom is not None and sbom.packages for sbom in found.values())
    platforms = {one.digest for one in attested.content.platforms}
    named = {digest for sbom in found.values() if sbom for digest in sbom.subjects}
    assert named == platforms
    assert attached.root.subject == attested.root.digest


def test_the_demo_has_a_few_hundred_references_of_every_kind() -> None:
    images = demo_images()
    sources = {one.image.content.source for one in images}
    assert sources == {"index", "manifest", "artifact", "schema1"}
    assert 150 <= sum(len(one.tags) for one in images) <= 300
    assert {one.repository for one in images} > set(OFFICIAL)
    assert any(one.image.content.attachments for one in images)
