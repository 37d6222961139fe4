"""One bad answer for shared content is the failure of the one who asked, at most.

Fifty references share a child or a config. It is asked for again by the next of them,
or at once, on a new connection, if the content disagrees with its digest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auditor.config import ImageConfigMode
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import ANONYMOUS, DemoAccount
from auditor.demo.image_builder import image, index, layer
from auditor.model import FailureRecord, ImageRecord, WarningCode
from tests.flow.harness import ADMIN, BLOBS, TOKENS, Lab, Outcome, lab, service
from tests.support.fault_actions import Action, Answer, Edit, Raw

pytestmark = pytest.mark.anyio

COUNT = 50
NOBODY = DemoAccount("", "", {})
SHARED = image("shared", layers=[layer("base", size=10)])
CHILD = f"/v2/app/manifests/{SHARED.root.digest}"
CONFIG = f"/v2/app/blobs/{SHARED.blobs[0].digest}"


def _flipped(body: bytes) -> bytes:
    return body.replace(b"schemaVersion", b"schemaVersioN").replace(b"linux", b"linuy")


PAGE = b"<html><body>Please log in</body></html>"
# Content that disagrees with its digest: it costs nobody anything.
WRONG_CONTENT: dict[str, Action] = {
    "a flipped byte": Edit(body=_flipped),
    "a page": Answer(200, {"Content-Type": "text/html"}, PAGE),
    "another manifest": Answer(
        200, {"Content-Type": SHARED.root.media_type}, image("other").root.raw
    ),
    "half of it": Edit(body=lambda body: body[: len(body) // 2]),
    "nothing": Edit(body=b""),
    "the answer to another request": Raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    ),
}
# Refusals: the one who asked fails, or lacks a platform.
REFUSALS: dict[str, Action] = {
    "401": Answer(401),
    "403": Answer(403),
    "404": Answer(404),
    "410": Answer(410),
}


def fifty_indexes() -> DemoContent:
    content = DemoContent()
    for number in range(COUNT):
        content.add("app", index([SHARED], annotations={"n": str(number)}), str(number))
    return content


def fifty_tags() -> DemoContent:
    content = DemoContent()
    content.add("app", index([SHARED]), *map(str, range(COUNT)))
    return content


def harmed(outcome: Outcome) -> int:
    """Records that fail or lack something."""
    return sum(
        isinstance(record, FailureRecord) or bool(record.warnings)
        for record in outcome.records
    )


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("wrong", WRONG_CONTENT)
async def test_content_with_another_digest_is_asked_for_again_on_a_new_connection(
    wrong: str, workers: int
) -> None:
    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CHILD, WRONG_CONTENT[wrong])
        outcome = await here.audit(here.ref("app:*"), workers=workers)
        first, second = here.faults.requests("GET", CHILD)
        before = {one.connection for one in here.faults.log if one.began < second.began}
    assert harmed(outcome) == 0
    assert second.connection not in before
    assert first.connection != second.connection


@pytest.mark.parametrize("wrong", WRONG_CONTENT)
async def test_a_config_with_another_digest_is_asked_for_again(wrong: str) -> None:
    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CONFIG, WRONG_CONTENT[wrong])
        outcome = await here.audit(
            here.ref("app:*"), image_config=ImageConfigMode.ALWAYS
        )
        assert here.faults.count("GET", CONFIG) == 2
    assert harmed(outcome) == 0


@pytest.mark.parametrize("tag", ["by digest", "by tag"])
@pytest.mark.parametrize("wrong", ["a flipped byte", "half of it", "nothing"])
async def test_a_reference_whose_content_disagrees_is_asked_for_again(
    tag: str, wrong: str
) -> None:
    """By tag, the digest is that of the header, which is right in these cases."""
    content = DemoContent()
    content.add("app", SHARED, "1")
    reference = "app:1" if tag == "by tag" else f"app@{SHARED.root.digest}"
    async with lab(content) as here:
        here.faults.on("GET", "/v2/app/manifests/*", WRONG_CONTENT[wrong])
        outcome = await here.audit(here.ref(reference))
    assert outcome.image.digest == SHARED.root.digest
    assert outcome.image.warnings == ()


async def test_content_that_is_wrong_twice_fails_and_is_not_asked_for_fifty_times() -> (
    None
):
    async with lab(fifty_indexes()) as here:
        wrong = WRONG_CONTENT["another manifest"]
        here.faults.on("GET", CHILD, wrong, forever=True)
        outcome = await here.audit(here.ref("app:*"), workers=8)
        # Two askers, each of them twice.
        assert here.faults.count("GET", CHILD) == 4
    assert set(outcome.kinds) == {"digest_mismatch"}


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("make", [fifty_indexes, fifty_tags])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_one_refusal_of_shared_content_harms_one_reference(
    refusal: str, make: Any, workers: int
) -> None:
    async with lab(make()) as here:
        here.faults.on("GET", CHILD, REFUSALS[refusal])
        outcome = await here.audit(here.ref("app:*"), workers=workers)
        assert here.faults.count("GET", CHILD) == 2
    assert harmed(outcome) == 1


NO_TOKENS: dict[str, Action] = {
    "a page": Answer(200, {"Content-Type": "text/html"}, PAGE),
    "half of it": Edit(body=lambda body: body[: len(body) // 2]),
    "nothing": Edit(body=b""),
    "another document": Answer(200, {}, b"{}"),
}


@pytest.mark.parametrize("login", [ADMIN, None])
@pytest.mark.parametrize("wrong", NO_TOKENS)
async def test_one_answer_of_the_token_service_without_a_token_costs_nothing(
    wrong: str, login: DemoAccount | None
) -> None:
    tokens = service(ADMIN, DemoAccount(ANONYMOUS, "", {"*": ("pull",)}))
    async with lab(fifty_indexes(), tokens=tokens, login=login or NOBODY) as here:
        here.faults.on("GET", TOKENS, NO_TOKENS[wrong])
        outcome = await here.audit(here.ref("app:*"), workers=8)
        asked = here.faults.requests("GET", TOKENS)
    assert harmed(outcome) == 0
    # With a login, a token without a scope shows that the service accepts it.
    assert len(asked) == (2 if login is None else 3)
    assert asked[0].connection != asked[-1].connection
    assert asked[0].target == asked[-1].target


async def test_a_page_instead_of_a_token_does_not_accept_a_password() -> None:
    """A wrong password is sent to the service twice at most."""
    content = DemoContent()
    names = [f"app{number}" for number in range(20)]
    for name in names:
        content.add(name, SHARED, "1")
    wrong = DemoAccount("admin", "wrong", {})
    async with lab(content, tokens=service(), login=wrong) as here:
        here.faults.on("GET", TOKENS, NO_TOKENS["a page"])
        asked = [here.ref(f"{name}:1") for name in names]
        outcome = await here.audit(*asked, workers=8)
        assert here.faults.count("GET", TOKENS) == 2
    assert set(outcome.kinds) == {"token_rejected"}


@pytest.mark.parametrize("path", [CHILD, "/v2/app/manifests/7"])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_one_refusal_harms_one_reference_with_tokens(
    refusal: str, path: str
) -> None:
    """A 401 costs a renewal of the token, and no reference."""
    async with lab(fifty_indexes(), tokens=service()) as here:
        here.faults.on("GET", path, REFUSALS[refusal])
        outcome = await here.audit(here.ref("app:*"), workers=8)
    assert harmed(outcome) == (0 if refusal == "401" else 1)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_one_refusal_of_a_shared_config_harms_one_reference(
    refusal: str,
) -> None:
    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CONFIG, REFUSALS[refusal])
        outcome = await here.audit(
            here.ref("app:*"), image_config=ImageConfigMode.ALWAYS, workers=8
        )
        assert here.faults.count("GET", CONFIG) == 2
    assert harmed(outcome) == 1


@pytest.mark.parametrize("workers", [1, 8])
async def test_content_that_is_refused_twice_is_not_asked_for_a_third_time(
    workers: int,
) -> None:
    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CHILD, Answer(404), forever=True)
        outcome = await here.audit(here.ref("app:*"), workers=workers)
        assert here.faults.count("GET", CHILD) == 2
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert [one.code for one in record.warnings] == [WarningCode.CHILD_MISSING]


async def test_two_refusals_with_different_statuses_are_not_the_same_failure() -> None:
    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CHILD, Answer(404), Answer(403))
        outcome = await here.audit(here.ref("app:*"), workers=1)
    assert harmed(outcome) == 2


async def test_one_missing_answer_for_a_shared_blob_harms_one_reference() -> None:
    base = SHARED.content.platforms[0].layers
    assert base is not None
    async with lab(fifty_indexes()) as here:
        for method in ("HEAD", "GET"):
            here.faults.on(method, f"/v2/app/blobs/{base[0].digest}", Answer(404))
        outcome = await here.audit(here.ref("app:*"), verify_blobs=True, workers=8)
        assert here.faults.count("HEAD", BLOBS) == 3
    assert harmed(outcome) == 1
    # Each blob is counted once, as its last check found it.
    assert {key: value for key, value in outcome.summary.blobs.items() if value} == {
        "checked": 2,
        "there": 2,
    }


async def test_a_bad_answer_of_last_night_is_not_kept(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"cache": str(tmp_path / "digests.sqlite")}

    async def night(here: Lab) -> Outcome:
        return await here.audit(here.ref("app:*"), workers=8, **changes)

    async with lab(fifty_indexes()) as here:
        here.faults.on("GET", CHILD, Answer(404), Answer(404))
        first = await night(here)
        second = await night(here)
    assert harmed(first) == COUNT
    assert harmed(second) == 0
