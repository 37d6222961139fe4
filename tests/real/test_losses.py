"""Registries that lose manifests and blobs between nights, and regain them.

What one night has not confirmed, it must not say: cold and warm are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auditor.config import ImageConfigMode
from tests.real.audits import Audited, audit, content
from tests.real.corpus_images import BASE, app, platforms
from tests.real.layouts import Descriptor
from tests.real.push import Pusher
from tests.real.stocked_registry import StockedRegistry

pytestmark = pytest.mark.real

# How a night asks the registry whether it still has what is in the cache.
LOOKS: dict[str, dict[str, Any]] = {
    "verify-blobs": {"verify_blobs": True},
    "recheck": {"cache_recheck_s": 0.0},
}
BOTH, ONE = ["linux/amd64", "linux/arm64"], ["linux/amd64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Three indexes that list the same two platforms, in two repositories."""

    stocked: StockedRegistry
    pusher: Pusher
    cache: Path
    lost: Descriptor
    repository: str
    other: str

    def night(self, repository: str, *, warm: bool = True, **more: Any) -> Audited:
        """Audit the three tags of a repository."""
        kept: dict[str, Any] = {"cache": str(self.cache)} if warm else {}
        return audit(
            self.stocked.host,
            *(f"{repository}:v{number}" for number in range(3)),
            registry=self.stocked.running.settings,
            image_config=ImageConfigMode.ALWAYS,
            **kept,
            **more,
        )


def seen(audited: Audited) -> list[tuple[list[str], list[str]]]:
    """Architectures and warnings of each record."""
    return [
        (line["architectures"], [one["code"] for one in line["warnings"]])
        for line in audited.lines
    ]


@pytest.fixture
def shared(
    stocked: StockedRegistry, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Shared]:
    name = "".join(filter(str.isalnum, request.node.name)).lower()
    pusher = Pusher(stocked.running, stocked.layout)
    children = platforms(stocked.layout, name, "linux/amd64", "linux/arm64")
    found = Shared(
        stocked=stocked,
        pusher=pusher,
        cache=tmp_path / "cache",
        lost=children[1],
        repository=f"lost/{name}",
        other=f"kept/{name}",
    )
    for number in range(3):
        index = stocked.layout.index(children, {"number": f"{number}"})
        for repository in (found.repository, found.other):
            pusher.push(repository, index, f"v{number}")
    yield found
    pusher.close()


@pytest.mark.parametrize("look", LOOKS)
def test_a_lost_child_is_missing_in_every_index(shared: Shared, look: str) -> None:
    """Three tags ask at the same time, and each has to be told."""
    repository = shared.repository
    assert seen(shared.night(repository)) == [(BOTH, [])] * 3
    shared.pusher.delete(repository, shared.lost["digest"])
    missing = [(ONE, ["child_missing"])] * 3
    assert seen(shared.night(repository, warm=False)) == missing
    assert seen(shared.night(repository, **LOOKS[look])) == missing
    # What was seen to be missing is not there in the next night, however it looks.
    assert seen(shared.night(repository)) == missing
    again = Pusher(shared.stocked.running, shared.stocked.layout)
    again.push(repository, shared.lost)
    again.close()
    assert seen(shared.night(repository, **LOOKS[look])) == [(BOTH, [])] * 3


@pytest.mark.parametrize("first", ["lost", "kept"])
def test_a_child_is_confirmed_for_each_repository(shared: Shared, first: str) -> None:
    """One repository has it, and the other does not, in one run."""
    shared.pusher.delete(shared.repository, shared.lost["digest"])
    order = [shared.repository, shared.other]
    if first == "kept":
        order.reverse()
    audited = audit(
        shared.stocked.host,
        *(f"{repository}:v0" for repository in order),
        registry=shared.stocked.running.settings,
        verify_blobs=True,
    )
    found = {
        line["repository"]: [one["code"] for one in line["warnings"]]
        for line in audited.lines
    }
    assert found == {shared.repository: ["child_missing"], shared.other: []}


def test_a_lost_layer_is_reported_in_every_image_that_has_it(
    stocked: StockedRegistry,
) -> None:
    repository = "lost/layers"
    layout, pusher = stocked.layout, Pusher(stocked.running, stocked.layout)
    gone = app("gone layer")
    for number in range(3):
        image = layout.image("linux/amd64", [BASE, gone, app(f"lost {number}")])
        pusher.push(repository, image, f"v{number}")
    digest = layout.blob(gone.content, gone.media_type)["digest"]
    names = [f"{repository}:v{number}" for number in range(3)]
    settings = stocked.running.settings

    def night() -> list[dict[str, Any]]:
        return audit(stocked.host, *names, registry=settings, verify_blobs=True).lines

    whole = night()
    assert [line["warnings"] for line in whole] == [[], [], []]
    pusher.delete_blob(repository, digest)
    for line in night():
        (warning,) = line["warnings"]
        assert warning["code"] == "blob_missing"
        assert digest in warning["detail"]
    again = Pusher(stocked.running, layout)
    again.push(repository, image)
    again.close()
    pusher.close()
    assert [content(line) for line in night()] == [content(line) for line in whole]
