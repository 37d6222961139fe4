"""When the support of images ends, and by what it is known."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from auditor.analysis.end_of_life import create_end_of_life
from auditor.analysis.report_views import open_reports
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ContentKind,
    ImageRecord,
    PlatformRecord,
    Record,
)
from tests.manifests import digest
from tests.policies import findings_of, violations_of
from tests.records import failure, image, layer, platform
from tests.reports import write_report

ENDS = date(2026, 8, 31)
DEBIAN = {"*/debian:11*": ENDS}
LIFECYCLE = "application/vnd.microsoft.artifact.lifecycle"
KEY = "vnd.microsoft.artifact.lifecycle.end-of-life.date"
OS = (layer("1"), layer("2"))
RULE = "[rules.a]\nforbid_end_of_life = {grace}\n[end_of_life]\n{table}\n"


def lifecycle(
    text: str | None = "2026-08-31",
    *,
    kind: str = LIFECYCLE,
    subject: str | None = None,
) -> Attachment:
    return Attachment(
        kind=AttachmentKind.ARTIFACT,
        artifact_type=kind,
        digest=digest("9"),
        subject=subject or digest("e"),
        predicates=(),
        annotations={} if text is None else {KEY: text},
    )


def one(
    name: str,
    digit: str,
    *layers: Any,
    base: str | None = None,
    base_digest: str | None = None,
    **more: Any,
) -> ImageRecord:
    named = BaseImage(name=base, digest=base_digest) if base or base_digest else None
    fields: dict[str, Any] = {
        "reference": f"r.example.com/{name}",
        "repository": name.partition(":")[0],
        "tag": name.partition(":")[2],
        "digest": digest(digit),
        "platforms": (platform(digit, layers=layers, base=named),),
    }
    return image(**(fields | more))


def ends(
    tmp_path: Path, *records: Record, table: dict[str, date] | None = None
) -> dict[str, tuple[date | None, str | None, bool]]:
    """The date, its source and whether it is known, by repository and tag."""
    report = write_report(tmp_path / "report.jsonl", list(records))
    with open_reports([report], views=()) as connection:
        create_end_of_life(connection, table or {}, lines="lines")
        rows = connection.execute(
            "SELECT reference, ends, source, is_known FROM end_of_life"
        ).fetchall()
    return {row[0].removeprefix("r.example.com/"): tuple(row[1:]) for row in rows}


APP = layer("3")
WITHOUT = (None, None, False)


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        (lifecycle(), ENDS),
        (lifecycle("2026-08-31T10:00:00.0000000Z"), ENDS),
        (lifecycle(subject=digest("a")), ENDS),
        (lifecycle("soon"), None),
        (lifecycle("2026-02-31"), None),
        (lifecycle(None), None),
        (lifecycle(kind="application/vnd.example"), None),
    ],
)
def test_an_attached_artifact_has_the_date(
    tmp_path: Path, attachment: Attachment, expected: date | None
) -> None:
    record = one("team/app:1", "a", APP, attachments=(attachment,))
    source = "its lifecycle artifact" if expected else None
    assert ends(tmp_path, record) == {"team/app:1": (expected, source, bool(expected))}


def test_the_earliest_of_several_dates_counts(tmp_path: Path) -> None:
    both = (lifecycle("2027-01-31"), lifecycle("2026-08-31", subject=digest("a")))
    record = one("team/app:1", "a", APP, attachments=both)
    table = {"team/app:*": date(2026, 8, 1), "*": date(2028, 1, 1)}
    (found,) = ends(tmp_path, record, table=table).values()
    assert found == (date(2026, 8, 1), "the table, team/app:*", True)


@pytest.mark.parametrize(
    ("base", "is_found"),
    [
        ("debian:11", True),
        ("debian:11.9-slim", True),
        ("docker.io/library/debian:11", True),
        ("mirror.example.com/debian:11", True),
        ("debian:12", False),
        ("notdebian:11", False),
    ],
)
def test_the_table_is_for_named_bases(
    tmp_path: Path, base: str, is_found: bool
) -> None:
    record = one("team/app:1", "a", APP, base=base)
    (found,) = ends(tmp_path, record, table=DEBIAN).values()
    assert found[0] == (ENDS if is_found else None)
    assert found[2]  # its base is known, and has no date
    if is_found:
        assert found[1] == f"the table, */debian:11*, for its base {base}"


def test_the_layers_of_an_image_begin_with_those_of_its_base(tmp_path: Path) -> None:
    records: list[Record] = [
        one("base/debian:11", "a", *OS),
        one("base/debian:12", "b", layer("5"), layer("6")),
        one("team/app:1", "c", *OS, APP),
        one("team/web:1", "d", layer("5"), layer("6"), APP),
        one("team/db:1", "f", layer("1"), APP),
        failure(),
    ]
    assert ends(tmp_path, *records, table=DEBIAN) == {
        "base/debian:11": (ENDS, "the table, */debian:11*", True),
        "base/debian:12": WITHOUT,
        "team/app:1": (
            ENDS,
            "its probable base r.example.com/base/debian:11, the table, */debian:11*",
            True,
        ),
        "team/web:1": (None, None, True),
        "team/db:1": WITHOUT,
    }


@pytest.mark.parametrize(
    "name", [{"base": "r.example.com/base/os:1"}, {"base_digest": digest("a")}]
)
def test_a_named_base_in_the_report_has_the_date(
    tmp_path: Path, name: dict[str, str]
) -> None:
    os = one("base/os:1", "a", *OS, attachments=(lifecycle(subject=digest("a")),))
    found = ends(tmp_path, os, one("team/app:1", "b", APP, **name))
    source = "its base r.example.com/base/os:1, its lifecycle artifact"
    assert found["team/app:1"] == (ENDS, source, True)


def test_a_copy_of_an_image_has_its_date(tmp_path: Path) -> None:
    found = ends(
        tmp_path,
        one("base/debian:11", "a", *OS),
        one("copies/os:1", "a", *OS),
        table=DEBIAN,
    )
    assert found["copies/os:1"][0] == ENDS


def test_it_is_unknown_if_a_platform_has_no_base(tmp_path: Path) -> None:
    def parts(*bases: BaseImage | None) -> tuple[PlatformRecord, ...]:
        return tuple(
            platform(f"{number}", base=base, layers=(layer(f"{number}"),))
            for number, base in enumerate(bases, 1)
        )

    named = BaseImage(name="alpine:3", digest=None)
    both = one("team/both:1", "a", platforms=parts(named, named))
    half = one("team/half:1", "b", platforms=parts(named, None))
    none = one("team/none:1", "c", platforms=())
    # The table has patterns of names, and the report has no image of this digest.
    unseen = BaseImage(name=None, digest=digest("9"))
    digit = one("team/digest:1", "e", platforms=parts(unseen))
    chart = one("team/chart:1", "d", content=ContentKind.ARTIFACT)
    assert ends(tmp_path, both, half, none, digit, chart) == {
        "team/both:1": (None, None, True),
        "team/half:1": WITHOUT,
        "team/none:1": WITHOUT,
        "team/digest:1": WITHOUT,
    }


# The reports are of 2026-11-24.
@pytest.mark.parametrize(
    ("grace", "day", "is_broken"),
    [
        ("true", "2026-11-23", True),
        ("true", "2026-11-24", False),
        ('"30 days"', "2026-10-24", True),
        ('"30 days"', "2026-10-25", False),
        ('"12h"', "2026-11-22", True),
        ('"12h"', "2026-11-23", False),
    ],
)
def test_the_rule_has_a_grace_period(
    tmp_path: Path, grace: str, day: str, is_broken: bool
) -> None:
    text = RULE.format(grace=grace, table=f'"team/*" = {day}')
    found = violations_of(tmp_path, text, [one("team/app:1", "a", APP)])
    assert [one.detail for one in found] == (
        [f"reached its end of life on {day}, by the table, team/*"] if is_broken else []
    )


def test_the_rule_says_what_it_cannot_know(tmp_path: Path) -> None:
    text = RULE.format(grace="true", table="")
    chart = one("team/chart:1", "d", content=ContentKind.ARTIFACT)
    (found,) = violations_of(tmp_path, text, [one("team/app:1", "a", APP), chart])
    assert not found.known
    ignoring = text.replace("[end_of_life]", 'unknown = "ignore"\n[end_of_life]')
    records = [one("team/app:1", "a", APP), chart]
    with findings_of(tmp_path, ignoring, records) as findings:
        (notice,) = findings.notices()
    assert notice.startswith("a.forbid_end_of_life: unknown for 1 of 2 references,")
    assert found.detail.startswith("not in the report: the end of its support (")


def test_patterns_that_match_nothing_are_named(tmp_path: Path) -> None:
    table = "".join(
        f'"{pattern}" = 2026-01-01\n'
        for pattern in ("*/debain:11*", "*/debian:11*", "team/app:*", "r.*/app:9")
    )
    text = RULE.format(grace="true", table=table)
    records = [one("team/app:1", "a", APP, base="debian:11-slim")]
    with findings_of(tmp_path, text, records) as findings:
        assert findings.notices() == [
            "end_of_life: */debain:11* matches no image of the report, and no base"
            " that one names",
            "end_of_life: r.*/app:9 matches no image of the report, and no base that"
            " one names",
        ]


def test_reports_of_earlier_versions_have_no_annotations(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    record = one("team/app:1", "a", APP, attachments=(lifecycle(),))
    text = Path(write_report(path, [record])).read_text("utf-8")
    text = text.replace(f'"annotations":{{"{KEY}":"2026-08-31"}},', "")
    text = text.replace('"annotations_left_out":0', '"other":0')
    assert KEY not in text
    path.write_text(text, "utf-8")
    with open_reports([str(path)], views=("images",)) as connection:
        create_end_of_life(connection, {}, lines="lines")
        query = "SELECT end_of_life FROM images"
        assert connection.execute(query).fetchall() == [(None,)]


def test_the_query_has_the_date(tmp_path: Path) -> None:
    record = one("team/app:1", "a", APP, attachments=(lifecycle(),))
    report = write_report(tmp_path / "report.jsonl", [record])
    with open_reports([report], views=("images",)) as connection:
        query = "SELECT end_of_life FROM images"
        assert connection.execute(query).fetchall() == [(ENDS,)]
