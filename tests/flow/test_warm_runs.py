"""Warm runs: their requests, and that they report what a cold run reports."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.audit.image import ImageAuditor
from auditor.audit.image_metadata import ImageOptions
from auditor.cache.digest_cache import open_cache
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.model import FailureRecord, ImageRecord, Record, WarningCode
from auditor.oci.reference import Reference
from auditor.registry.registries import open_registries
from tests.flow.harness import BLOBS, BY_DIGEST, MANIFESTS, Lab, Outcome, lab, service
from tests.flow.test_audit import KINDS, PLATFORMS, REPOSITORY
from tests.support.fault_actions import Action, Answer, Close, Edit, Raw
from tests.support.registry import Behaviour

pytestmark = pytest.mark.anyio

DAY_S = 24 * 3600.0
HEADER = "Docker-Content-Digest"


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "digests.sqlite")


def _kinds() -> DemoContent:
    content = DemoContent()
    for tag, built in KINDS.items():
        content.add(REPOSITORY, built, tag)
    return content


def _without_time(outcome: Outcome) -> list[Record]:
    return [replace(record, audited_at="") for record in outcome.records]


async def _run(here: Lab, cache: str, *references: str, **changes: Any) -> Outcome:
    """An audit with the cache, an hour later; the log then has only its requests."""
    here.clock.now += DAY_S / 24
    here.faults.log.clear()
    wanted = references or (here.ref(f"{REPOSITORY}:*"),)
    return await here.audit(*wanted, cache=cache, **changes)


def _sent(outcome: Outcome) -> Mapping[str, int]:
    return {
        kind: outcome.summary.requests.get(kind, 0)
        for kind in ("ping", "token", "list", "head", "manifest", "blob")
    }


@pytest.mark.parametrize("mode", ImageConfigMode)
async def test_a_warm_run_reports_what_a_cold_run_reports_with_one_head_for_each_tag(
    cache: str, mode: ImageConfigMode
) -> None:
    async with lab(_kinds(), tokens=service()) as here:
        cold = await _run(here, cache, image_config=mode)
        warm = await _run(here, cache, image_config=mode)
        assert here.faults.repeated() == []
        again = await here.audit(here.ref(f"{REPOSITORY}:*"), image_config=mode)
    assert _without_time(warm) == _without_time(cold) == _without_time(again)
    manifests = {one.digest for built in KINDS.values() for one in built.manifests}
    sent = {"ping": 1, "token": 1, "list": 1}
    # Attestations are described by their index and not fetched.
    assert _sent(cold)["manifest"] <= len(manifests)
    assert _sent(cold)["head"] == 0
    assert _sent(warm) == {**sent, "head": len(KINDS), "manifest": 0, "blob": 0}
    assert warm.summary.saved["known_tags"] == len(KINDS)


async def test_a_cold_run_sends_one_request_for_each_tag_child_and_config(
    cache: str,
) -> None:
    children = [image("app", platform=one) for one in PLATFORMS]
    content = DemoContent()
    for number in range(5):
        content.add(
            f"app{number % 2}",
            index(children, annotations={"n": str(number)}),
            str(number),
        )
    content.add("app0", image("lone"), "lone")
    async with lab(content, tokens=service()) as here:
        outcome = await _run(here, cache, here.ref("app0:*"), here.ref("app1:*"))
        assert here.faults.repeated() == []
        assert here.answered(401) == ["GET /v2/"]
    assert _sent(outcome) == {
        "ping": 1, "token": 2, "list": 2, "head": 0, "manifest": 6 + 4, "blob": 1,
    }  # fmt: skip
    assert outcome.summary.saved["manifests"] == 4 * 4


async def test_a_moved_tag_costs_one_get_and_its_new_children(
    cache: str,
) -> None:
    children = [image("app", platform=one) for one in PLATFORMS]
    content = DemoContent()
    content.add("app", index(children), "latest", "1")
    content.add("app", index(children, annotations={"n": "2"}), "2")
    async with lab(content) as here:
        await _run(here, cache, here.ref("app:*"))
        # One tag moves to a new image, one to a cached image.
        content.add("app", index([*children[1:], image("new")]), "latest")
        content.add("app", index(children), "2")
        warm = await _run(here, cache, here.ref("app:*"))
        cold = await here.audit(here.ref("app:*"))
    assert _without_time(warm) == _without_time(cold)
    assert _sent(warm)["head"] == 3
    assert _sent(warm)["manifest"] == 2


@pytest.mark.parametrize("named", ["new index", "index of the first night"])
async def test_a_tag_is_what_its_head_names_even_if_its_get_gives_a_child(
    cache: str, named: str
) -> None:
    """A cache between served a client that takes no index.

    containerd, too, pulls the digest that the HEAD of a tag names.
    """
    child = image("app", platform=PLATFORMS[0])
    first = index([child, image("app", platform=PLATFORMS[1])])
    second = index([child, image("app", platform=PLATFORMS[2])])
    wanted = second if named == "new index" else first
    content = DemoContent()
    content.add("app", first, "1")
    by_tag = Edit(
        headers={"Content-Type": child.root.media_type, HEADER: child.root.digest},
        body=child.root.raw,
    )
    async with lab(content) as here:
        cold = await _run(here, cache, here.ref("app:1"))
        content.add("app", second, "2")
        content.add("app", wanted, "1")
        here.faults.on("GET", "/v2/app/manifests/1", by_tag, forever=True)
        warm = await _run(here, cache, here.ref("app:1"))
        asked = [one.method for one in here.faults.requests("*", MANIFESTS)]
        again = await _run(here, cache, here.ref("app:1"))
    assert cold.image.digest == first.root.digest
    assert warm.image.digest == again.image.digest == wanted.root.digest
    assert len(warm.image.platforms) == 2
    assert warm.image.warnings == ()
    assert asked[0] == "HEAD"


async def test_a_changed_type_of_a_known_index_does_not_make_it_a_child(
    cache: str,
) -> None:
    """HEAD names a known digest with another type, and GET by tag gives a child."""
    child = image("app", platform=PLATFORMS[0])
    whole = index([child, image("app", platform=PLATFORMS[1])])
    content = DemoContent()
    content.add("app", whole, "1")
    async with lab(content) as here:
        await _run(here, cache, here.ref("app:1"))
        docker_list = "application/vnd.docker.distribution.manifest.list.v2+json"
        here.faults.on("HEAD", MANIFESTS, Edit(headers={"Content-Type": docker_list}))
        by_tag = Edit(
            headers={"Content-Type": child.root.media_type, HEADER: child.root.digest},
            body=child.root.raw,
        )
        here.faults.on("GET", "/v2/app/manifests/1", by_tag)
        warm = await _run(here, cache, here.ref("app:1"))
    assert warm.image.digest == whole.root.digest


async def test_a_digest_that_head_names_but_the_registry_lacks_is_got_by_tag(
    cache: str,
) -> None:
    """The tag moved between the two requests, or the HEAD is wrong."""
    content = DemoContent()
    content.add("app", image("old"), "1")
    async with lab(content) as here:
        await _run(here, cache, here.ref("app:1"))
        new = content.add("app", image("new"), "1").root.digest
        here.faults.on("HEAD", MANIFESTS, Edit(headers={HEADER: "sha256:" + "7" * 64}))
        warm = await _run(here, cache, here.ref("app:1"))
        assert here.answered(404) == [f"GET /v2/app/manifests/sha256:{'7' * 64}"]
        later = await _run(here, cache, here.ref("app:1"))
    assert warm.image.digest == later.image.digest == new
    assert warm.image.warnings == ()


HEAD_FAULTS: dict[str, Action] = {
    "405": Answer(405),
    "404": Answer(404),
    "501": Answer(501),
    "500": Answer(500),
    "403": Answer(403),
    "400": Answer(400),
    "418": Answer(418),
    "504": Answer(504),
    "no answer": Close(),
    "no HTTP": Raw(b"no\r\n"),
    "to another page": Answer(302, headers={"Location": "ftp://login.example/"}),
    "no digest": Edit(headers={HEADER: None}),
    "no digest at all": Edit(headers={HEADER: "yes"}),
    "another type": Edit(headers={"Content-Type": "application/json"}),
}


@pytest.mark.parametrize("fault", HEAD_FAULTS)
async def test_a_failed_head_is_replaced_by_get_and_not_sent_again(
    cache: str, fault: str
) -> None:
    async with lab(_kinds()) as here:
        cold = await _run(here, cache)
        here.faults.on("HEAD", MANIFESTS, HEAD_FAULTS[fault], forever=True)
        first = await _run(here, cache, workers=1)
        second = await _run(here, cache, workers=1)
    assert _without_time(first) == _without_time(second) == _without_time(cold)
    assert first.summary.requests["manifest"] == len(KINDS)
    # 500 is retried, and HEAD is disabled only after three transient failures.
    assert _sent(first)["head"] <= 9
    assert _sent(second) == {**_sent(second), "head": 0, "manifest": len(KINDS)}


# What is left out is refused for good, or asked for again on a new connection.
@pytest.mark.parametrize(
    "fault", sorted(set(HEAD_FAULTS) - {"405", "501", "no answer", "no HTTP"})
)
async def test_one_bad_answer_to_head_does_not_disable_head(
    cache: str, fault: str
) -> None:
    """Nor do several that are not in a row: a GET counts as a pull, a HEAD does not."""
    async with lab(_kinds()) as here:
        cold = await _run(here, cache)
        retries = {"500": 3, "504": 3}.get(fault, 1)
        for tag in ("oci-index", "artifact", "attested-index"):
            here.faults.on(
                "HEAD",
                f"/v2/{REPOSITORY}/manifests/{tag}",
                *[HEAD_FAULTS[fault]] * retries,
            )
        first = await _run(here, cache, workers=1)
        second = await _run(here, cache, workers=1)
    assert _without_time(first) == _without_time(second) == _without_time(cold)
    assert _sent(first)["manifest"] == 3
    assert _sent(second) == {**_sent(second), "head": len(KINDS), "manifest": 0}


async def test_head_is_tried_again_after_a_week(cache: str) -> None:
    async with lab(_kinds()) as here:
        await _run(here, cache)
        rule = here.faults.on("HEAD", MANIFESTS, Answer(405), forever=True)
        await _run(here, cache, workers=1)
        here.faults.rules.remove(rule)
        assert _sent(await _run(here, cache))["head"] == 0
        here.clock.now += 8 * DAY_S
        assert _sent(await _run(here, cache))["head"] >= len(KINDS)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, WarningCode.NO_DIGEST_HEADER),
        ("sha256:" + "0" * 64, WarningCode.DIGEST_HEADER_DIFFERS),
        ("none", WarningCode.DIGEST_HEADER_DIFFERS),
    ],
)
async def test_a_wrong_digest_header_is_a_warning_in_every_run(
    cache: str, header: str | None, code: WarningCode
) -> None:
    async with lab(_kinds()) as here:
        here.faults.on("GET", MANIFESTS, Edit(headers={HEADER: header}), forever=True)
        cold = await _run(here, cache)
        warm = await _run(here, cache)
    assert _without_time(warm) == _without_time(cold)
    assert _sent(warm) == {**_sent(warm), "head": 0, "manifest": len(KINDS)}
    for record in warm.records:
        assert isinstance(record, ImageRecord)
        assert code in {one.code for one in record.warnings}


async def test_a_digest_header_that_is_wrong_twice_makes_a_registry_distrusted(
    cache: str,
) -> None:
    async with lab(_kinds()) as here:
        wrong = Edit(headers={HEADER: "sha256:" + "0" * 64})
        here.faults.on("GET", f"/v2/{REPOSITORY}/manifests/artifact", wrong, wrong)
        await _run(here, cache)
        warm = await _run(here, cache)
    assert _sent(warm) == {**_sent(warm), "head": 0, "manifest": len(KINDS)}


async def test_a_different_content_type_is_a_warning_in_every_run(cache: str) -> None:
    other = "application/vnd.docker.distribution.manifest.v2+json"
    async with lab(_kinds()) as here:
        for method in ("GET", "HEAD"):
            here.faults.on(
                method, MANIFESTS, Edit(headers={"Content-Type": other}), forever=True
            )
        cold = await _run(here, cache)
        warm = await _run(here, cache)
    assert _without_time(warm) == _without_time(cold)
    assert _sent(warm) == {**_sent(warm), "head": len(KINDS), "manifest": 0}
    assert cold.summary.tally.warnings[WarningCode.MEDIA_TYPE_DIFFERS] > 10


async def test_a_changed_content_type_is_noticed(cache: str) -> None:
    other = "application/vnd.docker.distribution.manifest.v2+json"
    async with lab(_kinds()) as here:
        await _run(here, cache)
        for method in ("GET", "HEAD"):
            here.faults.on(
                method,
                f"/v2/{REPOSITORY}/manifests/oci-index",
                Edit(headers={"Content-Type": other}),
                forever=True,
            )
        warm = await _run(here, cache)
        cold = await here.audit(here.ref(f"{REPOSITORY}:*"))
        assert _without_time(warm) == _without_time(cold)
    assert warm.summary.tally.warnings[WarningCode.MEDIA_TYPE_DIFFERS] == 1


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_a_missing_or_denied_tag_fails_as_without_a_cache(
    cache: str, status: int
) -> None:
    reference = f"{REPOSITORY}:oci-index"
    async with lab(_kinds()) as here:
        await _run(here, cache, here.ref(reference))
        here.faults.on(
            "*",
            f"/v2/{REPOSITORY}/manifests/oci-index",
            Answer(status, body=b'{"errors": [{"code": "X", "message": "because"}]}'),
            forever=True,
        )
        warm = await _run(here, cache, here.ref(reference))
        cold = await here.audit(here.ref(reference))
    assert _without_time(warm) == _without_time(cold)
    assert ("because" in warm.failure.detail) == (status != 401)


async def test_a_cached_reference_by_digest_costs_one_head(
    cache: str,
) -> None:
    digest = KINDS["attested-index"].root.digest
    async with lab(_kinds()) as here:
        references = [
            f"{here.host}/{REPOSITORY}@{digest}",
            here.ref(f"{REPOSITORY}:attested-index@{digest}"),
        ]
        cold = await _run(here, cache, *references, workers=1)
        warm = await _run(here, cache, *references)
        assert _without_time(warm) == _without_time(cold)
        assert _sent(warm) == {**_sent(warm), "head": 2, "manifest": 0}
        del here.content.repository(REPOSITORY).manifests[digest]
        gone = await _run(here, cache, *references)
    assert gone.kinds == ["not_found", "not_found"]


@pytest.mark.parametrize("is_child", [True, False])
async def test_a_head_that_names_another_digest_confirms_nothing(
    cache: str, is_child: bool
) -> None:
    """It is the answer to another request, or the registry lies: GET tells."""
    built = KINDS["attested-index"]
    digest = built.manifests[0].digest if is_child else built.root.digest
    path = f"/v2/{REPOSITORY}/manifests/{digest}"
    reference = "attested-index" if is_child else f"attested-index@{built.root.digest}"
    async with lab(_kinds()) as here:
        other = {HEADER: KINDS["oci-manifest"].root.digest}
        here.faults.on("HEAD", path, Edit(headers=other), forever=True)
        asked = here.ref(f"{REPOSITORY}:{reference}")
        cold = await _run(here, cache, asked)
        warm = await _run(here, cache, asked, cache_recheck_s=0.0)
        assert here.faults.count("HEAD", path) == 1
        assert here.good(path) == 1
    assert _without_time(warm) == _without_time(cold)


async def test_a_cached_immutable_tag_costs_no_request(
    cache: str,
) -> None:
    content = DemoContent()
    for tag in ("v1", "v2", "latest"):
        content.add("app", image(tag), tag)
    async with lab(content, tokens=service()) as here:
        asked = [here.ref(f"app:{tag}") for tag in ("v1", "v2", "latest")]
        cold = await _run(here, cache, *asked, immutable_tags=("v*",))
        warm = await _run(here, cache, *asked, immutable_tags=("v*",))
        assert here.targets(BLOBS) == []
        assert [one.path for one in here.faults.requests("HEAD")] == [
            "/v2/app/manifests/latest"
        ]
    assert _without_time(warm) == _without_time(cold)
    assert _sent(cold)["manifest"] == 3
    assert _sent(warm)["manifest"] == 0
    assert warm.summary.saved["immutable_tags"] == 2


@pytest.mark.parametrize("header", [None, "sha256:" + "1" * 64])
async def test_an_immutable_tag_keeps_the_warnings_of_its_header(
    cache: str, header: str | None
) -> None:
    content = DemoContent()
    content.add("app", image("v1"), "v1")
    async with lab(content) as here:
        here.faults.on("GET", MANIFESTS, Edit(headers={HEADER: header}), forever=True)
        cold = await _run(here, cache, here.ref("app:v1"), immutable_tags=("v?",))
        warm = await _run(here, cache, here.ref("app:v1"), immutable_tags=("v?",))
    assert _without_time(warm) == _without_time(cold)
    assert len(warm.image.warnings) == 1
    assert _sent(warm)["manifest"] == 0


async def test_a_child_cached_from_another_registry_is_not_assumed_to_exist(
    cache: str,
) -> None:
    built = index([image("app", platform=one) for one in PLATFORMS])
    whole, sparse = DemoContent(), DemoContent()
    whole.add("app", built, "1")
    sparse.add("app", built, "1")
    missing = built.content.platforms[2].digest
    del sparse.repository("app").manifests[missing]
    async with lab(whole) as first, lab(sparse) as second:
        await _run(first, cache, first.ref("app:1"))
        warm = await _run(second, cache, second.ref("app:1"))
        cold = await second.audit(second.ref("app:1"))
    assert _without_time(warm) == _without_time(cold)
    assert [one.code for one in warm.image.warnings] == [WarningCode.CHILD_MISSING]


async def test_a_lost_child_is_noticed_within_the_recheck_time(
    cache: str,
) -> None:
    built = index([image("app", platform=one) for one in PLATFORMS])
    content = DemoContent()
    content.add("app", built, "1")
    async with lab(content) as here:

        async def run(**changes: Any) -> Outcome:
            return await _run(
                here, cache, here.ref("app:1"), cache_recheck_s=7 * DAY_S, **changes
            )

        await run()
        missing = built.content.platforms[2].digest
        del content.repository("app").manifests[missing]
        assert (await run()).image.warnings == ()
        heads = 0
        for _ in range(7):
            here.clock.now += DAY_S
            last = await run()
            heads += here.faults.count("HEAD", BY_DIGEST)
        assert [one.code for one in last.image.warnings] == [WarningCode.CHILD_MISSING]
        # One HEAD for each child that exists, and one in each run for the lost one.
        assert heads >= len(PLATFORMS)
        zero = await _run(here, cache, here.ref("app:1"), cache_recheck_s=0)
        assert here.faults.count("HEAD", BY_DIGEST) == len(PLATFORMS)
    assert _without_time(zero) == _without_time(last)


async def test_configs_are_fetched_again_after_the_recheck_time(
    cache: str,
) -> None:
    content = DemoContent()
    content.add("app", image("app"), "1")
    async with lab(content) as here:
        await _run(here, cache, here.ref("app:1"))
        assert _sent(await _run(here, cache, here.ref("app:1")))["blob"] == 0
        here.clock.now += 8 * DAY_S
        content.repository("app").blobs.clear()
        late = await _run(here, cache, here.ref("app:1"))
    assert WarningCode.CONFIG_MISSING in {one.code for one in late.image.warnings}


async def test_a_cached_blob_is_not_a_manifest_and_a_manifest_not_a_config(
    cache: str,
) -> None:
    """A digest fetched from one endpoint is not relied on for the other."""
    one = image("one")
    config = one.content.platforms[0].config_digest
    assert config is not None
    content = DemoContent()
    content.add("app", one, "1")
    async with lab(content) as here:
        await _run(here, cache, here.ref("app:1"))
        outcome = await _run(here, cache, f"{here.host}/app@{config}")
    assert isinstance(outcome.records[0], FailureRecord)
    assert outcome.kinds == ["not_found"]


async def test_without_a_cache_every_run_is_cold() -> None:
    async with lab(_kinds()) as here:
        first = await here.audit(here.ref(f"{REPOSITORY}:*"))
        second = await here.audit(here.ref(f"{REPOSITORY}:*"))
    assert first.summary.requests == second.summary.requests
    assert set(first.summary.saved) <= {"manifests", "configs"}


async def test_a_registry_without_digest_headers_gets_no_head(
    cache: str,
) -> None:
    async with lab(_kinds(), behaviour=Behaviour(digest_header=False)) as here:
        await _run(here, cache)
        warm = await _run(here, cache)
    assert _sent(warm)["head"] == 0
    assert _sent(warm)["manifest"] == len(KINDS)


async def _listed(here: Lab, cache: str, digest: str) -> tuple[Record, list[str]]:
    """The record of `app:1`, listed with this digest, and the methods sent."""
    here.faults.log.clear()
    settings = here.settings(cache=cache)
    async with (
        open_registries(settings, clock=here.clock) as registries,
        open_cache(settings, now=here.clock.epoch) as opened,
    ):
        images = ImageAuditor(
            registries,
            options=ImageOptions.of(settings),
            clock=here.clock,
            cache=opened,
            recheck_s=settings.cache_recheck_s,
        )
        reference = Reference(
            registry=here.host, repository="app", tag="1", digest=None
        )
        record = await images.audit(reference, is_listed=True, listed_digest=digest)
    asked = here.faults.requests("*", MANIFESTS)
    return record, [one.method for one in asked]


async def test_a_tag_listed_with_its_cached_digest_costs_no_request(
    cache: str,
) -> None:
    content = DemoContent()
    first = content.add("app", index([image("one"), image("two")]), "1").root.digest
    async with lab(content) as here:
        cold, _ = await _listed(here, cache, first)
        warm, asked = await _listed(here, cache, first)
        assert asked == []
        assert replace(warm, audited_at="") == replace(cold, audited_at="")
        # The tag moved: the listing has the new digest, or still the old one.
        second = content.add("app", image("new"), "1").root.digest
        moved, asked = await _listed(here, cache, second)
        assert (moved.digest, asked) == (second, ["HEAD", "GET"])
        behind, asked = await _listed(here, cache, first)
        assert (behind.digest, asked) == (second, ["HEAD"])


async def test_listed_digests_of_a_distrusted_registry_are_not_relied_on(
    cache: str,
) -> None:
    content = DemoContent()
    digest = content.add("app", image("one"), "1").root.digest
    content.add("app", image("two"), "2")
    async with lab(content) as here:
        wrong = Edit(headers={HEADER: "sha256:" + "0" * 64})
        here.faults.on("GET", "/v2/app/manifests/2", wrong, wrong)
        await _run(here, cache, here.ref("app:1"), here.ref("app:2"))
        _, asked = await _listed(here, cache, digest)
    assert asked == ["GET"]


async def test_damaged_rows_are_fetched_again_and_counted(cache: str) -> None:
    async with lab(_kinds()) as here:
        cold = await _run(here, cache)
        connection = sqlite3.connect(cache)
        with connection:
            connection.execute("UPDATE content SET body = X'7B7D', deflated = 0")
        connection.close()
        warm = await _run(here, cache)
        after = await _run(here, cache)
    assert _without_time(warm) == _without_time(after) == _without_time(cold)
    assert _sent(warm)["manifest"] == _sent(cold)["manifest"]
    assert warm.summary.damaged >= _sent(cold)["manifest"]
    assert after.summary.damaged == 0
    assert _sent(after)["manifest"] == 0


CHANGES: list[dict[str, Any]] = [
    {"image_config": ImageConfigMode.ALWAYS},
    {"platforms": ("linux/arm64",)},
    {"labels": ("*",)},
    {"attachments": AttachmentMode.NONE},
    {"verify_blobs": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
async def test_a_warm_run_with_other_options_reports_what_a_cold_one_reports(
    cache: str, changes: dict[str, Any]
) -> None:
    async with lab(_kinds()) as here:
        await _run(here, cache)
        warm = await _run(here, cache, **changes)
        again = await _run(here, cache, **changes)
        plain = await here.audit(here.ref(f"{REPOSITORY}:*"), **changes)
    assert _without_time(warm) == _without_time(again) == _without_time(plain)


async def test_the_warning_of_a_content_type_is_kept_on_a_warm_run(cache: str) -> None:
    content = DemoContent()
    content.add("app", index([image("app", platform=one) for one in PLATFORMS]), "1")
    async with lab(content) as here:
        media_type = "application/vnd.docker.distribution.manifest.list.v2+json"
        here.faults.on("*", MANIFESTS, Edit(headers={"Content-Type": media_type}),
                       forever=True)  # fmt: skip
        cold = await _run(here, cache, here.ref("app:1"))
        warm = await _run(here, cache, here.ref("app:1"))
    assert _without_time(warm) == _without_time(cold)
    assert WarningCode.MEDIA_TYPE_DIFFERS in {one.code for one in warm.image.warnings}
    assert _sent(warm)["head"] == 1
