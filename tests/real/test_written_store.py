"""Stores and tokens of tests/support, used by the real docker-registry."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from auditor.demo.artifact_builder import helm_chart
from auditor.demo.demo_images import official_images
from auditor.demo.demo_registry import serve
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import Family, PlacedImage, image, index
from auditor.demo.schema1_builder import schema1_image
from auditor.oci.descriptor import SCHEMA1, SIGNED_SCHEMA1
from tests.real.programs import required
from tests.support.docker_registry import TokenAuth, docker_registry
from tests.support.store import Stored, write_store
from tests.support.token_service import FakeTokenService, token_app

pytestmark = [pytest.mark.anyio, pytest.mark.real]

DOCKER = image("docker", family=Family.DOCKER)
KINDS = (
    PlacedImage(repository="x/oci", tags=("1", "2"), image=index([image("a")])),
    PlacedImage(
        repository="x/attested", tags=("1",), image=index([image("a")], attested=True)
    ),
    PlacedImage(repository="x/docker", tags=("1",), image=DOCKER),
    PlacedImage(
        repository="x/list", tags=("1",), image=index([DOCKER], family=Family.DOCKER)
    ),
    PlacedImage(repository="x/nested", tags=("1",), image=index([index([image("a")])])),
    PlacedImage(repository="x/chart", tags=("1",), image=helm_chart("chart")),
    PlacedImage(repository="x/old", tags=("1",), image=schema1_image("x/old", "1")),
)
ACCEPT = {
    "Accept": ", ".join(
        [
            *(kind for one in Family for kind in (one.index, one.manifest)),
            SIGNED_SCHEMA1,
            SCHEMA1,
        ]
    )
}


@pytest.fixture(scope="module", autouse=True)
def _program() -> None:
    required("docker-registry")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    stored = write_store(root, KINDS)
    assert stored == Stored(manifests=9, configs=4, tags=8, repositories=7)
    write_store(root, official_images(["library/alpine", "library/hello-world"]))
    return root


async def test_every_manifest_and_config_is_served_as_built(store: Path) -> None:
    placed = [*KINDS, *official_images(["library/alpine", "library/hello-world"])]
    with docker_registry(store) as base_url:
        async with aiohttp.ClientSession(headers=ACCEPT) as session:
            for one in placed:
                name = f"{base_url}/v2/{one.repository}"
                manifests = {item.digest: item for item in one.image.manifests}
                manifests |= dict.fromkeys(one.tags, one.image.root)
                for reference, manifest in manifests.items():
                    async with session.get(f"{name}/manifests/{reference}") as response:
                        body = await response.read()
                    digest = response.headers["Docker-Content-Digest"]
                    assert digest == manifest.digest
                    if manifest.media_type == SCHEMA1:
                        # 2.8 signs schema 1 anew, with a key of its own.
                        assert response.headers["Content-Type"] == SIGNED_SCHEMA1
                        body_length = len(manifest.payload) - len(b"\n}")
                        assert body[:body_length] == manifest.payload[:body_length]
                    else:
                        assert response.headers["Content-Type"] == manifest.media_type
                        assert body == manifest.raw
                for blob in one.image.blobs:
                    async with session.get(f"{name}/blobs/{blob.digest}") as response:
                        assert await response.read() == blob.content


async def test_tags_and_repositories_are_listed(store: Path) -> None:
    with docker_registry(store) as base_url:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{base_url}/v2/x/oci/tags/list") as response:
                tags = (await response.json())["tags"]
            async with session.get(f"{base_url}/v2/_catalog") as response:
                repositories = (await response.json())["repositories"]
    assert sorted(tags) == ["1", "2"]
    assert len(repositories) == 9


async def test_the_registry_trusts_the_certificate_of_the_token_service(
    store: Path,
) -> None:
    account = DemoAccount("admin", "secret", {"*": ("*",)})
    tokens = FakeTokenService(accounts=[account])
    path = "/v2/x/docker/manifests/1"
    async with serve(token_app(tokens)) as token_url:
        auth = TokenAuth(tokens=tokens, realm=f"{token_url}/token")
        with docker_registry(store, auth=auth) as base_url:
            statuses = []
            async with aiohttp.ClientSession(headers=ACCEPT) as session:
                for scope in ("repository:x/docker:pull", "repository:x/old:pull"):
                    token = tokens.issue(account, [scope])
                    headers = {"Authorization": f"Bearer {token}"}
                    async with session.get(base_url + path, headers=headers) as answer:
                        statuses.append(answer.status)
                async with session.get(base_url + path) as answer:
                    challenge = answer.headers["WWW-Authenticate"]
    assert statuses == [200, 401]
    assert challenge == (
        f'Bearer realm="{token_url}/token",service="demo",'
        'scope="repository:x/docker:pull"'
    )


def test_a_registry_that_cannot_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.docker_registry.PROGRAM", "false")
    with (
        pytest.raises(RuntimeError, match="false did not start: no output"),
        docker_registry(tmp_path),
    ):
        pass
