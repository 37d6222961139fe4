"""The command `auditor packages`, and the tables of SBOMs in `query` and `export`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from auditor.analysis.export import TABLES
from auditor.analysis.query import view_columns
from auditor.analysis.view_columns import SBOM_VIEW_HELP
from auditor.cli.main import run
from auditor.errors import FailureKind
from tests.records import failure, image
from tests.reports import write_report
from tests.unit.analysis.test_packages import (
    LIBSSL,
    ODD,
    attached,
    one,
    package,
    sbom,
    write_sboms,
)

HOSTILE = package("openssl", "\x1b[2J=1+1", type="npm", license="=cmd|' /C calc'!A0")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    report = write_report(
        tmp_path / "report.jsonl",
        [
            one("1", "1", attached("e1", "1a"), attached("e2", "1b")),
            one("2", "2", attached("e3", "2")),
            one("3", "3", has_sbom=False),
            failure(),
        ],
    )
    sboms = write_sboms(
        tmp_path / "sboms.jsonl",
        [
            sbom("e1", LIBSSL),
            sbom("e2", HOSTILE, ODD),
            sbom("e3", failure=FailureKind.TOO_LARGE, detail="too large"),
        ],
    )
    return report, sboms


def test_the_table_and_what_is_not_known(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    assert run(["packages", report, "openssl", "--sbom", sboms]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["packages", "in", "1", "image", "(3)"],
        ["image", "platform", "package", "version", "type"],
        [
            *("r.example.com/app:1", "linux/amd64", "libssl3", "(of", "openssl)"),
            *("3.0.7-1", "deb"),
        ],
        ["r.example.com/app:1", "linux/arm64", "openssl", r"\x1b[2J=1+1", "npm"],
        ["r.example.com/app:1", "linux/arm64", "openssl", "latest", "npm"],
    ]
    assert err.splitlines() == [
        "auditor: looked into the SBOMs of 1 of 3 images",
        "auditor:   1 with SBOMs that could not be read",
        "auditor:   1 without an SBOM",
        "auditor:   1 reference could not be audited",
    ]


def test_a_version_without_order_is_listed_and_counted(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    arguments = ["openssl", "--version", "<3.0.8", "--sbom", sboms]
    assert run(["packages", report, *arguments]) == 0
    out, err = capsys.readouterr()
    assert "latest (not compared)" in out
    assert err.splitlines()[-1] == (
        "auditor:   2 packages with a version that cannot be compared; listed as well"
    )
    assert run(["packages", report, *arguments, "--format", "jsonl"]) == 0
    *uses, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert {(use["kind"], use["in_range"]) for use in uses} == {
        ("package_use", True),
        ("package_use", None),
    }
    assert (totals["kind"], totals["not_compared"]) == ("totals", 2)


def test_csv_runs_no_formula(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    run(["packages", report, "--type", "npm", "--sbom", sboms, "--format", "csv"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["version"] for row in rows] == [r"\x1b[2J=1+1", "latest"]
    assert rows[0]["license"].startswith("'=cmd")


def test_nothing_found_is_an_answer(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    assert run(["packages", report, "log4j*", "--sbom", sboms]) == 0
    assert "packages in 0 images (0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{report}", "openssl"], "--sbom FILE: name the file that auditor audit"),
        (["openssl", "--sbom", "{sboms}"], "name the report before the package"),
        (["{report}", "a", "--sbom", "nothing"], "nothing: no such SBOM file"),
        (["{report}", "a", "--sbom", "{report}"], "not an SBOM file but a report"),
        (["{sboms}", "a", "--sbom", "{sboms}"], "not a report but an SBOM file"),
        (
            ["{report}", "a", "--sbom", "{sboms}", "--version", "~1"],
            "--version ~1: not a range of versions",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(
    files: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    names = dict(zip(("report", "sboms"), files, strict=True))
    assert run(["packages", *(text.format(**names) for text in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err


def test_the_tables_are_exported(files: tuple[str, str], tmp_path: Path) -> None:
    report, sboms = files
    out = tmp_path / "tables"
    arguments = ["export", report, "--to", "csv", "-o", str(out)]
    assert run([*arguments, "--table", "packages"]) == 2
    assert run([*arguments, "--sbom", sboms]) == 0
    assert {one.stem for one in out.iterdir()} == set(TABLES) | {"sboms", "packages"}
    packages = csv.DictReader((out / "packages.csv").read_text().splitlines())
    assert [row["name"] for row in packages] == ["libssl3", "openssl", "openssl"]


def test_every_column_has_a_meaning(files: tuple[str, str], tmp_path: Path) -> None:
    report, sboms = files
    second = write_report(tmp_path / "second.jsonl", [image()])
    shown = {view: columns for view, _, columns in view_columns([report], [sboms])}
    several = view_columns([report, second], [sboms])
    for view, help_ in SBOM_VIEW_HELP.items():
        names = [name for name, _, _ in shown[view]]
        assert names == list(help_.columns)
        (columns,) = (found for name, _, found in several if name == view)
        assert [name for name, _, _ in columns] == ["report", *names]


PACKAGE_RULE = """
[rules.flaws]
forbidden_packages = [{ name = "openssl", version = "<3.0.8" }]
"""


def test_a_policy_forbids_packages(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    policy = tmp_path / "policy.toml"
    policy.write_text(PACKAGE_RULE)
    arguments = ["check", report, "--policy", str(policy)]
    assert run([*arguments, "--sbom", sboms, "--format", "jsonl"]) == 1
    *violations, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(each["tag"], each["known"], each["found"]) for each in violations] == [
        ("1", True, ["libssl3 3.0.7-1 (of openssl; linux/amd64)"]),
        ("2", False, ["its packages, because its SBOMs could not be read"]),
        ("3", False, ["its packages, because it has no SBOM"]),
    ]
    assert totals["rules"]["flaws.forbidden_packages"]["violations"] == 3
    assert totals["notices"][0].startswith(
        "flaws.forbidden_packages: unknown for 2 of 3 references; attach an SBOM"
    )
    page = tmp_path / "page.html"
    arguments = ["html", report, "--policy", str(policy), "-o", str(page)]
    assert run([*arguments, "--sbom", sboms]) == 0
    assert "libssl3 3.0.7-1 (of openssl; linux/amd64)" in page.read_text()


@pytest.mark.parametrize("command", ["check", "html"])
def test_a_rule_about_packages_needs_the_sbom_file(
    command: str,
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(PACKAGE_RULE)
    arguments = [command, files[0], "--policy", str(policy), "-o", "-"]
    assert run(arguments) == 2
    assert capsys.readouterr().err == (
        f"auditor: {policy}:3: flaws.forbidden_packages needs the packages of the"
        " SBOMs; give the file of audit --sbom with --sbom FILE\n"
    )
    assert run([*arguments, "--sbom", files[0]]) == 2
    assert "not an SBOM file but a report" in capsys.readouterr().err
    assert run([*arguments, "--sbom", str(tmp_path / "none")]) == 2


def test_a_type_that_no_package_has_is_reported(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    report, sboms = files
    assert run(["packages", report, "--type", "apk", "--sbom", sboms]) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        "auditor: no package in the SBOMs has the type apk; they have npm, deb"
    )
    assert run(["packages", report, "--type", "deb", "--sbom", sboms]) == 0
    assert "no package" not in capsys.readouterr().err
    assert run(["packages", report, "pkg:debb/", "--sbom", sboms]) == 2
    assert capsys.readouterr() == (
        "",
        "auditor: debb: unknown type of packages; did you mean deb?; no package in the"
        " SBOMs has the type debb; they have npm, deb\n",
    )


@pytest.mark.parametrize("name", ["", " ", "lib[ab", "open ssl"])
def test_what_is_no_name_of_a_package_is_refused(
    name: str, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty variable of a shell script would find nothing."""
    report, sboms = files
    assert run(["packages", report, name, "--sbom", sboms]) == 2
    assert capsys.readouterr() == (
        "",
        f'auditor: "{name}" is no name or pattern of a package; leave it out to find'
        " all\n",
    )
