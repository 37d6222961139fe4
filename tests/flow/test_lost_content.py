"""What a registry, or one of its repositories, has lost is reported by all who list it.

Whether content is known from an earlier night says nothing about whether the registry
still has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.config import ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.model import ImageRecord, WarningCode
from tests.flow.harness import BY_DIGEST, Lab, Outcome, lab

pytestmark = pytest.mark.anyio

WEEK_S = 7 * 24 * 3600.0
AMD64, ARM64, S390X = (
    image("app", platform=one) for one in ("linux/amd64", "linux/arm64", "linux/s390x")
)
CHILD_MISSING = WarningCode.CHILD_MISSING


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "digests.sqlite")


def three_indexes(*repositories: str) -> DemoContent:
    """Indexes under the tags 1, 2 and 3 that share the child for arm64."""
    content = DemoContent()
    for name in repositories or ("app",):
        content.add(name, index([AMD64, ARM64]), "1")
        content.add(name, index([ARM64, S390X]), "2")
        content.add(name, index([index([ARM64]), AMD64]), "3")
    return content


def lose(here: Lab, digest: str, *repositories: str) -> None:
    for name in repositories or ("app",):
        repository = here.content.repository(name)
        repository.manifests.pop(digest, None)
        repository.blobs.pop(digest, None)


def missing(outcome: Outcome) -> dict[str, bool]:
    """Whether each image lacks a child, and does not list its platform."""
    found = {}
    for record in outcome.records:
        assert isinstance(record, ImageRecord), record
        is_missing = [one.code for one in record.warnings] == [CHILD_MISSING]
        assert is_missing == ("linux/arm64" not in record.architectures)
        name = f"{record.repository}:{record.tag}"
        assert name not in found
        found[name] = is_missing
    return found


ASKING: dict[str, dict[str, Any]] = {
    "verify-blobs": {"verify_blobs": True},
    "recheck in every run": {"cache_recheck_s": 0.0},
    "confirmed more than a week ago": {},
}


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("asking", ASKING)
async def test_a_lost_child_is_missing_in_every_index_of_a_warm_run(
    cache: str, asking: str, workers: int
) -> None:
    async with lab(three_indexes()) as here:
        changes = {**ASKING[asking], "workers": workers}
        whole = await here.audit(here.ref("app:*"), cache=cache, **changes)
        here.clock.now += 2 * WEEK_S
        lose(here, ARM64.root.digest)
        warm = await here.audit(here.ref("app:*"), cache=cache, **changes)
        again = await here.audit(here.ref("app:*"), cache=cache, **changes)
    assert missing(whole) == {"app:1": False, "app:2": False, "app:3": False}
    assert missing(warm) == {"app:1": True, "app:2": True, "app:3": True}
    assert missing(again) == missing(warm)


async def test_a_child_that_came_back_is_listed_again(cache: str) -> None:
    async with lab(three_indexes()) as here:
        lose(here, ARM64.root.digest)
        await here.audit(here.ref("app:*"), cache=cache, verify_blobs=True)
        here.content.add("app", ARM64)
        back = await here.audit(here.ref("app:*"), cache=cache, verify_blobs=True)
    assert not any(missing(back).values())


async def test_a_manifest_used_for_an_immutable_tag_is_not_thereby_confirmed(
    cache: str,
) -> None:
    """The tag needs no request, so that nothing shows that the child exists."""
    content = three_indexes()
    content.add("app", ARM64, "v1")
    changes: dict[str, Any] = {"immutable_tags": ("v*",), "workers": 1}
    async with lab(content) as here:
        await here.audit(here.ref("app:v1"), here.ref("app:1"), cache=cache, **changes)
        lose(here, ARM64.root.digest)
        here.clock.now += 2 * WEEK_S
        warm = await here.audit(
            here.ref("app:v1"), here.ref("app:1"), cache=cache, **changes
        )
    promised, asked = warm.records
    assert isinstance(promised, ImageRecord)
    assert isinstance(asked, ImageRecord)
    assert promised.warnings == ()
    assert [one.code for one in asked.warnings] == [CHILD_MISSING]


async def test_verify_blobs_requests_immutable_tags(cache: str) -> None:
    content = DemoContent()
    content.add("app", AMD64, "v1")
    changes: dict[str, Any] = {"immutable_tags": ("v*",), "cache": cache}
    async with lab(content) as here:
        await here.audit(here.ref("app:v1"), **changes)
        lose(here, AMD64.root.digest)
        promised = await here.audit(here.ref("app:v1"), **changes)
        verified = await here.audit(here.ref("app:v1"), verify_blobs=True, **changes)
    assert promised.kinds == ["image"]
    assert verified.kinds == ["not_found"]


async def test_a_digest_that_is_not_found_counts_no_longer_as_confirmed(
    cache: str,
) -> None:
    """Within the recheck time the index alone would not have asked for its child."""
    child = f"@{ARM64.root.digest}"
    async with lab(three_indexes()) as here:
        await here.audit(here.ref("app:1"), cache=cache, workers=1)
        lose(here, ARM64.root.digest)
        trusted = await here.audit(here.ref("app:1"), cache=cache)
        first = await here.audit(
            here.ref("app") + child, here.ref("app:1"), cache=cache, workers=1
        )
        later = await here.audit(here.ref("app:1"), cache=cache)
    assert missing(trusted) == {"app:1": False}
    assert first.kinds == ["not_found", "image"]
    (index_record,) = first.records[1:]
    assert isinstance(index_record, ImageRecord)
    assert [one.code for one in index_record.warnings] == [CHILD_MISSING]
    assert missing(later) == {"app:1": True}


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("is_warm", [False, True])
async def test_verify_blobs_confirms_a_child_in_each_repository(
    cache: str, order: tuple[str, str], is_warm: bool
) -> None:
    async with lab(three_indexes("a", "b")) as here:
        references = [here.ref(f"{name}:*") for name in order]
        changes: dict[str, Any] = {"verify_blobs": True, "cache": cache}
        if is_warm:
            await here.audit(*references, **changes)
        lose(here, ARM64.root.digest, "b")
        here.faults.log.clear()
        outcome = await here.audit(*references, **changes)
        asked = here.faults.count("*", f"/v2/a/manifests/{ARM64.root.digest}")
    assert missing(outcome) == {
        f"{name}:{tag}": name == "b" for name in ("a", "b") for tag in "123"
    }
    assert asked == 1


async def test_verify_blobs_confirms_a_config_in_each_repository(cache: str) -> None:
    """Otherwise the platform would be known from the other repository's config."""
    content = DemoContent()
    for name in ("a", "b"):
        content.add(name, AMD64, "1")
    config = AMD64.blobs[0].digest
    async with lab(content) as here:
        lose(here, config, "b")
        outcomes = [
            await here.audit(
                here.ref("a:1"),
                here.ref("b:1"),
                workers=1,
                verify_blobs=True,
                image_config=ImageConfigMode.ALWAYS,
                cache=cache,
            )
            for _ in range(2)
        ]
    for outcome in outcomes:
        has, lacks = outcome.records
        assert isinstance(has, ImageRecord)
        assert isinstance(lacks, ImageRecord)
        assert has.warnings == ()
        assert {one.code for one in lacks.warnings} == {
            WarningCode.CONFIG_MISSING,
            WarningCode.PLATFORM_UNKNOWN,
            WarningCode.BLOB_MISSING,
        }


async def test_without_verify_blobs_repositories_share_what_one_of_them_has(
    cache: str,
) -> None:
    async with lab(three_indexes("a", "b")) as here:
        here.faults.log.clear()
        await here.audit(
            here.ref("a:1"), here.ref("b:1"), cache=cache, cache_recheck_s=0.0
        )
        asked = here.faults.count("*", BY_DIGEST)
        again = await here.audit(
            here.ref("a:1"), here.ref("b:1"), cache=cache, cache_recheck_s=0.0
        )
        asked_again = here.faults.count("*", BY_DIGEST) - asked
    assert asked == asked_again == 2
    assert not any(missing(again).values())
