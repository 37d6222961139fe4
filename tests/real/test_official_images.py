"""The Docker Official Images in the real docker-registry.

They are built into a store without layer bytes. Every record is compared with what was
built, and the number of requests with the minimum. Many images of a repository differ
in their numbers only: `make test` has one of each kind, `make thorough` all of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.demo.demo_images import official_images, official_repositories
from auditor.demo.image_builder import ImageContent, PlacedImage
from tests.examples import thorough
from tests.real.access_log import Logged
from tests.real.audits import audit, command, login
from tests.real.docker_registry import (
    DISTRIBUTION_2,
    RunningRegistry,
    running_registry,
)
from tests.real.memory_folder import memory_folder
from tests.real.token_server import PUSHER, TokenServer
from tests.support.expected import (
    ImageConfig,
    expected_architectures,
    expected_size,
    visible_content,
)
from tests.support.store import write_store

pytestmark = pytest.mark.real
REPOSITORIES = 144
# Repositories that the data names and that have no image: a registry knows them not.
EMPTY = 7
# Of images that differ in their numbers only, with two of their tags.
ONE_OF_A_KIND = {"tags": 603, "indexes": 328, "platforms": 1_262}
ALL = {"tags": 9_849, "indexes": 2_496, "platforms": 7_935}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The registry, and what it holds: truths by `repository:tag`, as generated."""

    registry: RunningRegistry
    truths: Mapping[str, ImageContent]
    tags: int
    platforms: int

    @property
    def host(self) -> str:
        return self.registry.host


