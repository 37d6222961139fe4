"""The names of the files of a run: placeholders, and suffixes that promise too much."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import load_settings, with_file_names
from auditor.config.file_names import (
    FileNameError,
    check_report_name,
    escaped,
    expand,
    has_placeholders,
    placeholder_values,
    values_in,
)
from auditor.errors import ConfigError

VALUES = {"date": "2026-11-30", "time": "020001", "host": "ci-1.example.com"}


def test_the_values_are_the_start_of_the_run_in_utc() -> None:
    assert placeholder_values("2026-11-29T02:00:01Z", "ci") == {
        "date": "2026-11-29",
        "time": "020001",
        "host": "ci",
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("-", "-"),
        ("report.jsonl", "report.jsonl"),
        ("report-{date}.jsonl.zst", "report-2026-11-30.jsonl.zst"),
        ("{host}/{date}T{time}", "ci-1.example.com/2026-11-30T020001"),
        ("{date}/{date}", "2026-11-30/2026-11-30"),
        ("a{{date}}b{{{{", "a{date}b{{"),
        ("{{{date}}}", "{2026-11-30}"),
    ],
)
def test_placeholders_are_replaced(name: str, path: str) -> None:
    assert expand(name, VALUES) == path


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("{day}", "{day}"),
        ("{}", "{}"),
        ("{Date}", "{Date}"),
        ("{date:%Y}", "{date:%Y}"),
        ("a{b", "{"),
        ("a}b", "}"),
        ("{date}}", "}"),
        ("{{date}", "}"),
    ],
)
def test_another_placeholder_is_refused(name: str, shown: str) -> None:
    with pytest.raises(FileNameError) as refused:
        check_report_name(name)
    assert str(refused.value) == (
        f"unknown placeholder {shown}: use {{date}}, {{time}} or {{host}}, and write"
        " {{ and }} for braces"
    )


@given(st.text("{}adte/"))
def test_an_escaped_path_expands_to_itself(path: str) -> None:
    assert expand(escaped(path), VALUES) == path
    assert not has_placeholders(escaped(path))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("r-2026-11-29.jsonl", {"date": "2026-11-29"}),
        ("r-2026-11-9.jsonl", None),
        ("r-2026-11-29xjsonl", None),
        ("r-2026-11-29.jsonl.old", None),
        ("r-latest.jsonl", None),
    ],
)
def test_a_path_is_recognised_as_what_a_name_became(
    path: str, values: dict[str, str] | None
) -> None:
    assert values_in(path, "r-{date}.jsonl", VALUES) == values


def test_a_path_of_another_host_or_with_two_dates_is_not_recognised() -> None:
    assert values_in("ci-2.example.com-020000", "{host}-{time}", VALUES) is None
    assert values_in("2026-11-29/2026-11-28", "{date}/{date}", VALUES) is None


@pytest.mark.parametrize(
    "name",
    [
        *("report", "report.jsonl", "report.ndjson", "report.json", "report.txt"),
        *("report.jsonl.gz", "report.zst", "report.2026.11.30", "r.example.com"),
        *("/dev/stdout", "/dev/fd/63", "-", ".csv", "x.csv/report", "report.old"),
    ],
)
def test_names_of_reports(name: str) -> None:
    assert check_report_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "x.csv",
            "a report is JSON lines, not .csv; write x.jsonl, then:"
            " auditor export x.jsonl --to csv -o x",
        ),
        (
            "a b/x.Parquet.gz",
            "a report is JSON lines, not .parquet; write a b/x.jsonl.gz, then:"
            " auditor export 'a b/x.jsonl.gz' --to parquet -o 'a b/x'",
        ),
        (
            "x.html",
            "a report is JSON lines, not .html; write x.jsonl, then:"
            " auditor html x.jsonl -o x.html",
        ),
        ("x.yaml", "a report is JSON lines, not .yaml; write x.jsonl"),
        ("x.jsonl.xz", "a report is compressed with .gz or .zst, not .xz"),
        ("x.jsonl.GZ", "write the suffix in small letters: .gz"),
    ],
)
def test_a_suffix_of_another_format_is_refused(name: str, message: str) -> None:
    with pytest.raises(FileNameError) as refused:
        check_report_name(name)
    assert str(refused.value) == message


def test_a_wrong_name_is_refused_with_its_place_in_every_source() -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(
            environment={"AUDITOR_METRICS": "{a}"},
            flags={"output": "x.csv", "summary": "{b}"},
        )
    places = [line.partition(": ")[0] for line in str(refused.value).splitlines()]
    assert places == ["AUDITOR_METRICS={a}", "--output", "--summary"]


def test_braces_of_a_folder_are_not_placeholders(tmp_path: Path) -> None:
    folder = tmp_path / "{team}"
    folder.mkdir()
    (folder / "c.toml").write_text('output = "r-{date}.jsonl"\nsummary = "~/s"\n')
    settings = load_settings(
        environment={"HOME": "/home/{me}"}, flags={"config": str(folder / "c.toml")}
    )
    named = with_file_names(settings, VALUES)
    assert named.output == str(folder / "r-2026-11-30.jsonl")
    assert named.summary == "/home/{me}/s"
    assert named.metrics is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"output": "r-{date}", "list": ("r-2026-11-30",)},
            "--output: would overwrite the input list",
        ),
        (
            {"output": "r-{date}", "summary": "r-2026-11-30"},
            "--summary: the same file as --output",
        ),
    ],
)
def test_files_that_are_the_same_today_are_refused(
    flags: dict[str, object], message: str
) -> None:
    settings = load_settings(environment={}, flags=flags)
    with pytest.raises(ConfigError, match=message):
        with_file_names(settings, VALUES)
    with_file_names(settings, {**VALUES, "date": "2026-12-01"})


def test_an_input_list_with_braces_is_not_overwritten() -> None:
    flags = {"output": "r-{{1}}", "list": ("r-{1}",)}
    with pytest.raises(ConfigError, match="would overwrite the input list"):
        load_settings(environment={}, flags=flags)
