"""Thirty nights with everything that happens in a month, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.analysis.history import show
from auditor.cli.output import json_text
from auditor.config import KeepRules, NotifyOn, NotifySettings
from auditor.demo.image_builder import image, index
from auditor.errors import OutputError, UsageError
from auditor.nightly import night_folder, night_run
from auditor.nightly.night_folder import read_nights
from auditor.nightly.night_text import status_lines
from auditor.nightly.retention import expired_nights
from tests.flow.harness import lab, simple
from tests.flow.http_sink import Sink, http_sink
from tests.flow.nights import Nights, nights_of, read_report
from tests.support.fault_actions import Answer

pytestmark = pytest.mark.anyio

POLICY = """
[rules.everything]
forbid_failures = true
[rules.tags]
immutable_tags = ["1.*"]
"""
# The nights of which a notification was sent, with its first line. A night without a
# line was a good one without changes.
TOLD = {
    "2026-12-05": "0 of 6 references failed; 1 moved; 1 policy violation",
    "2026-12-09": "0 of 6 references failed; 1 moved; 1 policy violation",
    "2026-12-11": "1 of 6 references failed; 1 failing; 1 policy violation",
    "2026-12-12": "1 of 6 references failed; 1 policy violation",
    "2026-12-13": "no image could be audited",
    "2026-12-14": "0 of 6 references failed; 1 healed",
    "2026-12-16": "No space left on device",
    "2026-12-23": "policy.toml: cannot be read",
}


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device", "reports")


def _page(reports: Sequence[str], **_: object) -> str:
    return f"<!DOCTYPE html>{reports[0]}"


def _titles(sink: Sink) -> list[str]:
    return [
        str(orjson.loads(body)["title"])
        for _, path, body in sink.seen
        if path == "/hook"
    ]


def _pings(sink: Sink) -> dict[str, int]:
    paths = [path for path in sink.paths() if path.startswith("/ping")]
    return {path: paths.count(path) for path in sorted(set(paths))}


def _status(nights: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [
        (one["name"], one["complete"], one["exit_code"], one["changes"])
        for one in (orjson.loads(json_text(night)) for night in nights)
    ]


async def test_a_month_of_nights_is_told_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_run, "make_page", _page)  # most of the time of a night
    content = simple(f"team/app:1.{n}" for n in range(4))
    both = [image("x", platform=one) for one in ("linux/amd64", "linux/arm64")]
    content.add("team/multi", index(both), "1.0")
    content.add("team/gone", image("gone"), "1.0")
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    async with lab(content) as here, http_sink() as sink:
        nights = nights_of(
            here,
            tmp_path,
            *("team/app:*", "team/multi:*", "team/gone:1.0"),
            policy=str(policy),
            notify=NotifySettings(urls_env="URLS", on=NotifyOn.CHANGE),
            ping_url=f"{sink.url}/ping",
        )
        nights.environment["URLS"] = f"json://{sink.url.removeprefix('http://')}/hook"
        sent: dict[str, list[str]] = {}
        for day in range(1, 31):
            before = len(_titles(sink))
            await _night(day, nights, content, both, policy, monkeypatch)
            if titles := _titles(sink)[before:]:
                sent[f"2026-12-{day:02}"] = titles
        everything = read_nights(nights.settings.folder)
        with show(nights.folder / "history", here.ref("team/app:1.1")) as result:
            periods = [row[:3] for row in result.rows()]
    # Notifications: one for each night with news, and none for the others.
    assert {one: len(titles) for one, titles in sent.items()} == dict.fromkeys(TOLD, 1)
    for name, sentence in TOLD.items():
        assert sentence in sent[name][0]
    # The switch: a kill and an outage are no success; the disk and the policy failed.
    assert _pings(sink) == {"/ping": 26, "/ping/fail": 7}
    told = _status(everything)
    assert [name for name, complete, _, _ in told if not complete] == [
        "2026-12-13",
        "2026-12-23T020000Z",
    ]
    by_name = {name: (code, changes) for name, _, code, changes in told}
    assert by_name["2026-12-05"] == (1, {"moved": 1})
    assert by_name["2026-12-13"][0] == 1
    assert by_name["2026-12-16"] == (0, {})  # finished an hour later
    assert by_name["2026-12-16-2"] == (0, {})
    assert by_name["2026-12-18"] == (0, {})
    assert by_name["2026-12-20-2"] == (0, {})
    assert by_name["2026-12-23T020000Z"][0] == 2
    table = "\n".join(status_lines(everything, nights.settings.folder))
    assert "exit code 2: " in table
    assert "no image could be audited" in table
    # Compared with the last complete night, however many failed in between.
    compared = {night.name: night.compared_with for night in everything}
    assert compared["2026-12-14"] == "2026-12-12"
    assert compared["2026-12-24"] == "2026-12-22"
    # 30 nights without an outage and one without a policy, two of them twice.
    assert periods == [
        ("2026-12-01", "2026-12-04", "4"),
        ("2026-12-05", "2026-12-30", "26"),
    ]
    newest = nights.folder / "reports" / "2026-12-30.jsonl.zst"
    assert (nights.folder / "latest.jsonl.zst").resolve() == newest
    assert (nights.folder / "latest.html").read_text().endswith(str(newest))
    assert len(read_report(newest)) == 6
    _check_retention(nights)


async def _night(
    day: int,
    nights: Nights,
    content: Any,
    both: Sequence[Any],
    policy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The night of a day, with what happens to it."""
    at, later = (f"2026-12-{day:02}T0{hour}:00:00Z" for hour in (2, 3))
    faults = nights.here.faults
    match day:
        case 5:  # a tag moves
            content.add("team/app", image("moved"), "1.1")
        case 9:  # a platform is lost
            content.add("team/multi", index(both[:1]), "1.0")
        case 11:  # a reference fails
            faults.on("*", "/v2/team/gone/*", Answer(404), forever=True)
        case 13:  # an outage of a whole night
            faults.on("*", "/v2/*", Answer(403), forever=True)
        case 14:
            faults.rules.clear()
        case 16:  # the disk is full; an hour later it is not
            with monkeypatch.context() as patch:
                patch.setattr(night_folder, "compress_file", _no_space)
                with pytest.raises(OutputError):
                    await nights.night(at)
            at = later
        case 18:  # a kill, continued an hour later
            assert await nights.night(at, stop=True) is None
            at = later
        case 20:  # the clock is set back by an hour
            await nights.night(later)
        case 23:  # somebody moved the policy
            away = policy.rename(policy.with_name("away.toml"))
            with pytest.raises(UsageError):
                await nights.night(at)
            away.rename(policy)
            return
    await nights.night(at)


def _check_retention(nights: Nights) -> None:
    """The rules remove what they say they would, and nothing else."""
    keep = KeepRules(daily=7, weekly=4, monthly=1)
    expired = expired_nights(nights.known, keep)
    with night_folder.open_night_folder(nights.settings.folder) as folder:
        for night in expired:
            folder.remove(night)
    # Weekly: the newest complete nights of the weeks that end on 13, 20 and 27
    # December and of the last; daily: the last seven.
    kept = [night.name for night in nights.known]
    assert kept == [
        "2026-12-12",
        "2026-12-13",  # the outage: newer than the oldest night that is kept
        "2026-12-20-2",
        "2026-12-23T020000Z",
        *(f"2026-12-{day}" for day in range(24, 31)),
    ]
    reports = {one.name for one in (nights.folder / "reports").iterdir()}
    assert reports == {f"{name}.jsonl.zst" for name in kept if "T" not in name}
