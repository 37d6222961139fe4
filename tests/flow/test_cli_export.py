"""The command `auditor export`."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditor.cli.main import run
from tests.records import RECORDS
from tests.reports import write_report


@pytest.fixture
def report(tmp_path: Path) -> str:
    return write_report(tmp_path / "report.jsonl", RECORDS)


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_a_folder_has_a_file_for_each_table(
    target: str, report: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "folder"
    assert run(["export", report, "--to", target, "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"attachments.{target}",
        f"bases.{target}",
        f"failures.{target}",
        f"images.{target}",
        f"input_labels.{target}",
        f"layers.{target}",
        f"platforms.{target}",
        f"signatures.{target}",
        f"sources.{target}",
        f"warnings.{target}",
    ]


@pytest.mark.parametrize("target", ["duckdb", "sqlite"])
def test_a_database_is_one_file(target: str, report: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / f"inventory.{target}"
    assert run(["export", report, "--to", target, "-o", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_tables_can_be_selected(report: str, tmp_path: Path) -> None:
    choice = ["--table", "layers", "--table", "images", "--table", "layers"]
    assert (
        run(["export", report, "--to", "csv", "-o", str(tmp_path / "o"), *choice]) == 0
    )
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
        "images.csv",
        "layers.csv",
    ]


def test_an_existing_file_is_only_replaced_with_force(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", report, "--to", "sqlite", "-o", str(tmp_path / "o")]
    assert run(command) == 0
    assert run(command) == 2
    assert capsys.readouterr().err == (
        f"auditor: {tmp_path / 'o'}: exists; --force replaces it\n"
    )
    assert run([*command, "--force"]) == 0


@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_a_file_in_place_of_the_folder_is_refused_also_with_force(
    target: str, report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert run(["export", report, "--to", target, "-o", str(file), "--force"]) == 2
    assert capsys.readouterr().err == (
        f"auditor: {file}: is a file; {target} needs a folder\n"
    )
    assert file.read_bytes() == b""


def test_an_unwritable_output_is_exit_code_3(
    report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{report}/out"
    assert run(["export", report, "--to", "parquet", "-o", out]) == 3
    assert capsys.readouterr().err.startswith(f"auditor: {out}")


def test_tables_of_an_earlier_export_are_named(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be read as tables of the same report."""
    out = tmp_path / "o"
    command = ["export", report, "--to", "parquet", "-o", str(out), "--force"]
    tables = ["--table", "images", "--table", "layers"]
    assert run([*command, *tables]) == 0
    assert capsys.readouterr().err == ""
    assert run([*command, "--table", "failures"]) == 0
    assert capsys.readouterr().err == (
        f"auditor: {out}: of an earlier export, and not replaced: images.parquet,"
        " layers.parquet\n"
    )
    assert run(command) == 0
    assert capsys.readouterr().err == ""


def test_a_part_of_a_report_is_named(
    report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    partial = Path(report).rename(tmp_path / "report.jsonl.partial")
    notice = f"auditor: {partial}: the audit did not come to its end, so this is a part"
    for command in (
        ["export", str(partial), "--to", "sqlite", "-o", str(tmp_path / "o")],
        ["query", str(partial), "select count(*) from images"],
    ):
        assert run(command) == 0
        assert capsys.readouterr().err.startswith(notice)
