"""Nightly reports that are kept: when a tag moved, how a repository grew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.dataset as ds  # type: ignore[import-untyped]
import pytest

from auditor.analysis.history import add, show
from auditor.errors import FailureKind, OutputError, UsageError
from auditor.model import FailureRecord, ImageRecord, Record
from tests.documents import digest
from tests.records import REFUSED, failure, image, layer, platform
from tests.reports import write_report

OLD, NEW = digest("a"), digest("b")
REPOSITORY = "r.example.com/team/app"


def at(night: int) -> str:
    return f"2026-11-{night:02}T02:00:00Z"


def tag(name: str, night: int, **more: Any) -> ImageRecord:
    fields: dict[str, Any] = {
        "reference": f"{REPOSITORY}:{name}", "tag": name, "audited_at": at(night),
        "digest": OLD,
    }  # fmt: skip
    return image(**(fields | more))


def failed(name: str, night: int) -> FailureRecord:
    return failure(
        reference=f"{REPOSITORY}:{name}", repository="team/app", tag=name,
        failure=FailureKind.TIMEOUT, audited_at=at(night),
    )  # fmt: skip


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    def keep(*nights: list[Record]) -> Path:
        for number, records in enumerate(nights):
            add(tmp_path / "kept", [write_report(tmp_path / f"{number}.gz", records)])
        return tmp_path / "kept"

    return keep


def shown(dataset: Path, target: str | None = None) -> list[dict[str, str | None]]:
    with show(dataset, target) as answer:
        names = [column.name for column in answer.columns]
        return [dict(zip(names, row, strict=True)) for row in answer.rows()]


def periods(dataset: Path, target: str) -> list[tuple[str | None, ...]]:
    names = ("from", "until", "runs", "state", "digest")
    return [tuple(row[name] for name in names) for row in shown(dataset, target)]


def test_a_tag_that_moves_has_a_period_for_each_digest(kept: Any) -> None:
    dataset = kept(
        [tag("1", 1)], [tag("1", 2)], [tag("1", 3, digest=NEW)], [tag("1", 4)]
    )
    assert periods(dataset, f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-02", "2", "present", OLD),
        ("2026-11-03", "2026-11-03", "1", "present", NEW),
        ("2026-11-04", "2026-11-04", "1", "present", OLD),
    ]


def test_a_tag_that_comes_fails_and_goes_says_so(kept: Any) -> None:
    dataset = kept(
        [tag("other", 1)],
        [tag("other", 2), tag("1", 2)],
        [tag("other", 3), failed("1", 3)],
        [tag("other", 4), tag("1", 4)],
        [tag("other", 5)],
    )
    assert periods(dataset, f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-01", "1", "absent", None),
        ("2026-11-02", "2026-11-02", "1", "present", OLD),
        ("2026-11-03", "2026-11-03", "1", "timeout", None),
        ("2026-11-04", "2026-11-04", "1", "present", OLD),
        ("2026-11-05", "2026-11-05", "1", "absent", None),
    ]


def test_a_night_without_the_repository_says_nothing_of_its_tags(kept: Any) -> None:
    other = image(reference="r.example.com/o:1", repository="o", audited_at=at(2))
    dataset = kept([tag("1", 1)], [other], [tag("1", 3)])
    assert periods(dataset, f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-03", "2", "present", OLD)
    ]


def test_a_repository_grows_by_its_distinct_layers(kept: Any) -> None:
    more = platform("b", layers=(layer("1", 100), layer("9", 1000)))
    unknown = platform("c", layers=(layer("8", None),))
    dataset = kept(
        [tag("1", 1), tag("latest", 1)],
        [tag("1", 2), tag("2", 2, digest=NEW, platforms=(more,)), failed("3", 2)],
        [tag("4", 3, platforms=(unknown,))],
    )
    names = ("date", "references", "failures", "manifests", "layers", "bytes", "grown")
    assert [
        tuple(row[name] for name in names) for row in shown(dataset, REPOSITORY)
    ] == [
        ("2026-11-01", "2", "0", "1", "2", "300", None),
        ("2026-11-02", "2", "1", "2", "3", "1300", "1000"),
        ("2026-11-03", "1", "0", "1", "1", "0", "-1300"),
    ]


def test_a_repository_of_failures_alone_is_known(kept: Any) -> None:
    (row,) = shown(kept([failed("1", 1)]), REPOSITORY)
    assert (row["references"], row["failures"], row["bytes"]) == ("0", "1", "0")


def test_every_run_is_shown_oldest_first(kept: Any) -> None:
    dataset = kept([tag("1", 2)], [tag("1", 1), failed("2", 1), REFUSED])
    names = ("date", "repositories", "references", "failures", "bytes")
    assert [tuple(row[name] for name in names) for row in shown(dataset)] == [
        ("2026-11-01", "1", "1", "2", "300"),  # one of no repository
        ("2026-11-02", "1", "1", "0", "300"),
    ]


def test_adding_a_run_again_changes_nothing(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    two = write_report(tmp_path / "two.gz", [tag("2", 1)])
    dataset = tmp_path / "kept"
    run, new = add(dataset, [one, two])
    assert new
    assert run.date == "2026-11-01"
    files = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.parquet")}
    assert len(files) == 2
    assert add(dataset, [two, one]) == (run, False)
    assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*.parquet")} == files


def test_a_run_of_which_a_part_is_missing_is_completed(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    dataset = tmp_path / "kept"
    run, _ = add(dataset, [one])
    run.files(dataset)[1].unlink()
    assert add(dataset, [one]) == (run, True)
    assert len(shown(dataset)) == 1


def test_two_runs_of_one_night_are_two(kept: Any) -> None:
    dataset = kept([tag("1", 1)], [tag("1", 1, digest=NEW)])
    assert len(shown(dataset)) == 2


def test_of_a_reference_that_is_there_twice_the_latest_counts(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    late = tag("1", 1, digest=NEW, audited_at="2026-11-01T05:00:00Z")
    two = write_report(tmp_path / "two", [late])
    add(tmp_path / "kept", [two, one])
    assert periods(tmp_path / "kept", f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-01", "1", "present", NEW)
    ]


def test_the_data_set_is_read_by_another_library(kept: Any) -> None:
    dataset = kept([tag("1", 1)], [tag("1", 2, digest=NEW)])
    table = ds.dataset(dataset / "images", partitioning="hive").to_table()
    rows = table.sort_by("date").to_pylist()
    assert [(row["digest"], str(row["date"])) for row in rows] == [
        (OLD, "2026-11-01"),
        (NEW, "2026-11-02"),
    ]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("r.example.com/team/unknown", "knows nothing of r.example.com/team/unknown"),
        ("r.example.com/o'brien", "is not a reference"),
        ("r.example.com/UPPER:1", "lower case"),
    ],
)
def test_what_is_not_known_is_told(target: str, said: str, kept: Any) -> None:
    dataset = kept([tag("1", 1)])
    with pytest.raises(UsageError, match=said):
        shown(dataset, target)


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set of auditor history"):
        shown(tmp_path)


def test_a_data_set_without_a_run_is_told(tmp_path: Path) -> None:
    for kind in ("images", "repositories"):
        (tmp_path / kind / "date=2026-11-01").mkdir(parents=True)
    with pytest.raises(UsageError, match="no run has been added"):
        shown(tmp_path)


def test_a_night_on_which_nothing_was_a_reference_is_shown(kept: Any) -> None:
    (night,) = shown(kept([REFUSED]))
    assert (night["repositories"], night["failures"]) == ("0", "1")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "the report holds no record"),
        ([image(audited_at="../../x")], "do not say when they were made"),
    ],
)
def test_a_report_without_a_time_is_not_added(
    records: list[Record], said: str, tmp_path: Path
) -> None:
    report = write_report(tmp_path / "r", records)
    with pytest.raises(UsageError, match=said):
        add(tmp_path / "kept", [report])
    assert not (tmp_path / "kept").exists()


def test_a_data_set_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [tag("1", 1)])
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(OutputError, match="kept"):
        add(tmp_path / "kept", [report])


def test_a_data_set_may_have_a_name_with_globs_and_quotes(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [tag("1", 1)])
    add(tmp_path / "it's [1]*", [report])
    assert len(shown(tmp_path / "it's [1]*")) == 1
