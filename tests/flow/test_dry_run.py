"""`--dry-run`: listings are read and requests are forecast; nothing is audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from auditor.cache.digest_cache import DigestCache
from auditor.config import AttachmentMode
from auditor.diagnose.dry_run import (
    DryRun,
    Forecast,
    ForecastReferences,
    forecast_lines,
)
from auditor.input.input_items import InputEntry, RejectedEntry
from auditor.input.lists import input_items
from auditor.registry.registries import open_registries
from tests.flow.commands import auditor
from tests.flow.harness import (
    BLOBS,
    MANIFESTS,
    PATIENCE_S,
    TAGS,
    TOKENS,
    Lab,
    lab,
    service,
    simple,
)
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

NAMES = ["app:1.0", "app:1.1", "app:2.0", "team/a:1.0", "team/b:1.0", "team/b:2.0"]


async def dry_run(
    here: Lab, *names: str, cache: Path | None = None, **changes: object
) -> tuple[list[str], Forecast, dict[str, bool]]:
    entries: list[str] = []

    def put(entry: InputEntry) -> bool:
        if isinstance(entry, RejectedEntry):
            entries.append(f"! {entry.failure.kind}")
        else:
            entries.append(str(entry.reference).removeprefix(here.host + "/"))
        return True

    settings = here.settings(*map(here.ref, names), **changes)
    with anyio.fail_after(PATIENCE_S), DigestCache(cache, now=here.clock.epoch) as kept:
        async with open_registries(settings, clock=here.clock) as registries:
            run = DryRun(
                settings,
                input_items(settings),
                registries=registries,
                clock=here.clock,
                cache=kept,
            )
            await run.run(put)
            return entries, await run.forecast(), run.uses_tokens


def cheapest(forecast: Forecast) -> tuple[int, int, int]:
    """References of the only registry that take a GET, a HEAD and no request."""
    (host,) = forecast.registries
    requests = host.requests
    return requests.manifest_get, requests.manifest_head, host.known_without_request


async def test_only_listings_are_requested() -> None:
    async with lab(simple(NAMES), tokens=service()) as here:
        entries, found, uses_tokens = await dry_run(
            here, "app:1.0", "team/*:*", "app:1.*", "app:9*"
        )
        assert not here.targets(MANIFESTS)
        assert not here.targets(BLOBS)
        tokens = len(here.targets(TOKENS))
        lists = len(here.targets(TAGS)) + 1
    assert entries == [
        "app:1.0", "team/a:1.0", "team/b:1.0", "team/b:2.0", "app:1.1", "! not_found",
    ]  # fmt: skip
    (host,) = found.registries
    assert (host.references, host.repositories) == (5, 3)
    assert host.scopes == tuple(
        f"repository:{name}:pull" for name in ("app", "team/a", "team/b")
    )
    assert list(uses_tokens.values()) == [True]
    assert cheapest(found) == (5, 0, 0)
    assert found.references == ForecastReferences(
        asked=6, all_listed=True, duplicates=1, refused=1
    )
    assert found.listing_requests == {"list": lists, "token": tokens, "ping": 1}
    assert found.least_requests == 5 + lists + tokens + 1


async def test_the_forecast_is_what_the_audit_then_requests(tmp_path: Path) -> None:
    path = tmp_path / "digests.sqlite"
    names = ("app:*", "team/b:2.0")
    async with lab(simple(NAMES)) as here:
        kept: dict[str, Any] = {"cache": str(path), "no_cache": False}
        await here.audit(here.ref("app:1.*"), **kept)
        _, found, uses_tokens = await dry_run(here, *names, cache=path)
        assert cheapest(found) == (2, 2, 0)
        assert list(uses_tokens.values()) == [False]
        gets, heads = (here.faults.count(kind, MANIFESTS) for kind in ("GET", "HEAD"))
        await here.audit(*map(here.ref, names), **kept)
        assert here.faults.count("GET", MANIFESTS) - gets == 2
        assert here.faults.count("HEAD", MANIFESTS) - heads == 2
        _, found, _ = await dry_run(here, *names, cache=path)
        assert cheapest(found) == (0, 4, 0)
        _, found, _ = await dry_run(here, *names, cache=path, immutable_tags=("1.*",))
        assert cheapest(found) == (0, 2, 2)


async def test_options_that_are_not_counted_are_named() -> None:
    async with lab(simple(NAMES)) as here:
        _, plain, _ = await dry_run(here, "app:1.0")
        _, more, _ = await dry_run(
            here, "app:1.0", attachments=AttachmentMode.ALL, verify_blobs=True
        )
    assert plain.not_counted == ()
    line = "  not counted: the requests of --attachments all and --verify-blobs"
    assert [one for one in forecast_lines(more, {}) if one.startswith(line)]
    assert not [one for one in forecast_lines(plain, {}) if "--verify" in one]


async def test_filters_apply() -> None:
    async with lab(simple(NAMES)) as here:
        entries, _, _ = await dry_run(here, "*:*", latest=1, exclude=("2.*",))
    assert entries == ["app:1.1", "team/a:1.0", "team/b:1.0"]


async def test_the_command_prints_references_and_writes_no_report(
    tmp_path: Path,
) -> None:
    report, summary = tmp_path / "report.jsonl", tmp_path / "forecast.json"
    report.write_text("last night's")
    async with lab(simple(NAMES)) as here:
        here.faults.on("GET", "/v2/team/a/tags/list", Answer(403))
        done = await auditor(
            *("audit", "--dry-run", "--no-cache", here.ref("app:1.*")),
            *(here.ref("team/*:*"), "-o", str(report), "--summary", str(summary)),
        )
        assert not here.targets(MANIFESTS)
    assert done.code == 1
    assert done.out.decode().split() == [
        here.ref(name) for name in ("app:1.0", "app:1.1", "team/b:1.0", "team/b:2.0")
    ]
    assert done.messages[0].startswith(f"{here.ref('team/a:*')}: denied: ")
    assert done.messages[1] == "4 references would be audited, 1 invalid entry"
    assert report.read_text() == "last night's"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"] == []
    written = orjson.loads(summary.read_bytes())
    assert written["kind"] == "forecast"
    assert written["registries"][0]["requests"]["manifest_get"] == 4
    assert written["lists"]["tags"]["denied"] == 1
