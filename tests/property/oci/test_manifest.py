"""Arbitrary responses are a manifest or raise `ProtocolError`."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.platform_records import (
    image_platform,
    missing_platform,
    schema1_platform,
)
from auditor.errors import FailureKind, ProtocolError
from auditor.model import PlatformRecord
from auditor.oci import descriptor
from auditor.oci.attachments import attachment_from_descriptor
from auditor.oci.content_kind import child_kind
from auditor.oci.descriptor import MAX_SIZE, is_digest
from auditor.oci.manifest import (
    ImageIndex,
    ImageManifest,
    VerifiedManifest,
    verify_manifest,
)
from auditor.oci.platform import Platform
from auditor.oci.schema1 import Schema1Manifest
from tests import jose, manifests
from tests.examples import examples
from tests.property.random_json import OBJECTS, TYPES, VALUES, damaged, outcome

# Digests become parts of URLs.
_SAFE_DIGEST = re.compile(r"[a-z0-9+._-]+:[A-Za-z0-9=_-]+")
CONTENT_TYPES = st.none() | TYPES | st.text(max_size=20)
HEADERS = st.none() | st.text(max_size=20)
LINUX = Platform(os="linux", architecture="amd64", variant=None, os_version=None)
SOUND: list[dict[str, Any]] = [
    manifests.image(annotations={"a": "b"}, subject=manifests.descriptor("d")),
    manifests.image(mediaType=manifests.DOCKER_MANIFEST),
    manifests.index(),
    manifests.index(mediaType=manifests.DOCKER_LIST, annotations={"a": "b"}),
    manifests.schema1(),
]


def _check(document: VerifiedManifest, raw: bytes) -> None:
    """Check the invariants of a verified manifest."""
    assert is_digest(document.digest)
    assert document.size == len(raw)
    manifest = document.manifest
    platforms: list[PlatformRecord] = []
    if isinstance(manifest, ImageIndex):
        platforms = [missing_platform(child) for child in manifest.children]
        for child in manifest.children:
            attachment = attachment_from_descriptor(child, child.reference_digest)
            assert ":" in attachment.digest
            child_kind(child)
    elif isinstance(manifest, ImageManifest):
        platforms = [image_platform(document, manifest, LINUX, None)]
        for layer in (manifest.config, *manifest.layers):
            assert 0 <= layer.size <= MAX_SIZE
    else:
        assert isinstance(manifest, Schema1Manifest)
        platforms = [schema1_platform(document, manifest)]
    for platform in platforms:
        digests = [layer.digest for layer in platform.layers or ()]
        assert all(map(_SAFE_DIGEST.fullmatch, [platform.digest, *digests]))
        hash(platform)


def _read(raw: bytes, content_type: str | None, header: str | None = None) -> None:
    document = outcome(
        lambda: verify_manifest(
            raw, content_type=content_type, header_digest=header, requested_digest=None
        )
    )
    if isinstance(document, VerifiedManifest):
        _check(document, raw)


@examples(200)
@given(st.binary(max_size=60), CONTENT_TYPES, HEADERS)
def test_any_bytes_are_parsed_or_refused(
    raw: bytes, content_type: str | None, header: str | None
) -> None:
    _read(raw, content_type, header)


@examples(200)
@given(VALUES | OBJECTS, CONTENT_TYPES)
def test_any_json_is_parsed_or_refused(value: object, content_type: str | None) -> None:
    _read(manifests.raw(value), content_type)


@examples(150)
@pytest.mark.parametrize("sound", SOUND)
@given(st.data(), CONTENT_TYPES)
def test_a_mutated_manifest_is_parsed_or_refused(
    sound: dict[str, Any], data: st.DataObject, content_type: str | None
) -> None:
    _read(manifests.raw(data.draw(damaged(sound))), content_type)


@examples(100)
@given(st.data())
def test_a_signed_manifest_with_changed_bytes_is_parsed_or_refused(
    data: st.DataObject,
) -> None:
    payload = manifests.raw(manifests.schema1())
    raw = bytearray(jose.sign_schema1(payload, jose.key_for("ES256")))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _read(bytes(raw), manifests.SIGNED_SCHEMA1)


@examples(100)
@given(st.sampled_from(SOUND), st.data())
def test_by_digest_every_change_is_detected(
    sound: dict[str, Any], data: st.DataObject
) -> None:
    raw = bytearray(manifests.raw(sound))
    asked = "sha256:" + hashlib.sha256(raw).hexdigest()
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError) as caught:
        verify_manifest(
            bytes(raw), content_type=None, header_digest=asked, requested_digest=asked
        )
    assert caught.value.kind is FailureKind.DIGEST_MISMATCH


_PLATFORM_PARTS = st.dictionaries(
    st.sampled_from(["os", "architecture", "variant", "os.version"]),
    st.sampled_from(["linux", "", None, 3]),
)
# Of the fast path, mostly.
_PLAIN_DESCRIPTORS = st.fixed_dictionaries(
    {
        "mediaType": st.sampled_from(["a/b", "x"]),
        "digest": st.just("sha256:" + "a" * 64),
        "size": st.sampled_from([0, 7, 2**63 - 1, True]),
    },
    optional={"platform": _PLATFORM_PARTS | st.none()},
)
_DESCRIPTOR_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from(["a/b", "", None, 1]),
        "digest": st.sampled_from(["sha256:" + "a" * 64, "sha256:A", "", None]),
        "size": st.sampled_from([0, 7, -1, 2**63, 2**63 - 1, True, 1.0, None]),
        "platform": st.none()
        | st.dictionaries(
            st.sampled_from(["os", "OS", "architecture", "variant", "os.version", "x"]),
            st.sampled_from(["linux", "", None, 3]),
        ),
        "annotations": st.dictionaries(st.text(max_size=2), st.text(max_size=2)),
        "urls": st.lists(st.text(max_size=2), max_size=1),
        "Digest": st.just("sha256:" + "b" * 64),
        "unknown": st.none(),
    },
)


@examples(300)
@given(_PLAIN_DESCRIPTORS | _DESCRIPTOR_PARTS | VALUES)
def test_the_fast_path_parses_descriptors_like_the_slow_one(value: object) -> None:
    short = descriptor._parse_plain(value)
    if short is not None:
        assert short == descriptor._parse(value, "layers[0]")


def test_usual_descriptors_take_the_fast_path() -> None:
    layer = {"mediaType": "a/b", "digest": "sha256:" + "a" * 64, "size": 1}
    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
    assert descriptor._parse_plain(layer) is not None
    assert descriptor._parse_plain({**layer, "platform": platform}) is not None
    assert (
        descriptor._parse_plain({**layer, "platform": {**platform, "OS": "x"}}) is None
    )
