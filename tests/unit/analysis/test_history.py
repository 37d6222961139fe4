"""The history of nightly reports: when a tag moved, and the documented queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds  # type: ignore[import-untyped]
import pytest

from auditor.analysis.history import add, show
from auditor.errors import FailureKind, OutputError, UsageError
from auditor.model import FailureRecord, ImageRecord, Record, Warn, WarningCode
from tests.manifests import digest
from tests.records import REFUSED, failure, image, layer, platform
from tests.reports import write_report

DOCS = Path(__file__).parents[3] / "docs" / "guide" / "history.md"
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
def add_runs(tmp_path: Path) -> Any:
    def add_all(*runs: list[Record]) -> Path:
        for number, records in enumerate(runs):
            add(tmp_path / "runs", [write_report(tmp_path / f"{number}.gz", records)])
        return tmp_path / "runs"

    return add_all


def test_layers_that_are_not_in_the_registry_have_no_bytes(add_runs: Any) -> None:
    """Of two tags with one such layer, one has it in the registry."""
    warning = Warn(
        code=WarningCode.FOREIGN_LAYER,
        detail=f"layer {digest('8')} is stored elsewhere: it has URLs of its own",
    )
    windows = (platform(layers=(layer("8", 10**13), layer("9", 7))),)
    dataset = add_runs(
        [tag("w", 1, platforms=windows, warnings=(warning,)), tag("1", 1)],
        [
            tag("w", 2, platforms=windows, warnings=(warning,)),
            tag("v", 2, platforms=windows, digest=NEW),
        ],
    )
    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT layers, bytes FROM read_parquet(?) ORDER BY run",
            [f"{dataset}/repositories/**/*.parquet"],
        ).fetchall()
    assert found == [(3, 307), (2, 10**13 + 7)]


def periods(dataset: Path, target: str) -> list[tuple[str | None, ...]]:
    with show(dataset, target) as result:
        return [row[:5] for row in result.rows()]


def documented_queries(dataset: Path) -> list[list[tuple[Any, ...]]]:
    """The rows of each query in the documentation."""
    text = DOCS.read_text(encoding="utf-8")
    text = text.replace("registry.example.com", "r.example.com")  # as in these reports
    queries = re.findall(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    with duckdb.connect() as connection:
        return [
            connection.execute(
                query.replace("'runs/", f"'{dataset}/").replace("registry.", "r.")
            ).fetchall()
            for query in queries
        ]


@pytest.fixture
def dataset_of_three_runs(add_runs: Any) -> Any:
    more = platform("b", layers=(layer("1", 100), layer("9", 1000)))
    unknown = platform("c", layers=(layer("8", None),))
    return add_runs(
        [tag("1", 1), tag("latest", 1), REFUSED],
        [tag("1", 2), tag("2", 2, digest=NEW, platforms=(more,)), failed("3", 2)],
        [tag("1", 3, digest=NEW, platforms=(unknown,))],
    )


def test_the_documented_queries_give_runs_growth_and_moved_tags(
    dataset_of_three_runs: Path,
) -> None:
    runs, growth, most_grown, moved = documented_queries(dataset_of_three_runs)
    assert [(str(row[1]), *row[2:]) for row in runs] == [
        ("2026-11-01", 1, 2, 1, 300),  # one failure without a repository
        ("2026-11-02", 1, 2, 1, 1300),
        ("2026-11-03", 1, 1, 0, 0),
    ]
    assert [row[1:] for row in growth] == [
        (2, 0, 1, 2, 300, None),
        (2, 1, 2, 3, 1300, 1000),
        (1, 0, 1, 1, 0, -1300),
    ]
    assert ("r.example.com", "team/app", -300) in most_grown
    assert moved == [(f"{REPOSITORY}:1", 2)]


def test_a_moved_tag_has_a_period_for_each_digest(add_runs: Any) -> None:
    dataset = add_runs(
        [tag("1", 1)], [tag("1", 2)], [tag("1", 3, digest=NEW)], [tag("1", 4)]
    )
    assert periods(dataset, f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-02", "2", "present", OLD),
        ("2026-11-03", "2026-11-03", "1", "present", NEW),
        ("2026-11-04", "2026-11-04", "1", "present", OLD),
    ]


def test_an_added_failed_and_removed_tag_has_a_period_for_each_state(
    add_runs: Any,
) -> None:
    dataset = add_runs(
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


def test_a_run_without_the_repository_is_left_out(add_runs: Any) -> None:
    other = image(reference="r.example.com/o:1", repository="o", audited_at=at(2))
    dataset = add_runs([tag("1", 1)], [other], [tag("1", 3)])
    assert periods(dataset, f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-03", "2", "present", OLD)
    ]


def test_adding_a_run_again_changes_nothing(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    two = write_report(tmp_path / "two.gz", [tag("2", 1)])
    dataset = tmp_path / "runs"
    run, new = add(dataset, [one, two])
    assert new
    assert run.date == "2026-11-01"
    files = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.parquet")}
    assert len(files) == 2
    assert add(dataset, [two, one]) == (run, False)
    assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*.parquet")} == files


def test_an_incomplete_run_is_completed(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    dataset = tmp_path / "runs"
    run, _ = add(dataset, [one])
    run.files(dataset)[1].unlink()
    assert add(dataset, [one]) == (run, True)
    assert len(periods(dataset, f"{REPOSITORY}:1")) == 1


def test_the_latest_record_of_a_repeated_reference_counts(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", [tag("1", 1)])
    late = tag("1", 1, digest=NEW, audited_at="2026-11-01T05:00:00Z")
    two = write_report(tmp_path / "two", [late])
    add(tmp_path / "runs", [two, one])
    assert periods(tmp_path / "runs", f"{REPOSITORY}:1") == [
        ("2026-11-01", "2026-11-01", "1", "present", NEW)
    ]


def test_another_library_reads_the_data_set(add_runs: Any) -> None:
    dataset = add_runs([tag("1", 1)], [tag("1", 2, digest=NEW)])
    table = ds.dataset(dataset / "images", partitioning="hive").to_table()
    rows = table.sort_by("date").to_pylist()
    assert [(row["digest"], str(row["date"])) for row in rows] == [
        (OLD, "2026-11-01"),
        (NEW, "2026-11-02"),
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("r.example.com/unknown:1", "runs: no data for r.example.com/unknown:1$"),
        (
            "team/app:1",
            r"no data for team/app:1; did you mean r.example.com/team/app:1\?$",
        ),
        ("app:1", r"no data for app:1; did you mean r.example.com/team/app:1\?$"),
        (
            "r.example.com/team/app:9",
            r"app:9 was in no run; did you mean r.example.com/team/app:1\?$",
        ),
        (
            "r.example.com/teem/app:1",
            r"no data for r.*; did you mean r.example.com/team/app:1\?$",
        ),
        ("r.example.com/team/app@sha256:012345", "no digest of r.* begins with 012345"),
        ("r.example.com/o'brien", "is not a reference"),
        ("r.example.com/UPPER:1", "lower case"),
    ],
)
def test_a_reference_without_data_is_a_usage_error(
    target: str, message: str, add_runs: Any
) -> None:
    dataset = add_runs([tag("1", 1)])
    with pytest.raises(UsageError, match=message):
        periods(dataset, target)


def test_a_folder_without_a_data_set_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a data set of auditor history"):
        periods(tmp_path, f"{REPOSITORY}:1")


def test_a_data_set_without_a_run_is_a_usage_error(tmp_path: Path) -> None:
    for kind in ("images", "repositories"):
        (tmp_path / kind / "date=2026-11-01").mkdir(parents=True)
    with pytest.raises(UsageError, match="no run in images"):
        periods(tmp_path, f"{REPOSITORY}:1")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "the report is empty: there is no run to add"),
        ([image(audited_at="../../x")], "have no valid audited_at"),
    ],
)
def test_a_report_without_a_time_is_not_added(
    records: list[Record], message: str, tmp_path: Path
) -> None:
    report = write_report(tmp_path / "r", records)
    with pytest.raises(UsageError, match=message):
        add(tmp_path / "runs", [report])
    assert not (tmp_path / "runs").exists()


def test_an_unwritable_data_set_is_an_output_error(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [tag("1", 1)])
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OutputError, match="runs"):
        add(tmp_path / "runs", [report])


def test_the_name_of_a_data_set_can_have_globs_and_quotes(tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [tag("1", 1)])
    add(tmp_path / "it's [1]*", [report])
    assert len(periods(tmp_path / "it's [1]*", f"{REPOSITORY}:1")) == 1


def test_the_first_digits_of_a_digest_are_enough(add_runs: Any) -> None:
    by_digest = {"reference": f"{REPOSITORY}@{OLD}", "tag": None}
    dataset = add_runs([image(**by_digest, audited_at=at(1), digest=OLD)])
    with show(dataset, f"{REPOSITORY}@{OLD[:19]}") as result:
        ((*_, size, _architectures),) = result.rows()
    assert size == "300"


def test_people_get_times_readable_sizes_and_short_digests(add_runs: Any) -> None:
    dataset = add_runs([tag("1", 1, size=28_200_000)])
    with show(dataset, f"{REPOSITORY}:1", for_people=True) as result:
        assert list(result.rows()) == [
            ("2026-11-01 02:00", "2026-11-01 02:00", "1", "present", OLD[:19],
             "28.2 MB", "1"),
        ]  # fmt: skip


def test_images_say_what_they_are(add_runs: Any) -> None:
    dataset = add_runs([tag("1", 1), failed("2", 1)])
    table = ds.dataset(dataset / "images", partitioning="hive").to_table()
    assert sorted(map(str, table.column("content").to_pylist())) == ["None", "image"]


def test_a_tag_whose_listing_failed_is_not_absent(add_runs: Any) -> None:
    def listing(night: int, pattern: str, **more: Any) -> FailureRecord:
        return failure(
            reference=f"{REPOSITORY}:{pattern}", repository="team/app", tag=None,
            audited_at=at(night), **more,
        )  # fmt: skip

    denied = {"failure": FailureKind.DENIED, "status": 403}
    data = add_runs(
        [tag("1", 1), tag("2", 1)],
        [listing(2, "*", **denied)],
        [tag("2", 3), listing(3, "v*", **denied)],
        [tag("2", 4), listing(4, "1*", status=None)],  # matches nothing
    )
    with show(data, f"{REPOSITORY}:1") as result:
        states = [(row[0], row[3]) for row in result.rows()]
    assert states == [
        ("2026-11-01", "present"), ("2026-11-02", "unlisted"), ("2026-11-03", "absent"),
    ]  # fmt: skip
