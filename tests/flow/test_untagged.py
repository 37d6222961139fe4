"""Manifests without a tag: listed by the APIs of products, and audited by digest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.audit.run import AuditRun
from auditor.config import ListerName
from auditor.demo.demo_registry import DemoContent
from auditor.demo.image_builder import image, index
from auditor.errors import FailureKind
from auditor.model import FailureRecord, ImageRecord
from auditor.report.summary import merge_summaries
from auditor.report.summary_text import summary_lines
from auditor.report.writer import Report
from auditor.util.shard import Shard
from tests.flow.harness import ADMIN, Outcome, lab, service
from tests.flow.reporting import lines_of, report_to
from tests.flow.test_product_listings import CASES, Case, google, product
from tests.support.fault_actions import Answer, Hold
from tests.support.products import PUSHED_EPOCH, harbor_api
from tests.support.products.routes import children, untagged

pytestmark = pytest.mark.anyio

LISTS_UNTAGGED = [
    case
    for case in CASES
    if case.lister.value in {"harbor", "ghcr", "acr", "gitea", "nexus"}
]
OTHERS = [case for case in CASES if case not in LISTS_UNTAGGED]


def leftovers() -> DemoContent:
    """An index with two children, an image whose tag has moved, and a plain image."""
    content = DemoContent()
    parts = [
        image(f"part {one}", platform=f"linux/{one}") for one in ("amd64", "arm64")
    ]
    content.add("team/a", index(parts), "multi")
    content.add("team/a", image("old"))
    content.add("team/a", image("new"), "1")
    content.add("team/b", image("b"), "1")
    return content


def by_digest(outcome: Outcome) -> dict[str, ImageRecord]:
    return {
        record.digest: record
        for record in outcome.records
        if isinstance(record, ImageRecord) and record.tag is None
    }


def digests(content: DemoContent, case: Case) -> set[str]:
    """What the API of the product lists without a tag in team/a."""
    repository = content.repositories["team/a"]
    listed = set(untagged(repository))
    if case.lister is ListerName.HARBOR:
        return listed - children(repository)
    if case.lister is ListerName.GITEA:
        return listed | set(repository.tags.values())
    return listed


@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("case", LISTS_UNTAGGED, ids=str)
async def test_manifests_without_a_tag_have_records_by_digest(
    case: Case, size: int
) -> None:
    content = leftovers()
    async with product(case, content) as here:
        outcome = await here.audit(here.ref("team/a:*"), untagged=True, page_size=size)
        plain = await here.audit(here.ref("team/a:*"), page_size=size)
    found = by_digest(outcome)
    assert set(found) == digests(content, case)
    for digest, record in found.items():
        assert record.reference == here.ref(f"team/a@{digest}")
        assert record.untagged is True
        assert record.pushed_at is not None
    tags = [record for record in outcome.records if record.tag is not None]
    assert sorted(record.reference for record in plain.records) == sorted(
        record.reference for record in tags
    )
    assert {record.untagged for record in tags if isinstance(record, ImageRecord)} == {
        False
    }
    (listing,) = outcome.summary.listings.shown
    assert (listing.tags, listing.untagged) == (2, len(found))
    assert plain.summary.listings.shown[0].untagged is None


@pytest.mark.parametrize("case", OTHERS, ids=str)
async def test_an_api_that_does_not_list_them_is_named_in_the_summary(
    case: Case,
) -> None:
    async with product(case, leftovers()) as here:
        outcome = await here.audit(here.ref("team/**:*"), untagged=True)
    assert outcome.kinds == ["image"] * 3
    assert by_digest(outcome) == {}
    summary = outcome.summary.to_json()
    assert summary["lists"]["untagged_unknown"] == {here.host: 2}
    (line,) = [one for one in summary_lines(summary) if "did not list" in one]
    assert f"{here.host} did not list manifests without a tag (2 repositories)" in line


async def test_google_lists_them_with_the_tags() -> None:
    content = leftovers()
    async with lab(content) as here:
        google(content, here)
        outcome = await here.audit(here.ref("team/a:*"), untagged=True)
    assert set(by_digest(outcome)) == set(untagged(content.repositories["team/a"]))
    assert {one.pushed_at for one in by_digest(outcome).values()} == {
        "2026-08-05T10:00:00Z"
    }
    assert PUSHED_EPOCH == 1_785_924_000


async def test_a_harbor_that_nobody_configured_is_recognised_by_its_challenge() -> None:
    content = leftovers()
    tokens = service(replace(ADMIN, grants={"team/*": ("pull",)}))
    tokens.service = "harbor-registry"
    async with lab(content, tokens=tokens, routes=harbor_api(content, [ADMIN])) as here:
        outcome = await here.audit(here.ref("team/a:*"), untagged=True)
        here.faults.on("GET", "/api/v2.0/*", Answer(403), forever=True)
        denied = await here.audit(here.ref("team/a:*"), untagged=True)
    assert len(by_digest(outcome)) == 1
    assert denied.kinds == ["image", "image"]
    assert denied.summary.to_json()["lists"]["untagged_unknown"] == {here.host: 1}


async def test_a_warm_night_asks_for_none_of_them(tmp_path: Path) -> None:
    case = next(one for one in LISTS_UNTAGGED if one.lister is ListerName.GHCR)
    async with product(case, leftovers()) as here:
        nights = [
            await here.audit(
                here.ref("team/**:*"), untagged=True, cache=str(tmp_path / "store")
            )
            for _ in range(2)
        ]
    cold, warm = nights
    assert cold.kinds == warm.kinds == ["image"] * 6
    # Children were fetched with their index, or the other way round.
    assert cold.summary.requests["manifest"] == 6
    assert warm.summary.requests.get("manifest", 0) == 0
    assert warm.summary.requests.get("head", 0) == 0
    assert warm.summary.saved["listed_digests"] == 3


async def test_one_that_is_deleted_meanwhile_has_vanished() -> None:
    case = next(one for one in LISTS_UNTAGGED if one.lister is ListerName.HARBOR)
    content = leftovers()
    (old,) = set(untagged(content.repositories["team/a"])) - children(
        content.repositories["team/a"]
    )
    async with product(case, content) as here:
        here.faults.on("GET", f"/v2/team/a/manifests/{old}", Answer(404), forever=True)
        outcome = await here.audit(here.ref("team/a:*"), untagged=True)
    (failure,) = [one for one in outcome.records if isinstance(one, FailureRecord)]
    assert failure.failure is FailureKind.VANISHED
    assert "listed this manifest" in failure.detail
    assert (failure.tag, failure.digest) == (None, old)


async def test_the_shards_of_an_audit_have_each_once() -> None:
    case = next(one for one in LISTS_UNTAGGED if one.lister is ListerName.GHCR)
    content = leftovers()
    for number in range(6):
        content.add(f"team/app-{number}", image(f"old {number}"))
    async with product(case, content) as here:
        whole = await here.audit(here.ref("team/**:*"), untagged=True)
        parts = [
            await here.audit(
                here.ref("team/**:*"), untagged=True, shard=Shard(number=number, of=3)
            )
            for number in (1, 2, 3)
        ]
    found = [reference for part in parts for reference in part.references]
    assert sorted(found) == sorted(whole.references)
    assert len(by_digest(whole)) == 3 + 6
    merged = merge_summaries(
        [part.summary.to_json() for part in parts], output="report.jsonl"
    )
    assert merged["lists"]["tags"]["untagged"] == 9
    assert any("9 manifests without a tag" in one for one in summary_lines(merged))


async def test_a_resumed_run_keeps_their_records(tmp_path: Path) -> None:
    case = next(one for one in LISTS_UNTAGGED if one.lister is ListerName.GHCR)
    whole, output = tmp_path / "whole", tmp_path / "out"
    async with product(case, leftovers()) as here:
        asked = here.ref("team/**:*")
        await report_to(here, whole, asked, untagged=True)
        held = "/v2/team/b/manifests/*"
        here.faults.on("GET", held, Hold())
        before = here.faults.count("GET", held)

        @asynccontextmanager
        async def stopped(run: AuditRun, _: Report) -> AsyncIterator[None]:
            async with here.when(
                lambda: here.faults.count("GET", held) > before, lambda: run.stop(0.0)
            ):
                yield

        await report_to(
            here, output, asked, untagged=True, workers=1, meanwhile=stopped
        )
        done = await report_to(here, output, asked, untagged=True, resume=True)
    assert lines_of(output) == lines_of(whole)
    assert done.summary.resumed == {"kept": 5, "left_out": 0}


async def test_only_a_pattern_for_all_tags_stands_for_what_has_none() -> None:
    case = next(one for one in LISTS_UNTAGGED if one.lister is ListerName.HARBOR)
    async with product(case, leftovers()) as here:
        outcome = await here.audit(here.ref("team/a:[1m]*"), untagged=True)
    assert outcome.kinds == ["image", "image"]
    assert outcome.summary.to_json()["lists"]["untagged_unknown"] == {}
