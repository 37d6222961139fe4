"""Images that were put together are not put together again on a warm night, and what a
report says does not depend on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from auditor.cache.maintenance import info, verify
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.demo.images import image, index
from auditor.demo.registry import Content
from auditor.model import WarningCode
from tests.flow.harness import BY_DIGEST, MANIFESTS, Outcome, lab
from tests.flow.test_audit import PLATFORMS, REPOSITORY
from tests.flow.test_warm_nights import DAY_S, _kinds, _night, _said, _sent
from tests.support.fault_actions import Edit

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def _do(store: str, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(store)
    with connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def _app() -> Content:
    content = Content()
    content.add("app", index([image("app", platform=one) for one in PLATFORMS]), "1")
    return content


async def test_what_is_below_a_known_image_is_not_even_read(store: str) -> None:
    async with lab(_app()) as here:
        cold = await _night(here, store, here.ref("app:1"))
        _do(
            store,
            "UPDATE content SET body = X'00' WHERE digest NOT IN"
            " (SELECT digest FROM tags)",
        )
        warm = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold)
    assert _sent(warm)["head"] == 1
    assert warm.summary.damaged == 0
    assert warm.summary.saved["stored_manifests"] == len(PLATFORMS)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE images SET body = X'7B7D'",
        "UPDATE images SET mark = mark + 1",
        "UPDATE images SET until = until + 1",
        "UPDATE images SET until = 'never'",
        "UPDATE images SET body = 'a text'",
        "UPDATE images SET registry = registry + 1",
    ],
)
async def test_a_damaged_image_is_put_together_again(store: str, damage: str) -> None:
    async with lab(_app()) as here:
        cold = await _night(here, store, here.ref("app:1"))
        _do(store, damage)
        warm = await _night(here, store, here.ref("app:1"))
        after = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold) == _said(after)
    assert _sent(warm) == {**_sent(cold), "head": 1, "manifest": 0}
    assert warm.summary.damaged == ("registry =" not in damage)
    assert after.summary.damaged == 0


async def test_a_row_that_is_no_image_though_its_mark_is_right_is_removed(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(_app()) as here:
        with monkeypatch.context() as patch:
            patch.setattr("auditor.audit.image_cache.encode", lambda *_: b'{"a": 1}')
            cold = await _night(here, store, here.ref("app:1"))
        warm = await _night(here, store, here.ref("app:1"))
        after = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold) == _said(after)
    assert (warm.summary.damaged, after.summary.damaged) == (1, 0)


CHANGES: list[dict[str, Any]] = [
    {"image_config": ImageConfigMode.ALWAYS},
    {"platforms": ("linux/arm64",)},
    {"labels": ("*",)},
    {"attachments": AttachmentMode.NONE},
    {"verify_blobs": True},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
async def test_an_image_of_other_options_is_not_taken(
    store: str, changes: dict[str, Any]
) -> None:
    async with lab(_kinds()) as here:
        await _night(here, store)
        warm = await _night(here, store, **changes)
        again = await _night(here, store, **changes)
        plain = await here.audit(here.ref(f"{REPOSITORY}:*"), **changes)
    assert _said(warm) == _said(again) == _said(plain)


async def test_an_image_of_another_version_is_not_taken(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(_app()) as here:
        cold = await _night(here, store, here.ref("app:1"))
        body = "auditor.audit.image_cache.decode"
        monkeypatch.setattr(body, None)  # would be called
        monkeypatch.setattr("auditor.audit.image_cache.__version__", "999.0")
        warm = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold)


async def test_an_image_is_good_for_as_long_as_all_below_it_is_trusted(
    store: str,
) -> None:
    content = _app()
    async with lab(content) as here:

        async def night() -> Outcome:
            return await _night(
                here, store, here.ref("app:1"), store_recheck_s=7 * DAY_S
            )

        await night()
        first = _do(store, "SELECT since, until FROM images")[0]
        (said,) = _do(store, "SELECT confirmed FROM held LIMIT 1")[0]
        assert first[0] == said - 7 * DAY_S
        assert 3.5 * DAY_S <= first[1] - said < 7 * DAY_S
        here.clock.now += first[1] - here.clock.epoch() - DAY_S / 24 - 1
        await night()
        assert here.faults.count("HEAD", BY_DIGEST) == 0
        here.clock.now -= DAY_S / 24 - 3
        await night()
        assert here.faults.count("HEAD", BY_DIGEST) >= 1
        assert _do(store, "SELECT until FROM images")[0][0] > first[1]


async def test_an_image_of_which_something_is_missing_is_not_kept(store: str) -> None:
    content = _app()
    lost = next(iter(content.repository("app").manifests))
    for digest in list(content.repository("app").manifests):
        if digest != content.repository("app").tags["1"]:
            lost = digest
    del content.repository("app").manifests[lost]
    async with lab(content) as here:
        await _night(here, store, here.ref("app:1"))
    assert _do(store, "SELECT count(*) FROM images") == [(0,)]


async def test_what_an_image_is_made_of_stays_used_though_it_is_not_read(
    store: str,
) -> None:
    async with lab(_app()) as here:
        await _night(here, store, here.ref("app:1"))
        here.clock.now += 2 * DAY_S
        await _night(here, store, here.ref("app:1"))
        now = here.clock.epoch()
    for (used,) in _do(store, "SELECT used FROM content UNION SELECT used FROM images"):
        assert now - used < DAY_S


async def test_a_store_of_an_older_version_learns_of_images(
    store: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab(_app()) as here:
        cold = await _night(here, store, here.ref("app:1"))
        _do(store, "DROP TABLE images")
        warm = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold)
    assert _sent(warm)["manifest"] == 0
    assert _do(store, "SELECT count(*) FROM images") == [(1,)]
    assert caplog.messages == []


async def test_images_are_counted_verified_and_pruned_with_their_content(
    store: str,
) -> None:
    async with lab(_app()) as here:
        await _night(here, store, here.ref("app:1"))
    connection = sqlite3.connect(store, isolation_level=None)
    assert info(connection, Path(store)).images == 1
    assert verify(connection).images == 1
    connection.execute("UPDATE images SET body = X'00'")
    found = verify(connection)
    assert (found.damaged, found.damaged_images) == (1, 1)
    assert info(connection, Path(store)).images == 0
    connection.close()


async def test_not_even_the_manifest_of_a_known_image_is_read(store: str) -> None:
    async with lab(_app()) as here:
        cold = await _night(here, store, here.ref("app:1"))
        _do(store, "UPDATE content SET body = X'00'")
        warm = await _night(here, store, here.ref("app:1"))
        # As another type than GET said: it is read, and found to be damaged.
        _do(store, "UPDATE held SET said = 'application/json'")
        other = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold) == _said(other)
    assert (_sent(warm)["head"], _sent(warm)["manifest"]) == (1, 0)
    assert warm.summary.damaged == 0
    assert other.summary.damaged >= 1
    assert _sent(other)["manifest"] >= 1


async def test_warnings_of_a_content_type_are_not_lost(store: str) -> None:
    async with lab(_app()) as here:
        media_type = "application/vnd.docker.distribution.manifest.list.v2+json"
        here.faults.on("*", MANIFESTS, Edit(headers={"Content-Type": media_type}),
                       forever=True)  # fmt: skip
        cold = await _night(here, store, here.ref("app:1"))
        warm = await _night(here, store, here.ref("app:1"))
    assert _said(warm) == _said(cold)
    assert WarningCode.MEDIA_TYPE_DIFFERS in {one.code for one in warm.image.warnings}
    assert _sent(warm)["head"] == 1
