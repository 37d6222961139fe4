"""A real pull-through cache as the mirror of a real registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from auditor.config import RegistrySettings
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import PlacedImage, image, index
from tests.real.audits import audit, login
from tests.real.basic_login import LINE, USER
from tests.real.programs import required
from tests.support.docker_registry import HtpasswdAuth, docker_registry
from tests.support.store import write_store

pytestmark = pytest.mark.real

PLACED = (
    PlacedImage(
        repository="team/app", tags=("1",), image=index([image("a"), image("b")])
    ),
    PlacedImage(repository="team/web", tags=("1", "2"), image=image("web")),
)
NAMES = ("team/app:1", "team/web:1")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    required("docker-registry")
    root = tmp_path_factory.mktemp("store")
    write_store(root, PLACED)
    with docker_registry(root) as url:
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def cache(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("cache")
    auth = HtpasswdAuth(lines=LINE)
    with docker_registry(root, auth=auth, upstream=f"http://{registry}") as url:
        yield url.removeprefix("http://")


def test_images_through_the_cache_have_the_same_records(
    registry: str, cache: str
) -> None:
    """The cache knows Basic, so that a record shows who gave the image."""
    direct = audit(registry, *NAMES, registry=RegistrySettings())
    mirrored = audit(
        registry,
        *NAMES,
        registry=RegistrySettings(mirror=cache),
        registries={cache: login(USER)},
    )
    for there, here in zip(direct.lines, mirrored.lines, strict=True):
        assert here["warnings"] == []
        assert here["access"]["subject"] == USER.name
        assert there["access"]["state"] == "anonymous"
        assert here["location"] == f"{cache}/{here['repository']}"
        assert there["location"] is None
        for line in (there, here):
            del line["access"], line["audited_at"], line["location"]
        assert here == there


def test_without_a_login_at_the_cache_the_registry_is_used(
    registry: str, cache: str
) -> None:
    wrong = login(DemoAccount(USER.name, "guess"))
    mirrored = audit(
        registry,
        *NAMES,
        registry=RegistrySettings(mirror=cache),
        registries={cache: wrong},
    )
    for line in mirrored.lines:
        assert line["kind"] == "image"
        (warning,) = line["warnings"]
        assert warning["code"] == "not_at_mirror"
        assert "rejected the login of 'auditor' (401" in warning["detail"]
