"""Which images have a package, by reports and the file of their SBOMs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from auditor.analysis.package_uses import PackageCondition
from auditor.analysis.package_versions import VersionRange
from auditor.analysis.packages import PackageTotals, PackageUse, search_packages
from auditor.analysis.query import run_query
from auditor.errors import FailureKind, UsageError
from auditor.model import Attachment, AttachmentKind, ContentKind, ImageRecord, Record
from auditor.oci.sbom import MAX_SUBJECTS
from auditor.oci.sbom_packages import SbomPackage
from auditor.report.sbom_file import SbomRecord
from tests.manifests import digest
from tests.records import failure, image, platform
from tests.reports import write_report


def package(name: str, version: str | None = None, **more: str | None) -> SbomPackage:
    fields: dict[str, Any] = dict.fromkeys(
        ("type", "purl", "license", "source", "source_version")
    )
    return SbomPackage(name=name, version=version, **fields | more)


def sbom(digit: str, *packages: SbomPackage, **more: Any) -> SbomRecord:
    fields: dict[str, Any] = {
        "attachment": digest(digit), "digest": digest(digit), "media_type": None,
        "size": 1, "format": "spdx", "format_version": "2.3", "subjects": (),
        "packages_left_out": 0, "failure": None, "detail": None, "warnings": (),
    }  # fmt: skip
    return SbomRecord(packages=packages, **fields | more)


def attached(
    digit: str, subject: str | None, kind: AttachmentKind = AttachmentKind.SBOM
) -> Attachment:
    return Attachment(
        kind=kind,
        artifact_type=None,
        digest=digest(digit),
        subject=None if subject is None else digest(subject),
        predicates=None,
    )


def one(
    tag: str, digit: str, *attachments: Attachment, has_sbom: bool | None = True
) -> ImageRecord:
    """An image whose manifests are `digit`, and amd64 and arm64: `digit` + a and b."""
    return image(
        reference=f"r.example.com/app:{tag}",
        repository="app",
        tag=tag,
        digest=digest(digit),
        platforms=(
            platform(f"{digit}a", architecture="amd64"),
            platform(f"{digit}b", architecture="arm64"),
        ),
        attachments=attachments,
        has_sbom=has_sbom,
    )


LIBSSL = package("libssl3", "3.0.7-1", type="deb", source="openssl")
RPM = package("openssl", "1:3.0.7-27.el9", type="rpm")
NPM = package("openssl", "1.0.0-beta", type="npm", purl="pkg:npm/openssl@1.0.0-beta")
ODD = package("openssl", "latest", type="npm")
SCOPED = package("@angular/core", "15.0.0", type="npm")


def write_sboms(path: Path, records: Sequence[SbomRecord]) -> str:
    path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in records))
    return str(path)


class Found:
    """A search in files of these records."""

    def __init__(self, folder: Path, records: Sequence[Record], *sboms: SbomRecord):
        self.report = write_report(folder / "report.jsonl", records)
        self.sboms = write_sboms(folder / "sboms.jsonl", sboms)

    def search(
        self, name: str | None = None, versions: str | None = None, *types: str
    ) -> tuple[list[PackageUse], PackageTotals]:
        wanted = None if versions is None else VersionRange.parse(versions)
        condition = PackageCondition(name=name, types=types, versions=wanted)
        with search_packages([self.report], [self.sboms], condition) as search:
            return list(search.uses()), search.totals

    def names(
        self, name: str | None, versions: str | None = None, *types: str
    ) -> list[str]:
        return [
            f"{use.tag} {use.name} {use.version} {use.platform}"
            for use in self.search(name, versions, *types)[0]
        ]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    return Found(
        tmp_path,
        [
            one("1", "1", attached("e1", "1a"), attached("e2", "1b")),
            one("2", "2", attached("e3", "2")),
        ],
        sbom("e1", LIBSSL, SCOPED),
        sbom("e2", RPM),
        sbom("e3", NPM, ODD),
    )


def test_the_subject_says_which_platform_has_it(found: Found) -> None:
    assert found.names("openssl") == [
        "1 libssl3 3.0.7-1 linux/amd64",
        "1 openssl 1:3.0.7-27.el9 linux/arm64",
        "2 openssl 1.0.0-beta None",
        "2 openssl latest None",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OpenSSL", 4),
        ("libssl*", 1),
        ("core", 1),
        ("@angular/core", 1),
        ("@angular/*", 1),
        ("ssl", 0),
        ("pkg:npm/openssl", 1),
        ("pkg:npm/", 1),
        ("pkg:npm/open", 0),
        ("pkg:npm/openssl@1.0.0-beta", 1),
        ("open'ssl", 0),
        (None, 5),
    ],
)
def test_names(found: Found, name: str | None, expected: int) -> None:
    assert len(found.names(name)) == expected


def test_names_of_python_packages_are_normalised(tmp_path: Path) -> None:
    found = Found(
        tmp_path,
        [one("1", "1", attached("e1", "1"))],
        sbom("e1", package("Foo.Bar_baz", "1", type="pypi"), package("foo_bar", "1")),
    )
    assert found.names("foo-bar-baz") == found.names("FOO_bar.baz") != []
    assert found.names("foo-bar") == []


def test_types(found: Found) -> None:
    assert len(found.names("openssl", None, "npm", "RPM")) == 3
    assert found.names("openssl", None, "unknown") == []


def test_versions_are_compared_by_the_rules_of_the_type(found: Found) -> None:
    uses, totals = found.search("openssl", "<3.0.8,>=2")
    assert [(use.name, use.in_range) for use in uses] == [
        ("libssl3", True),
        ("openssl", True),
        ("openssl", None),  # "latest" has no order: it is listed, and counted
    ]
    assert (totals.packages, totals.images, totals.not_compared) == (3, 2, 1)
    assert found.search("openssl", "<3.0.7")[1].packages == 2
    assert found.search("libssl3", ">3.0.7")[1].packages == 0


def test_a_package_of_a_source_package_is_compared_by_the_version_of_that(
    tmp_path: Path,
) -> None:
    found = Found(
        tmp_path,
        [one("1", "1", attached("e1", "1"))],
        sbom(
            "e1", package("libx", "9-1", type="deb", source="x", source_version="1-1")
        ),
    )
    assert len(found.names("x", "<2")) == 1
    assert found.names("libx", "<2") == []


def test_what_could_not_be_looked_into_is_counted(tmp_path: Path) -> None:
    unknown = attached("e9", "9a", AttachmentKind.ATTESTATION)
    records: list[Record] = [
        one("all", "1", attached("e1", "1a"), attached("e2", "1b")),
        one("index", "2", attached("e3", "2")),
        one("no-subject", "3", attached("e3", None)),
        one("partly", "4", attached("e1", "4a"), attached("e4", "4b")),
        one("unreadable", "5", attached("e4", "5")),
        one("not-in-file", "6", attached("e5", "6")),
        one("none", "7", has_sbom=False),
        one("unknown", "8", has_sbom=None),
        one("provenance", "9", unknown, has_sbom=False),
        replace(one("chart", "a", has_sbom=False), content=ContentKind.ARTIFACT),
        one("copied", "b", attached("e6", "b"), attached("e7", "b")),
        failure(),
    ]
    found = Found(
        tmp_path,
        records,
        sbom("e1", LIBSSL),
        sbom("e2", LIBSSL, packages_left_out=3),
        sbom("e3"),
        sbom("e4", failure=FailureKind.PROTOCOL_VIOLATION, format=None),
        sbom("e6", LIBSSL, subjects=(digest("c"),), packages_left_out=3),
        sbom("e7", LIBSSL, subjects=(digest("d"),)),
        sbom("e8", packages_left_out=3),  # of another report
    )
    assert found.search()[1] == PackageTotals(
        packages=3, images=2, searched=3, partly=1, unreadable=1,
        only_of_others=1, not_in_file=1, without_sbom=2, unknown=1, failures=1,
        cut_short=1, of_others=2, not_compared=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        ([], ["None"]),
        (["1"], ["None"]),
        (["c", "1"], ["None"]),
        (["1b"], ["linux/arm64"]),
        (["1a", "1b", "c"], ["linux/amd64", "linux/arm64"]),
        (["c"], []),
    ],
)
def test_what_the_statement_of_an_sbom_names_counts(
    tmp_path: Path, subjects: list[str], expected: list[str]
) -> None:
    named = tuple(map(digest, subjects))
    found = Found(
        tmp_path, [one("1", "1", attached("e1", "1"))], sbom("e1", RPM, subjects=named)
    )
    uses, totals = found.search("openssl")
    assert [str(use.platform) for use in uses] == expected
    assert totals.of_others == (not expected)
    select = "SELECT platform FROM packages ORDER BY platform"
    with run_query([found.report], select, sboms=[found.sboms]) as result:
        assert [str(platform) for (platform,) in result.rows()] == expected
    select = "SELECT about_image FROM sboms"
    with run_query([found.report], select, sboms=[found.sboms]) as result:
        assert list(result.rows()) == [(str(bool(expected)).lower(),)]


@pytest.mark.parametrize(
    "subjects",
    [
        ("sha512:" + "0" * 128,),  # cannot be compared
        tuple(digest(f"f{number:02}") for number in range(MAX_SUBJECTS)),  # cut
    ],
)
def test_without_a_usable_subject_what_an_sbom_is_attached_to_counts(
    tmp_path: Path, subjects: tuple[str, ...]
) -> None:
    found = Found(
        tmp_path,
        [one("1", "1", attached("e1", "1a"))],
        sbom("e1", RPM, subjects=subjects),
    )
    assert found.names("openssl") == ["1 openssl 1:3.0.7-27.el9 linux/amd64"]


def test_the_last_line_of_a_reference_counts(tmp_path: Path) -> None:
    first = one("1", "1", attached("e1", "1"))
    later = replace(
        one("1", "2", attached("e2", "2")), audited_at="2026-12-31T00:00:00Z"
    )
    found = Found(tmp_path, [first, later], sbom("e1", LIBSSL), sbom("e2", RPM))
    assert found.names("openssl") == ["1 openssl 1:3.0.7-27.el9 None"]


def test_the_same_package_in_two_sboms_of_a_platform_is_one_use(tmp_path: Path) -> None:
    found = Found(
        tmp_path,
        [one("1", "1", attached("e1", "1a"), attached("e2", "1a"))],
        sbom("e1", LIBSSL),
        sbom("e2", LIBSSL),
        sbom("e2", LIBSSL, digest=digest("f")),
    )
    assert found.search("libssl3")[1].packages == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            '{"schema":1,"kind":"summary"}',
            "not a file of auditor audit --sbom: a line of",
        ),
        ('{"schema":1,"kind":"image"}', "not an SBOM file but a report"),
        ('{"schema":2,"kind":"sbom"}', "of schema 2, written by a newer auditor"),
        ('{"a', "line 1"),
        ("{", "not an SBOM file but a JSON document of several lines"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    found = Found(tmp_path, [one("1", "1")])
    Path(found.sboms).write_text(line + "\n")
    with pytest.raises(UsageError, match=reason):
        found.search()


def test_queries_have_the_tables_sboms_and_packages(found: Found) -> None:
    select = "SELECT tag, platform, name FROM packages WHERE type = 'rpm'"
    with run_query([found.report], select, sboms=[found.sboms]) as result:
        assert list(result.rows()) == [("1", "linux/arm64", "openssl")]
    select = "SELECT tag, platform, format, package_count FROM sboms ORDER BY ALL"
    with run_query([found.report], select, sboms=[found.sboms]) as result:
        assert list(result.rows()) == [
            ("1", "linux/amd64", "spdx", "2"),
            ("1", "linux/arm64", "spdx", "1"),
            ("2", None, "spdx", "2"),
        ]
    with (
        pytest.raises(UsageError, match="no table packages without --sbom"),
        run_query([found.report], "FROM packages"),
    ):
        pass
