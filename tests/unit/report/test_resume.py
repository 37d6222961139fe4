"""Which unfinished report `--resume` continues if its name has placeholders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auditor.config.file_names import expand, placeholder_values
from auditor.report.locked_journal import Journal
from auditor.report.resume import resumed_values
from auditor.util.clock import rfc3339

NOW_S = 1_795_917_600.0  # 2026-11-29T02:00:00Z
HOUR_S = 3600.0
VALUES = placeholder_values(rfc3339(NOW_S), "ci")


def _leave(folder: Path, name: str, *, begun_s: float = NOW_S - HOUR_S) -> None:
    """Leave what a killed run leaves."""
    with Journal(folder / f"{name}.journal", output=name) as journal:
        journal.begin({}, now=rfc3339(begun_s))
    (folder / f"{name}.partial").write_bytes(b"a record\n")


def _resumed(name: str) -> tuple[str, list[str]]:
    """The name of the report, without its folder, and what is said."""
    messages: list[str] = []
    values = resumed_values(
        name, VALUES, now_s=NOW_S, max_age_s=12 * HOUR_S, notify=messages.append
    )
    return Path(expand(name, values)).name, messages


@pytest.fixture
def template(tmp_path: Path) -> str:
    (tmp_path / "[1]").mkdir()
    return str(tmp_path / "[1]" / "r-{date}-{host}.jsonl.zst")


def test_without_an_unfinished_report_the_name_is_that_of_now(template: str) -> None:
    folder = Path(template).parent
    (folder / "r-2026-11-28-ci.jsonl.zst").write_bytes(b"complete")
    _leave(folder, "r-2026-11-28-other.jsonl.zst")
    _leave(folder, "r-latest-ci.jsonl.zst")
    assert _resumed(template) == ("r-2026-11-29-ci.jsonl.zst", [])


def test_the_newest_unfinished_report_is_continued_under_its_name(
    template: str,
) -> None:
    folder = Path(template).parent
    _leave(folder, "r-2026-11-27-ci.jsonl.zst")
    _leave(folder, "r-2026-11-28-ci.jsonl.zst")
    name, messages = _resumed(template)
    assert name == "r-2026-11-28-ci.jsonl.zst"
    assert messages == [
        f"continuing {folder / name}, which an earlier run left unfinished"
    ]


def test_that_of_today_is_continued_without_a_word(template: str) -> None:
    folder = Path(template).parent
    _leave(folder, "r-2026-11-28-ci.jsonl.zst")
    _leave(folder, "r-2026-11-29-ci.jsonl.zst")
    assert _resumed(template) == ("r-2026-11-29-ci.jsonl.zst", [])


def test_one_of_another_night_stays(template: str) -> None:
    folder = Path(template).parent
    _leave(folder, "r-2026-11-28-ci.jsonl.zst", begun_s=NOW_S - 24 * HOUR_S)
    name, (message,) = _resumed(template)
    assert name == "r-2026-11-29-ci.jsonl.zst"
    assert message == (
        f"{folder / 'r-2026-11-28-ci.jsonl.zst'}: left by an unfinished run that began"
        f" more than 12 hours ago (--resume-max-age); it stays, and {folder / name} is"
        " a new report"
    )


@pytest.mark.parametrize(
    ("age_s", "name"),
    [(HOUR_S, "2026-11-28T233000"), (24 * HOUR_S, "2026-11-29T020000")],
)
def test_shards_without_a_journal_count_from_the_first_file(
    age_s: float, name: str, tmp_path: Path
) -> None:
    shards = tmp_path / "2026-11-28T233000.shards"
    shards.mkdir()
    for number, file_age_s in enumerate((age_s, 0.0), 1):
        file = shards / f"{number}-of-2.jsonl"
        file.touch()
        os.utime(file, (NOW_S - file_age_s,) * 2)
    assert _resumed(str(tmp_path / "{date}T{time}"))[0] == name
