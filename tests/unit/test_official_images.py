"""The official images as a workload: how much it is, and what its images are."""

from __future__ import annotations

from functools import cache

import pytest

from auditor.demo.demo import OFFICIAL, demo_images
from auditor.demo.images import Placed, official_images, official_repositories


@cache
def _everything() -> tuple[Placed, ...]:
    return tuple(official_images())


def _find(reference: str) -> Placed:
    repository, _, tag = reference.rpartition(":")
    (found,) = (
        one
        for one in official_images([repository])
        if one.repository == repository and tag in one.tags
    )
    return found


def test_the_workload_has_its_known_size() -> None:
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


def test_truth_has_a_platform_for_every_child() -> None:
    for one in _everything():
        children = [manifest.digest for manifest in one.image.manifests[:-1]]
        assert [platform.digest for platform in one.image.truth.platforms] == children


def test_a_shared_tag_names_the_platforms_of_all_its_images() -> None:
    linux = _find("library/hello-world:linux").image.truth
    shared = _find("library/hello-world:latest").image.truth
    windows = {one for one in shared.platforms if one.os == "windows"}
    assert set(linux.platforms) < set(shared.platforms)
    assert windows
    assert windows == set(shared.platforms) - set(linux.platforms)
    assert all(one.os_version for one in windows)


def test_images_share_layers_and_keep_some_of_their_own() -> None:
    used = [
        layer.digest
        for one in _everything()
        for platform in one.image.truth.platforms
        for layer in platform.layers or ()
    ]
    assert len(set(used)) < len(used) * 0.6


def test_a_slice_is_the_same_as_in_the_whole() -> None:
    whole = [one for one in _everything() if one.repository == "library/alpine"]
    assert list(official_images(["library/alpine"])) == whole


def test_an_unknown_repository_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="library/none"):
        list(official_images(["library/none"]))


def test_the_demo_has_a_few_hundred_references_of_every_kind() -> None:
    images = demo_images()
    sources = {one.image.truth.source for one in images}
    assert sources == {"index", "manifest", "artifact", "schema1"}
    assert 150 <= sum(len(one.tags) for one in images) <= 300
    assert {one.repository for one in images} > set(OFFICIAL)
    assert any(one.image.truth.attachments for one in images)
