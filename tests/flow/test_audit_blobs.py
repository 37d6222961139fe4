"""--verify-blobs: every layer and config is checked once and not downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.demo.demo_registry import DemoContent, serve
from auditor.demo.image_builder import (
    BuiltImage,
    Family,
    ImageContent,
    blob_descriptor,
    image,
    index,
    json_blob,
    json_manifest,
    layer,
)
from auditor.demo.schema1_builder import schema1_image
from auditor.model import ImageRecord, WarningCode
from auditor.report.summary_text import summary_lines
from tests.flow.harness import ADMIN, BLOBS, Lab, Outcome, lab, service
from tests.support.fault_actions import Answer, Edit
from tests.support.faults import Faults

pytestmark = pytest.mark.anyio

BASE = layer("base", size=1234)
CHILDREN = [
    image("app", platform=one, layers=[BASE, layer(one, size=77)])
    for one in ("linux/amd64", "linux/arm64")
]
BOTH = index(CHILDREN)
BLOB_COUNT = 5  # two configs, a shared layer, two other layers
MISSING, DIFFERS, UNVERIFIED = (
    WarningCode.BLOB_MISSING,
    WarningCode.BLOB_SIZE_DIFFERS,
    WarningCode.BLOB_UNVERIFIED,
)


def of(built: BuiltImage = BOTH, *repositories: str) -> DemoContent:
    content = DemoContent()
    for name in repositories or ("team/app",):
        content.add(name, built, "1", "latest")
    return content


async def verified(here: Lab, *names: str) -> Outcome:
    references = [here.ref(name) for name in names or ("team/app:1",)]
    return await here.audit(*references, verify_blobs=True)


def heads(here: Lab) -> list[str]:
    return [one.path for one in here.faults.requests("HEAD", BLOBS)]


def codes(outcome: Outcome) -> list[WarningCode]:
    return [one.code for one in outcome.image.warnings]


async def test_without_verify_blobs_no_blob_is_requested() -> None:
    async with lab(of()) as here:
        outcome = await here.audit(here.ref("team/app:1"))
        assert here.faults.count("*", BLOBS) == 0
    assert outcome.summary.to_json()["blobs"] == {}


async def test_each_blob_is_checked_once_per_repository() -> None:
    async with lab(of(BOTH, "team/app", "team/copy")) as here:
        outcome = await verified(
            here, "team/app:1", "team/app:latest", "team/copy:1", "team/copy:latest"
        )
        assert len(heads(here)) == len(set(heads(here))) == 2 * BLOB_COUNT
        assert here.faults.count("GET", BLOBS) == 0
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.warnings == ()
    summary = outcome.summary
    assert summary.to_json()["blobs"] == {
        "checked": 2 * BLOB_COUNT,
        "size_differs": 0,
        "there": 2 * BLOB_COUNT,
    }
    assert summary.requests["blob_check"] == 2 * BLOB_COUNT
    assert "  blobs: 10 checked, all present" in summary_lines(summary.to_json())


async def test_a_blob_missing_in_one_repository_is_a_warning_there_only() -> None:
    content = of(BOTH, "team/app", "team/copy")
    copy = content.repository("team/copy")
    del copy.layer_sizes[BASE.digest]
    del copy.blobs[CHILDREN[1].blobs[0].digest]
    async with lab(content) as here:
        whole = await verified(here)
        outcome = await verified(here, "team/copy:1")
    assert codes(whole) == []
    assert codes(outcome) == [MISSING, MISSING]
    details = " ".join(one.detail for one in outcome.image.warnings)
    assert f"the layer {BASE.digest}" in details
    assert f"the config {CHILDREN[1].blobs[0].digest}" in details
    assert outcome.image.architectures == ("linux/amd64", "linux/arm64")
    assert "  blobs: 5 checked, 2 missing" in summary_lines(outcome.summary.to_json())


async def test_a_different_blob_size_is_a_warning() -> None:
    content = of()
    content.repository("team/app").layer_sizes[BASE.digest] = 1000
    async with lab(content) as here:
        outcome = await verified(here)
    (warning,) = outcome.image.warnings
    assert warning.code is DIFFERS
    assert "1000 bytes, but 1234 in the manifest" in warning.detail
    assert outcome.summary.to_json()["blobs"]["size_differs"] == 1


@pytest.mark.parametrize(
    ("coding", "is_size"),
    [("identity", True), ("aws-chunked", True), ("gzip", False), ("br", False)],
)
async def test_the_length_of_coded_content_is_not_the_size_of_a_blob(
    coding: str, is_size: bool
) -> None:
    headers = {"Content-Encoding": coding, "Content-Length": "1000"}
    async with lab(of()) as here:
        here.faults.on("HEAD", BLOBS, Edit(headers=headers), forever=True)
        outcome = await verified(here)
    assert codes(outcome) == [DIFFERS] * (BLOB_COUNT if is_size else 0)


async def test_schema_1_layers_have_no_sizes_to_compare() -> None:
    async with lab(of(schema1_image("team/app", "1"))) as here:
        outcome = await verified(here)
        assert heads(here)
    assert outcome.image.warnings == ()


async def test_foreign_layers_are_not_checked() -> None:
    config = json_blob({"os": "linux", "architecture": "amd64"}, Family.OCI.config)
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": layer("foreign").digest,
        "size": 1,
        "urls": ["https://layers.example.com/1"],
    }
    root = json_manifest(
        {"config": blob_descriptor(config), "layers": [foreign]},
        media_type=Family.OCI.manifest,
    )
    built = BuiltImage(
        manifests=(root,),
        blobs=(config,),
        content=ImageContent(digest=root.digest, media_type=root.media_type),
    )
    async with lab(of(built)) as here:
        outcome = await verified(here)
        assert heads(here) == [f"/v2/team/app/blobs/{config.digest}"]
    assert codes(outcome) == [WarningCode.FOREIGN_LAYER]


async def test_only_blobs_of_requested_platforms_are_checked() -> None:
    async with lab(of()) as here:
        await here.audit(
            here.ref("team/app:1"), verify_blobs=True, platforms=("linux/arm64",)
        )
        assert len(heads(here)) == 3


@pytest.mark.parametrize("status", [405, 501])
async def test_without_head_support_one_byte_of_a_blob_is_requested(
    status: int,
) -> None:
    content = of(BOTH, "team/app", "team/copy")
    content.repository("team/app").layer_sizes[BASE.digest] = 0
    async with lab(content) as here:
        here.faults.on("HEAD", BLOBS, Answer(status), forever=True)
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/copy:1"),
            verify_blobs=True,
            workers=1,
        )
        asked = here.faults.requests("GET", BLOBS)
        assert {one.headers.get("Range") for one in asked} == {"bytes=0-0"}
        assert len(asked) == 2 * BLOB_COUNT
        # The next image uses what the first showed about the host.
        assert len(heads(here)) <= BLOB_COUNT
    first, second = outcome.records
    assert isinstance(first, ImageRecord)
    assert isinstance(second, ImageRecord)
    # An empty blob has no first byte; the 416 gives its size.
    assert [one.code for one in first.warnings] == [DIFFERS]
    assert second.warnings == ()


EMPTY = Answer(200, {"Content-Length": "0"})


@pytest.mark.parametrize("ignores_range", [False, True])
async def test_a_head_with_the_length_of_its_own_body_says_nothing_about_the_blob(
    ignores_range: bool,
) -> None:
    """RFC 9110 section 9.3.2: HEAD should send the fields of GET; some send 0."""
    async with lab(of(BOTH, "team/app", "team/copy")) as here:
        here.faults.on("HEAD", BLOBS, EMPTY, forever=True)
        if ignores_range:
            whole = Answer(200, {}, b"x" * 100_000)
            here.faults.on("GET", f"/v2/*/blobs/{BASE.digest}", whole, forever=True)
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/copy:1"),
            verify_blobs=True,
            workers=1,
        )
        # After the first image HEAD is not tried again.
        assert len(heads(here)) <= BLOB_COUNT
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.warnings == ()


async def test_a_registry_that_answers_every_head_with_404_is_asked_with_get() -> None:
    """Only a GET shows that a blob is missing (RFC 9110 section 9.3.2)."""
    content = of(BOTH, "team/app", "team/copy")
    missing = layer("linux/amd64").digest
    del content.repository("team/copy").layer_sizes[missing]
    async with lab(content) as here:
        here.faults.on("HEAD", BLOBS, Answer(404), forever=True)
        outcome = await here.audit(
            here.ref("team/app:1"),
            here.ref("team/copy:1"),
            verify_blobs=True,
            workers=1,
        )
        assert len(heads(here)) <= BLOB_COUNT
    whole, lacks = outcome.records
    assert isinstance(whole, ImageRecord)
    assert isinstance(lacks, ImageRecord)
    assert whole.warnings == ()
    assert [one.code for one in lacks.warnings] == [MISSING]
    assert missing in lacks.warnings[0].detail


async def test_a_head_of_404_and_a_get_that_fails_leave_the_blob_unverified() -> None:
    async with lab(of(CHILDREN[0])) as here:
        path = f"/v2/*/blobs/{BASE.digest}"
        here.faults.on("HEAD", path, Answer(404), forever=True)
        here.faults.on("GET", path, Answer(403), forever=True)
        outcome = await verified(here)
    assert codes(outcome) == [UNVERIFIED]


async def test_a_blob_that_really_is_empty_differs_in_size() -> None:
    content = of()
    content.repository("team/app").layer_sizes[BASE.digest] = 0
    async with lab(content) as here:
        outcome = await verified(here)
        assert len(heads(here)) == BLOB_COUNT  # the other sizes are right
    (warning,) = outcome.image.warnings
    assert warning.code is DIFFERS
    assert "0 bytes, but 1234 in the manifest" in warning.detail


@pytest.mark.parametrize(("status", "code"), [(404, MISSING), (403, None), (500, None)])
async def test_a_get_after_an_empty_head_decides_only_if_it_finds_nothing(
    status: int, code: WarningCode | None
) -> None:
    async with lab(of(CHILDREN[0])) as here:
        path = f"/v2/*/blobs/{BASE.digest}"
        here.faults.on("HEAD", path, EMPTY, forever=True)
        here.faults.on("GET", path, Answer(status), forever=True)
        outcome = await verified(here)
    assert codes(outcome) == ([] if code is None else [code])


async def test_a_registry_that_ignores_the_range_still_gives_the_blob_size() -> None:
    config = CHILDREN[0].blobs[0]
    async with lab(of()) as here:
        here.faults.on("HEAD", BLOBS, Answer(405), forever=True)
        here.faults.on(
            "GET", f"/v2/*/blobs/{BASE.digest}", Answer(200, {}, b"x" * 100_000)
        )
        here.faults.on("GET", f"/v2/*/blobs/{config.digest}", Answer(200, {}, b"short"))
        outcome = await verified(here)
    (warning,) = outcome.image.warnings
    assert warning.code is DIFFERS
    assert f"config {config.digest} has 5 bytes" in warning.detail


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_unverified_blobs_are_one_warning(status: int) -> None:
    async with lab(of()) as here:
        here.faults.on("HEAD", BLOBS, Answer(status), forever=True)
        outcome = await verified(here)
    (warning,) = outcome.image.warnings
    assert warning.code is UNVERIFIED
    assert warning.detail.startswith("5 of 5 blobs could not be checked")
    assert outcome.summary.to_json()["blobs"]["unverified"] == BLOB_COUNT


async def test_a_redirect_to_storage_gets_no_token() -> None:
    """distribution with S3 answers HEAD with a redirect to the object."""
    storage = Faults()
    there = Answer(200, {"Content-Length": "1234"})
    storage.on("HEAD", f"/store/{BASE.digest}", there, forever=True)
    storage.on("*", "/store/*", Answer(404), forever=True)
    async with (
        serve(storage.scripted_app()) as store,
        lab(of(CHILDREN[0]), tokens=service(), login=ADMIN) as here,
    ):
        for digest in (BASE.digest, layer("linux/amd64").digest):
            to = Answer(307, {"Location": f"{store}/store/{digest}?X-Amz-Signature=x"})
            here.faults.on("*", f"/v2/*/blobs/{digest}", to, forever=True)
        outcome = await verified(here)
        assert sorted(one.method for one in storage.log) == ["GET", "HEAD", "HEAD"]
        assert not any("Authorization" in one.headers for one in storage.log)
        assert all("Authorization" in one.headers
                   for one in here.faults.requests("*", BLOBS))  # fmt: skip
    (warning,) = outcome.image.warnings
    assert warning.code is MISSING
    assert "X-Amz" not in warning.detail


async def test_a_url_signed_for_get_is_checked_with_one_byte() -> None:
    storage = Faults()
    storage.on("HEAD", "/store/*", Answer(403), forever=True)
    part = Answer(206, {"Content-Range": "bytes 0-0/1234"}, b"x")
    storage.on("GET", "/store/*", part, forever=True)
    async with serve(storage.scripted_app()) as store, lab(of(CHILDREN[0])) as here:
        to = Answer(307, {"Location": f"{store}/store/x"})
        here.faults.on("*", f"/v2/*/blobs/{BASE.digest}", to, forever=True)
        outcome = await verified(here)
        (ranged,) = storage.requests("GET", "/store/*")
        assert ranged.headers["Range"] == "bytes=0-0"
    assert outcome.image.warnings == ()


async def test_verify_blobs_rechecks_cached_manifests(
    tmp_path: Path,
) -> None:
    content = of()
    async with lab(content) as here:
        cache = str(tmp_path / "cache.sqlite")
        await here.audit(here.ref("team/app:1"), cache=cache)
        del content.repository("team/app").manifests[CHILDREN[0].root.digest]
        trusted = await here.audit(here.ref("team/app:1"), cache=cache)
        outcome = await here.audit(
            here.ref("team/app:1"), cache=cache, verify_blobs=True
        )
    assert codes(trusted) == []
    assert codes(outcome) == [WarningCode.CHILD_MISSING]


async def test_a_refused_redirect_to_storage_is_a_warning() -> None:
    metadata = Answer(307, {"Location": "http://169.254.169.254/latest/meta-data"})
    async with lab(of(CHILDREN[0])) as here:
        here.faults.on("*", f"/v2/*/blobs/{BASE.digest}", metadata, forever=True)
        outcome = await verified(here)
    (warning,) = outcome.image.warnings
    assert warning.code is UNVERIFIED
    assert "169.254.169.254" in warning.detail