# What 70,000 small files take where a block has 4 KiB, and as much again.
STORE_BYTES = 1024**3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for the store; in memory it saves half a minute on a busy disk."""
    base = tmp_path_factory.getbasetemp()
    with memory_folder("official-images-", room=STORE_BYTES, otherwise=base) as place:
        yield place


@pytest.fixture(scope="module")
def workload(
    root: Path, tokens: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workload]:
    DISTRIBUTION_2.find()  # before anything is written
    every = list(official_images())
    images, counts = (every, ALL) if thorough() else (kinds(every), ONE_OF_A_KIND)
    stored = write_store(root, images)
    assert stored.tags == counts["tags"]
    assert stored.manifests == counts["indexes"] + counts["platforms"]
    with running_registry(
        DISTRIBUTION_2,
        tmp_path_factory.mktemp("official"),
        root=root,
        tokens=tokens.service,
        realm=tokens.realm,
    ) as registry:
        yield Workload(
            registry=registry,
            truths={
                f"{placed.repository}:{tag}": placed.image.content
                for placed in images
                for tag in placed.tags
            },
            tags=counts["tags"],
            platforms=counts["platforms"],
        )


def kinds(images: Iterable[PlacedImage]) -> list[PlacedImage]:
    """The first image of each kind in each repository, with at most two of its tags.

    A kind has its platforms, with the versions of Windows, and is of its own tags or of
    shared ones.
    """
    first: dict[tuple[object, ...], PlacedImage] = {}
    for placed in images:
        platforms = (
            (one.os, one.architecture, one.variant, one.os_version)
            for one in placed.image.content.platforms
        )
        is_shared = b"org.opencontainers.image.ref.name" in placed.image.root.payload
        kind = (placed.repository, is_shared, *platforms)
        first.setdefault(kind, replace(placed, tags=placed.tags[:2]))
    return list(first.values())


def compare(
    workload: Workload, lines: Iterable[dict[str, Any]], image_config: ImageConfig
) -> list[str]:
    """Check every record against its truth; returns the names, in order."""
    expected: dict[str, dict[str, Any]] = {}
    found = []
    for line in lines:
        name = f"{line['repository']}:{line['tag']}"
        found.append(name)
        content = workload.truths[name]
        if content.digest not in expected:
            expected[content.digest] = fields(visible_content(content, image_config))
        fields_of_line = {key: line.get(key) for key in expected[content.digest]}
        assert fields_of_line == expected[content.digest], name
        assert line["reference"] == f"{workload.host}/{name}"
        assert line["access"]["actions"] == ["pull"]
        assert line["access"]["subject"] == PUSHER.name
    return found


def fields(content: ImageContent) -> dict[str, Any]:
    """What a record must say of an image: each platform with its layers, and all."""
    values: dict[str, Any] = orjson.loads(orjson.dumps(content))
    del values["source"]
    return {
        **values,
        "kind": "image",
        "architectures": list(expected_architectures(content)),
        "size": expected_size(content),
        "warnings": [],
    }


def check_requests(
    workload: Workload, logged: list[Logged], *, lists: int, configs: int
) -> None:
    """Each tag, each child and each config once; nothing refused but the ping."""
    paths = Counter(one.path for one in logged)
    assert {path: count for path, count in paths.items() if count > 1} == {}
    counts = Counter(kind_of(one.path) for one in logged)
    assert counts == Counter(
        ping=1,
        list=lists,
        tag=workload.tags,
        child=workload.platforms,
        config=configs,
    )
    refused = [one.path for one in logged if one.status == 401]
    assert refused == ["/v2/"]


def kind_of(path: str) -> str:
    if path == "/v2/":
        return "ping"
    kind, _, last = path.rpartition("/")
    match kind.rpartition("/")[2]:
        case "manifests":
            return "child" if last.startswith("sha256:") else "tag"
        case "blobs":
            return "config"
    return last


def test_a_list_of_every_tag_is_audited_correctly_in_order(
    workload: Workload, tmp_path: Path
) -> None:
    names = list(workload.truths)
    config, listed, report, summary = (
        tmp_path / name
        for name in ("auditor.toml", "list.txt", "report.jsonl", "summary.json")
    )
    config.write_text(
        f"""
        [registry."{workload.host}"]
        username = "{PUSHER.name}"
        password_env = "PUSHER_PASSWORD"
        requests_at_once = 16
        """
    )
    listed.write_text("".join(f"{workload.host}/{name}\n" for name in names))
    since = workload.registry.log.mark()
    done = command(
        *("audit", "-c", str(config), "-f", str(listed), "-o", str(report)),
        *("--summary", str(summary), "--image-config", "always"),
        place=tmp_path,
        environment={"PUSHER_PASSWORD": PUSHER.password},
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    with report.open("rb") as lines:
        found = compare(workload, map(orjson.loads, lines), "always")
    assert found == names
    requests = json.loads(summary.read_bytes())["requests"]
    assert requests == {
        "ping": 1,
        "token": REPOSITORIES - EMPTY,
        "manifest": workload.tags + workload.platforms,
        "blob": workload.platforms,
    }
    sent = 1 + workload.tags + 2 * workload.platforms
    logged = workload.registry.log.auditors(since, at_least=sent)
    check_requests(workload, logged, lists=0, configs=workload.platforms)


def test_a_pattern_for_each_repository_audits_every_tag_correctly(
    workload: Workload,
) -> None:
    repositories = official_repositories()
    assert len(repositories) == REPOSITORIES
    since = workload.registry.log.mark()
    audited = audit(
        workload.host,
        *(f"{repository}:*" for repository in repositories),
        registry=login(PUSHER, requests_at_once=16),
    )
    images = [line for line in audited.lines if line["kind"] == "image"]
    found = compare(workload, images, "auto")
    assert len(found) == len(set(found)) == workload.tags
    assert set(found) == set(workload.truths)
    # Repository after repository, in the order of the patterns.
    order = list(dict.fromkeys(line["repository"] for line in audited.lines))
    assert order == list(repositories)
    empty = [line for line in audited.lines if line["kind"] == "failure"]
    assert {(line["stage"], line["failure"], line["status"]) for line in empty} == {
        ("list", "not_found", 404)
    }
    assert len(empty) == EMPTY
    assert audited.summary.to_do == 0
    assert sum(listing.tags for listing in audited.summary.listings.shown) == (
        workload.tags
    )
    assert audited.requests == (1 + REPOSITORIES + workload.tags + workload.platforms)
    logged = workload.registry.log.auditors(since, at_least=audited.requests)
    check_requests(workload, logged, lists=REPOSITORIES, configs=0)
