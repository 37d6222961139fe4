"""`auditor nightly` in a folder with damaged files: the nights go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.analysis.history import show
from auditor.demo.image_builder import image
from auditor.nightly.night_folder import read_nights
from auditor.nightly.night_run import NightRun
from auditor.nightly.notifications import Announcer
from tests.flow.harness import lab, simple
from tests.flow.nights import nights_of
from tests.flow.test_nightly import _Killed, _killed

pytestmark = pytest.mark.anyio

TORN = {
    "empty": b"",
    "cut": b'{"number": 1, "na',
    "no object": b"[]",
    "no night": b"{}",
    "types": b'{"number": "1", "name": "2026-12-01", "started_at": "2026-12-01"}',
    "path": b'{"number": 1, "name": "../x", "started_at": "2026-12-01T00:00:00Z"}',
}


async def test_a_history_that_cannot_be_written_holds_up_no_night(
    tmp_path: Path,
) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        nights.folder.mkdir()
        history = nights.folder / "history"
        history.write_text("a file")
        for day in ("2026-12-01", "2026-12-02"):
            result = await nights.night(day)
            assert result is not None
            assert (result.exit_code, result.night.complete) == (3, True)
            assert f"the next night adds {day} to the history" in result.lines[1]
        assert (nights.folder / "latest.jsonl.zst").resolve().stem == "2026-12-02.jsonl"
        history.unlink()
        result = await nights.night("2026-12-03")
    assert result is not None
    assert (result.exit_code, result.lines) == (0, ())
    assert {night.in_history for night in nights.known} == {True}
    with show(history, here.ref("team/app:1.0")) as found:
        (row,) = found.rows()
    assert row[:3] == ("2026-12-01", "2026-12-03", "3")


async def test_what_a_killed_run_left_in_the_history_is_removed(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        await nights.night("2026-12-01")
        left = nights.folder / "history/images/date=2026-12-01/.auditor-1"
        left.mkdir()
        (left / "new").write_bytes(b"PAR1")
        await nights.night("2026-12-02")
    assert not left.exists()


@pytest.mark.parametrize("content", TORN.values(), ids=TORN)
def test_a_torn_record_of_a_night_is_left_out(content: bytes, tmp_path: Path) -> None:
    torn = tmp_path / "nights" / "2026-12-01.json"
    torn.parent.mkdir()
    torn.write_bytes(content)
    messages: list[str] = []
    assert read_nights(str(tmp_path), messages.append) == []
    (message,) = messages
    assert message.startswith(f"{torn}: not ")
    assert message.endswith("; remove it")


async def test_a_torn_record_of_a_night_holds_up_no_night(tmp_path: Path) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        await nights.night("2026-12-01")
        await nights.night("2026-12-02")
        torn = nights.folder / "nights" / "2026-12-02.json"
        torn.write_bytes(TORN["cut"])
        result = await nights.night("2026-12-03")
    assert result is not None
    assert (result.exit_code, result.night.compared_with) == (0, "2026-12-01")
    assert result.lines == (f"warning: left out: {torn}: not valid JSON; remove it",)
    assert torn.read_bytes() == TORN["cut"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("tonight.json", b'{"number": 2, "na'), ("tonight.summary.json", b"{}")],
)
async def test_a_torn_state_of_the_night_in_progress_is_left_out(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(simple(["team/app:1.0", "team/app:1.1"])) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        await nights.night("2026-12-01")
        with monkeypatch.context() as patch:
            patch.setattr(NightRun, "finish", _killed)
            with pytest.raises(_Killed):
                await nights.night("2026-12-02")
        (nights.folder / name).write_bytes(content)
        result = await nights.night("2026-12-02T03:00:00Z")
    assert result is not None
    assert (result.exit_code, result.night.audited) == (0, 2)
    assert result.night.changes == {}
    assert result.lines[0].startswith(f"warning: left out: {nights.folder / name}: not")
    assert not list(nights.folder.glob("tonight*"))


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "no report"])
async def test_a_damaged_report_of_the_previous_night_is_not_compared_with(
    damage: str, tmp_path: Path
) -> None:
    content = simple(["team/app:1.0", "team/app:1.1"])
    async with lab(content) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=damage == "cut")
        await nights.night("2026-12-01")
        await nights.night("2026-12-02")
        report = nights.folder / "reports" / "2026-12-02.jsonl.zst"
        good = report.read_bytes()
        middle = len(good) // 2
        bad = {
            "empty": b"",
            "cut": good[:middle],
            "changed": good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :],
            "no report": b"not a report",
        }
        report.write_bytes(bad[damage])
        content.add("team/app", image("moved"), "1.0")
        result = await nights.night("2026-12-03")
    assert result is not None
    assert (result.exit_code, result.night.compared_with) == (0, "2026-12-01")
    assert result.night.changes == {"moved": 1}
    (line,) = result.lines
    assert line.startswith("warning: not compared with the night 2026-12-02: ")


async def test_an_earlier_night_that_cannot_be_finished_is_kept_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(simple(["team/app:1.0"])) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        with monkeypatch.context() as patch:
            patch.setattr(Announcer, "finished", _killed)
            with pytest.raises(_Killed):
                await nights.night("2026-12-01")
        (nights.folder / "tonight.jsonl").write_text('{"kind": "image"\n')
        result = await nights.night("2026-12-02")
    assert result is not None
    assert result.exit_code == 0
    (line,) = result.lines
    assert "the night 2026-12-01 is left out" in line
    first, second = nights.known
    assert (first.complete, second.complete) == (False, True)
    assert (nights.folder / "reports" / "2026-12-01.jsonl.zst").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\x00"])
async def test_a_night_with_a_damaged_journal_is_left_out(
    content: bytes, tmp_path: Path
) -> None:
    async with lab(simple(f"team/app:{n}" for n in range(3))) as here:
        nights = nights_of(here, tmp_path, "team/app:*", page=False)
        await nights.night("2026-12-01T02:00:00Z", stop=True)
        (nights.folder / "tonight.jsonl.journal").write_bytes(content)
        (nights.folder / "tonight.jsonl.partial").write_bytes(b"{}\n")
        result = await nights.night("2026-12-01T03:00:00Z")
    assert result is not None
    assert (result.exit_code, result.night.audited) == (0, 3)
    (line,) = result.lines
    assert line.endswith(": its journal is damaged")
    assert not list(nights.folder.glob("tonight*"))
