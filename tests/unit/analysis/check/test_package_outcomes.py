"""The rule `forbidden_packages`: what SBOMs say, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from auditor.analysis.check.evaluate import check_reports
from auditor.analysis.check.findings import Violation
from auditor.analysis.check.package_outcomes import MAX_FOUND
from auditor.errors import FailureKind, UsageError
from auditor.model import ContentKind, ImageRecord
from auditor.report.sbom_file import SbomRecord
from tests.policies import policy
from tests.records import failure, image
from tests.reports import write_report
from tests.unit.analysis.test_packages import (
    LIBSSL,
    ODD,
    RPM,
    SCOPED,
    attached,
    one,
    package,
    sbom,
    write_sboms,
)

OLD = '[rules.a]\nforbidden_packages = [{ name = "openssl", version = "<3.0.8" }]\n'
# An image whose platforms both have an SBOM, and one with an SBOM of the whole.
BOTH = one("1", "1", attached("e1", "1a"), attached("e2", "1b"))
WHOLE = one("2", "2", attached("e3", "2"))


def check(
    folder: Path,
    text: str,
    records: Sequence[ImageRecord],
    *sboms: SbomRecord,
    files: Sequence[str] | None = None,
) -> tuple[list[Violation], list[str]]:
    """The violations, and the notices."""
    report = write_report(folder / "report.jsonl", records)
    if files is None:
        files = [write_sboms(folder / "sboms.jsonl", sboms)]
    with check_reports(
        [report], policy(text), today=date(2026, 11, 24), sboms=files
    ) as findings:
        return list(findings.violations()), findings.notices()


def found(
    folder: Path, text: str, records: Sequence[ImageRecord], *sboms: SbomRecord
) -> list[tuple[str | None, bool, tuple[str, ...]]]:
    violations, _ = check(folder, text, records, *sboms)
    return [(each.tag, each.known, each.found) for each in violations]


def test_a_violation_names_packages_and_platforms(tmp_path: Path) -> None:
    documents = [sbom("e1", LIBSSL, SCOPED), sbom("e2", RPM), sbom("e3", SCOPED)]
    assert found(tmp_path, OLD, [BOTH, WHOLE], *documents) == [
        (
            "1",
            True,
            (
                "libssl3 3.0.7-1 (of openssl; linux/amd64)",
                "openssl 1:3.0.7-27.el9 (linux/arm64)",
            ),
        )
    ]


def test_an_sbom_that_is_not_in_the_file_leaves_packages_unknown(
    tmp_path: Path,
) -> None:
    """As with the file of an earlier night: another SBOM does not answer for it."""
    two = one("2", "2", attached("e3", "2"), attached("e4", "2"))
    assert found(tmp_path, OLD, [two], sbom("e3", SCOPED)) == [
        ("2", False, ("the packages of some of its platforms",))
    ]


def test_platforms_with_the_same_package_are_named_together(tmp_path: Path) -> None:
    documents = [sbom("e1", LIBSSL), sbom("e2", LIBSSL), sbom("e3", RPM)]
    assert found(tmp_path, OLD, [BOTH, WHOLE], *documents) == [
        ("1", True, ("libssl3 3.0.7-1 (of openssl; linux/amd64, linux/arm64)",)),
        ("2", True, ("openssl 1:3.0.7-27.el9",)),
    ]


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ('"@angular/core"', ["@angular/core 15.0.0"]),
        ('"core", "OpenSSL"', ["@angular/core 15.0.0", "openssl 1:3.0.7-27.el9"]),
        ('{ name = "openssl", type = "rpm" }', ["openssl 1:3.0.7-27.el9"]),
        ('{ name = "openssl", type = "deb" }', []),
        ('{ name = "openssl", version = ">=3.1" }', []),
        # Two ranges of one package: each is enough.
        (
            '{ name = "openssl", version = "<1" },'
            ' { name = "openssl", version = ">3" }',
            ["openssl 1:3.0.7-27.el9"],
        ),
        ('"pkg:npm/openssl"', []),
        ('"no-such-package"', []),
    ],
)
def test_conditions(tmp_path: Path, packages: str, expected: list[str]) -> None:
    text = f"[rules.a]\nforbidden_packages = [{packages}]\n"
    names = [
        name
        for _, _, names in found(tmp_path, text, [WHOLE], sbom("e3", RPM, SCOPED))
        for name in names
    ]
    assert names == expected


def test_tables_are_the_same_as_inline_tables(tmp_path: Path) -> None:
    text = (
        "[rules.a]\n[[rules.a.forbidden_packages]]\n"
        'name = "openssl"\nversion = "<3.0.8"\n'
    )
    assert found(tmp_path, text, [WHOLE], sbom("e3", RPM)) == [
        ("2", True, ("openssl 1:3.0.7-27.el9",))
    ]


UNSEARCHED = one("4", "4", has_sbom=None)
BARE = one("3", "3", has_sbom=False)
BROKEN = sbom("e3", failure=FailureKind.TOO_LARGE, detail="too large")


@pytest.mark.parametrize(
    ("record", "documents", "expected"),
    [
        (BARE, [], "because it has no SBOM"),
        (UNSEARCHED, [], "because it was not searched for SBOMs"),
        (WHOLE, [], "because its SBOMs are not in the file"),
        (WHOLE, [BROKEN], "because its SBOMs could not be read"),
        (WHOLE, [sbom("e3", RPM, subjects=("sha256:" + "9" * 64,))],
         "because its SBOMs are about others"),
        (BOTH, [sbom("e1", SCOPED)], "the packages of some of its platforms"),
        (WHOLE, [sbom("e3", SCOPED, packages_left_out=7)],
         "7 more packages of its SBOMs"),
        (WHOLE, [sbom("e3", ODD)], "whether openssl latest is <3.0.8"),
    ],
)  # fmt: skip
def test_what_sboms_do_not_say_is_unknown(
    tmp_path: Path, record: ImageRecord, documents: list[SbomRecord], expected: str
) -> None:
    (violation,), notices = check(tmp_path, OLD, [record], *documents)
    assert not violation.known
    assert expected in violation.detail
    (notice,) = notices
    assert notice.startswith("a.forbidden_packages: unknown for 1 of 1 reference")


def test_what_is_known_counts_more_than_what_is_not(tmp_path: Path) -> None:
    (violation,), notices = check(tmp_path, OLD, [BOTH], sbom("e1", LIBSSL))
    assert (violation.known, notices) == (True, [])


def test_unknown_images_can_be_ignored_and_are_counted(tmp_path: Path) -> None:
    text = OLD + 'unknown = "ignore"\nseverity = "warning"\n'
    violations, notices = check(tmp_path, text, [BARE, WHOLE], sbom("e3", RPM))
    assert [each.tag for each in violations] == ["2"]
    (notice,) = notices
    assert "unknown for 1 of 2 references, ignored; attach an SBOM" in notice


def test_each_rule_has_its_own_packages(tmp_path: Path) -> None:
    text = OLD + '[rules.b]\nforbidden_packages = ["core"]\nrepositories = ["app"]\n'
    violations, _ = check(tmp_path, text, [WHOLE], sbom("e3", RPM, SCOPED))
    assert [(each.rule.id, len(each.found)) for each in violations] == [
        ("a.forbidden_packages", 1),
        ("b.forbidden_packages", 1),
    ]


def test_only_images_need_an_sbom(tmp_path: Path) -> None:
    chart = image(content=ContentKind.ARTIFACT, artifact_type="application/x")
    records = [chart, failure()]
    violations, _ = check(tmp_path, OLD, records)  # type: ignore[arg-type]
    assert violations == []


def test_a_violation_names_a_limited_number_of_packages(tmp_path: Path) -> None:
    many = [package(f"p{n:04}", "1") for n in range(MAX_FOUND + 3)]
    text = "[rules.a]\nforbidden_packages = ['p*']\n"
    ((_, _, names),) = found(tmp_path, text, [WHOLE], sbom("e3", *many))
    assert len(names) == MAX_FOUND + 1
    assert (names[0], names[-1]) == ("p0000 1", "3 more packages")


def test_without_a_file_every_sbom_is_unknown(tmp_path: Path) -> None:
    (violation,), _ = check(tmp_path, OLD, [WHOLE], files=[])
    assert "its SBOMs are not in the file" in violation.detail


def test_the_rule_needs_the_sbom_file(tmp_path: Path) -> None:
    report = write_report(tmp_path / "report.jsonl", [WHOLE])
    expected = r"^policy.toml:2: a.forbidden_packages needs .* --sbom FILE$"
    with (
        pytest.raises(UsageError, match=expected),
        check_reports([report], policy(OLD), today=date(2026, 11, 24)),
    ):
        pass


def test_a_type_that_no_package_has_is_reported(tmp_path: Path) -> None:
    for condition in ('{ name = "openssl", type = "apk" }', '"pkg:apk/openssl"'):
        text = f"[rules.a]\nforbidden_packages = [{condition}]\n"
        violations, notices = check(tmp_path, text, [WHOLE], sbom("e3", RPM, SCOPED))
        assert violations == []
        assert notices == [
            "a.forbidden_packages: no package in the SBOMs has the type apk; they have"
            " npm, rpm"
        ]


def test_a_type_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    text = '[rules.a]\nforbidden_packages = [{ name = "openssl", type = "debian" }]\n'
    with pytest.raises(UsageError) as caught:
        check(tmp_path, text, [WHOLE], sbom("e3", RPM))
    assert str(caught.value) == (
        "policy.toml:2: a.forbidden_packages: type debian: unknown type of packages;"
        " did you mean deb?; no package in the SBOMs has the type debian; they have rpm"
    )
    # A type of the builder's own is one if a package has it.
    own = package("openssl", "1", type="debian")
    assert len(found(tmp_path, text, [WHOLE], sbom("e3", own))) == 1
