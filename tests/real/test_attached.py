"""Attachments of images and checks of their blobs, in real registries.

The files are written into the registry's store, some of them incompletely.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from auditor.config import AttachmentMode
from auditor.demo.image_builder import (
    BuiltBlob,
    BuiltImage,
    Family,
    PlacedImage,
    image,
    index,
)
from auditor.model import Layer
from auditor.oci.descriptor import sha256_digest
from tests.patience import HANG_S
from tests.real.audits import audit, login, only
from tests.real.docker_registry import FLAVOURS, RunningRegistry, running_registry
from tests.real.go_programs import REGCTL
from tests.real.programs import built, required
from tests.real.token_server import TokenServer
from tests.support.attached_images import (
    SLSA,
    SPDX,
    attested_index,
    cosign_attestation,
    cosign_signature,
    digest_tag,
    notation_signature,
    referrers_index,
)
from tests.support.docker_registry import docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

PLATFORMS = ("linux/amd64", "linux/arm64")


def with_bytes(name: str, platform: str) -> BuiltImage:
    """An image whose layers are in the store, too."""
    contents = [f"{name} {platform} {number}".encode() * 50 for number in range(2)]
    blobs = [
        BuiltBlob(digest=sha256_digest(one), content=one, media_type=Family.OCI.layer)
        for one in contents
    ]
    layers = [
        Layer(digest=one.digest, size=len(one.content), media_type=one.media_type)
        for one in blobs
    ]
    built = image(name, platform=platform, layers=layers)
    return replace(built, blobs=(*built.blobs, *blobs))


SIGNED = index([with_bytes("signed", one) for one in PLATFORMS])
NOTED = with_bytes("noted", "linux/amd64")
ATTESTED = attested_index(
    [with_bytes("attested", one) for one in PLATFORMS], [SLSA, SPDX]
)
BROKEN = with_bytes("broken", "linux/amd64")


def placed() -> Iterator[PlacedImage]:
    yield PlacedImage(repository="team/signed", tags=("1",), image=SIGNED)
    signature = cosign_signature(SIGNED.root)
    tags = (digest_tag(SIGNED.root, ".sig"),)
    yield PlacedImage(repository="team/signed", tags=tags, image=signature)
    for child in SIGNED.manifests[:2]:
        tags = (digest_tag(child, ".att"),)
        attestation = cosign_attestation(child)
        yield PlacedImage(repository="team/signed", tags=tags, image=attestation)
    yield PlacedImage(repository="team/noted", tags=("1",), image=NOTED)
    note = notation_signature(NOTED.root)
    yield PlacedImage(repository="team/noted", tags=(), image=note)
    fallback = referrers_index([note.root])
    tags = (digest_tag(NOTED.root),)
    yield PlacedImage(repository="team/noted", tags=tags, image=fallback)
    yield PlacedImage(repository="team/attested", tags=("1",), image=ATTESTED)
    yield PlacedImage(repository="team/broken", tags=("1",), image=BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A registry over a store that can be damaged."""

    registry: RunningRegistry
    root: Path

    def data(self, digest: str) -> Path:
        """The file that holds a blob."""
        algorithm, _, encoded = digest.partition(":")
        blobs = self.root / "docker/registry/v2/blobs"
        return blobs / algorithm / encoded[:2] / encoded / "data"


@pytest.fixture(scope="module", params=FLAVOURS, ids=str)
def store(
    request: pytest.FixtureRequest,
    tokens: TokenServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Store]:
    place = tmp_path_factory.mktemp("attached")
    root = place / "root"
    write_store(root, placed())
    with running_registry(
        request.param, place, root=root, tokens=tokens.service, realm=tokens.realm
    ) as registry:
        yield Store(registry=registry, root=root)


def looked(store: Store, name: str) -> dict[str, Any]:
    audited = audit(store.registry.host, name, attachments=AttachmentMode.ALL)
    assert audited.summary.requests["referrers"] == 2  # it answers 404, twice
    line = only(audited)
    assert line["warnings"] == []
    return line


def answers(line: dict[str, Any]) -> tuple[bool | None, ...]:
    return line["signed"], line["has_sbom"], line["has_provenance"]


def test_cosign_tags_are_found(store: Store) -> None:
    line = looked(store, "team/signed:1")
    assert answers(line) == (True, False, True)
    assert sorted(one["kind"] for one in line["attachments"]) == [
        "attestation",
        "attestation",
        "signature",
    ]


def test_the_fallback_tag_is_read(store: Store) -> None:
    line = looked(store, "team/noted:1")
    assert answers(line) == (True, False, False)
    (attachment,) = line["attachments"]
    assert attachment["artifact_type"] == "application/vnd.cncf.notary.signature"


def test_attestations_of_an_index_have_predicates(store: Store) -> None:
    line = looked(store, "team/attested:1")
    assert answers(line) == (False, True, True)


def test_existing_blobs_are_verified(store: Store) -> None:
    audited = audit(
        store.registry.host, "team/signed:1", "team/noted:1", verify_blobs=True
    )
    assert [line["warnings"] for line in audited.lines] == [[], []]
    blobs = audited.summary.to_json()["blobs"]
    assert blobs == {"checked": 9, "there": 9, "size_differs": 0}


def test_a_lost_and_a_truncated_blob_are_found(store: Store) -> None:
    config, lost, cut = (blob.digest for blob in BROKEN.blobs)
    assert store.data(config).exists()
    store.data(lost).unlink()
    size = store.data(cut).stat().st_size
    store.data(cut).write_bytes(b"cut")
    line = only(audit(store.registry.host, "team/broken:1", verify_blobs=True))
    found = {one["code"]: one["detail"] for one in line["warnings"]}
    assert found.keys() == {"blob_missing", "blob_size_differs"}
    assert lost in found["blob_missing"]
    assert cut in found["blob_size_differs"]
    assert f"3 bytes, but {size} in the manifest" in found["blob_size_differs"]


def test_attachments_of_regctl_are_found(tmp_path: Path) -> None:
    """regctl keeps the fallback tag itself where there is no referrers API."""
    required("docker-registry")
    regctl = built(REGCTL)
    write_store(tmp_path, [PlacedImage(repository="app", tags=("1",), image=NOTED)])
    with docker_registry(tmp_path) as url:
        host = url.removeprefix("http://")
        for artifact_type in ("application/spdx+json", "application/x.report"):
            subprocess.run(
                [
                    regctl,
                    "artifact",
                    "put",
                    f"--host=reg={host},tls=disabled",
                    f"--artifact-type={artifact_type}",
                    f"--subject={host}/app:1",
                ],
                input=artifact_type.encode(),
                env={"HOME": str(tmp_path), "PATH": str(Path(regctl).parent)},
                check=True,
                capture_output=True,
                timeout=HANG_S,
            )
        audited = audit(
            host, "app:1", registry=login(None), attachments=AttachmentMode.ALL
        )
    line = only(audited)
    assert answers(line) == (False, True, False)
    assert {(one["kind"], one["artifact_type"]) for one in line["attachments"]} == {
        ("sbom", "application/spdx+json"),
        ("artifact", "application/x.report"),
    }
    assert {one["subject"] for one in line["attachments"]} == {line["digest"]}
