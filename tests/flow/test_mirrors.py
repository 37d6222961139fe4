"""Images are requested from a registry's mirror first."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from auditor.config import AttachmentMode, RegistrySettings
from auditor.demo.demo_registry import DemoContent
from auditor.demo.demo_tokens import DemoAccount
from auditor.demo.image_builder import image
from auditor.model import ImageRecord, WarningCode
from auditor.util.secret import Secret
from tests.flow.harness import (
    BLOBS,
    MANIFESTS,
    TAGS,
    Lab,
    Outcome,
    lab,
    service,
    simple,
    tokens_sent,
)
from tests.support.attached_images import notation_signature
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

NAMES = ["team/app:1", "team/app:2", "team/web:1"]
MIRRORED = [f"cache/hub/{name}" for name in NAMES]
READER = DemoAccount("reader", "hunter2", {"cache/*": ("pull",)})


@asynccontextmanager
async def mirrored(
    names: list[str] = MIRRORED, **mirror: Any
) -> AsyncIterator[tuple[Lab, Lab]]:
    """A registry with `NAMES`, and a mirror with the given names."""
    async with lab(simple(NAMES)) as here, lab(simple(names), **mirror) as there:
        yield here, there


async def audit(here: Lab, there: Lab, *names: str, **settings: Any) -> Outcome:
    mirror = f"{there.host}/cache/hub"
    registries = {there.host: replace(there.login, tries=settings.get("tries", 3))}
    return await here.audit(
        *map(here.ref, names or NAMES), mirror=mirror, registries=registries, **settings
    )


async def test_images_come_from_the_mirror_with_the_login_of_the_mirror() -> None:
    async with mirrored(tokens=service(READER), login=READER) as (here, there):
        outcome = await audit(here, there)
        assert here.faults.count() == 0
        assert len(there.targets(MANIFESTS)) == 3
    # Records keep the references of the input.
    assert outcome.references == [f"{here.host}/{name}" for name in NAMES]
    for record in outcome.records:
        assert isinstance(record, ImageRecord)
        assert record.registry == here.host
        assert record.repository in {"team/app", "team/web"}
        assert record.access.subject == "reader"
        assert record.warnings == ()


async def test_an_image_missing_at_the_mirror_comes_from_the_registry() -> None:
    async with mirrored(MIRRORED[:2]) as (here, there):
        outcome = await audit(here, there)
        assert here.targets(MANIFESTS) == ["/v2/team/web/manifests/1"]
        assert here.faults.count("GET", BLOBS) == 1
    assert outcome.kinds == ["image"] * 3
    *same, other = outcome.records
    for record in same:
        assert isinstance(record, ImageRecord)
        assert record.warnings == ()
    assert isinstance(other, ImageRecord)
    (warning,) = other.warnings
    assert warning.code is WarningCode.NOT_AT_MIRROR
    assert warning.detail.startswith(f"the mirror {there.host}: not found")


@pytest.mark.parametrize("status", [401, 403, 500])
async def test_a_failing_mirror_is_skipped(status: int) -> None:
    async with mirrored() as (here, there):
        there.faults.on("GET", MANIFESTS, Answer(status), forever=True)
        outcome = await audit(here, there, tries=1)
    assert outcome.kinds == ["image"] * 3
    assert {code for record in outcome.records for code in codes(record)} == {
        "not_at_mirror"
    }


def codes(record: object) -> list[str]:
    assert isinstance(record, ImageRecord)
    return [warning.code for warning in record.warnings]


async def test_a_failure_names_the_reasons_of_mirror_and_registry() -> None:
    async with mirrored() as (here, there):
        here.faults.on("GET", MANIFESTS, Answer(403), forever=True)
        there.faults.on("GET", MANIFESTS, Answer(404), forever=True)
        failure = (await audit(here, there, NAMES[0])).failure
    assert (failure.failure, failure.status) == ("denied", 403)
    assert failure.detail == (
        "the registry denied access (403); before that,"
        f" the mirror {there.host}: not found, or not visible to this account (404)"
    )


async def test_attachments_missing_at_the_mirror_are_unknown() -> None:
    images = {name: image(name) for name in ("bare", "signed")}
    upstream, cache = DemoContent(), DemoContent()
    for name, built in images.items():
        upstream.add("team/app", built, name)
        upstream.add("team/app", notation_signature(built.root))
        cache.add("cache/hub/team/app", built, name)
    cache.add("cache/hub/team/app", notation_signature(images["signed"].root))
    async with lab(upstream) as here, lab(cache) as there:
        outcome = await audit(
            here, there, "team/app:bare", "team/app:signed",
            attachments=AttachmentMode.ALL,
        )  # fmt: skip
        assert here.faults.count() == 0
    found = [one.signed for one in outcome.records if isinstance(one, ImageRecord)]
    assert found == [None, True]


async def test_listings_come_from_the_registry_and_not_from_the_mirror() -> None:
    """A cache lists only what was pulled through it: the rest would be missing."""
    async with mirrored(MIRRORED[:1]) as (here, there):
        outcome = await audit(here, there, "team/app:*")
        assert there.faults.count("GET", TAGS) == 0
        assert here.faults.count("GET", TAGS) == 1
    assert len(outcome.records) == 2


async def test_the_registry_s_login_is_not_sent_to_the_mirror() -> None:
    async with mirrored(tokens=service(READER), login=READER) as (here, there):
        here.login = RegistrySettings(username="me", password=Secret("of-the-origin"))
        await audit(here, there)
        sent = tokens_sent(there.faults.log)
    pair = base64.b64encode(b"me:of-the-origin").decode()
    assert f"Basic {pair}" not in sent
