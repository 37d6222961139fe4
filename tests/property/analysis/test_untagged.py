"""The view `untagged` against a slow search from every record that is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from auditor.analysis.reports import open_reports
from auditor.errors import FailureKind
from auditor.model import (
    Attachment,
    AttachmentKind,
    ContentKind,
    FailureRecord,
    ImageRecord,
    Record,
)
from tests.examples import examples
from tests.manifests import digest
from tests.records import failure, image, platform
from tests.reports import write_report

DIGITS = "123456"
REPOSITORIES = ("team/a", "team/b")


def record(
    repository: str,
    digit: str,
    *,
    tag: str | None,
    children: Sequence[str],
    attached: Sequence[str],
    content: ContentKind,
    left_out: int,
) -> ImageRecord:
    name = f"r.example.com/{repository}"
    return image(
        reference=f"{name}:{tag}" if tag else f"{name}@{digest(digit)}",
        repository=repository,
        tag=tag,
        digest=digest(digit),
        untagged=tag is None,
        content=content,
        platforms=tuple(map(platform, children or [digit])),
        platforms_left_out=left_out,
        attachments=tuple(
            Attachment(
                kind=AttachmentKind.SBOM,
                artifact_type=None,
                digest=digest(one),
                subject=digest(digit),
                predicates=None,
            )
            for one in attached
        ),
    )


@st.composite
def reports(draw: st.DrawFn) -> list[Record]:
    """Records of two repositories; what a manifest needs has a smaller digit."""
    found: list[Record] = []
    for repository in REPOSITORIES:
        for number, digit in enumerate(DIGITS):
            if not draw(st.booleans()):
                continue
            before = st.lists(st.sampled_from(DIGITS[: number or 1]), max_size=2)
            found.append(
                record(
                    repository,
                    digit,
                    tag=draw(st.sampled_from([None, None, f"tag-{digit}"])),
                    children=draw(before) if number else [],
                    attached=draw(before) if number else [],
                    content=draw(
                        st.sampled_from([ContentKind.IMAGE, ContentKind.ATTACHMENT])
                    ),
                    left_out=draw(st.sampled_from([0] * 9 + [1])),
                )
            )
    for place in draw(st.lists(st.sampled_from([*REPOSITORIES, "team/*"]), max_size=1)):
        kind = draw(st.sampled_from([FailureKind.DENIED, FailureKind.VANISHED]))
        found.append(failure(repository=place, failure=kind))
    return draw(st.permutations(found))


def expected(found: Sequence[Record]) -> dict[str, bool | None]:
    """Whether each untagged manifest is unused, by a search without SQL."""
    answers: dict[str, bool | None] = {}
    for repository in REPOSITORIES:
        here = [
            one
            for one in found
            if isinstance(one, ImageRecord) and one.repository == repository
        ]
        parts = {one.digest: parts_of(one) for one in here if one.untagged}
        needed = {one.digest for one in here if not one.untagged}
        needed |= {part for one in here if not one.untagged for part in parts_of(one)}
        while more := {
            part for one in needed for part in parts.get(one, ()) if part not in needed
        }:
            needed |= more
        has_gap = any(one.platforms_left_out for one in here) or any(
            isinstance(one, FailureRecord)
            and one.failure is not FailureKind.VANISHED
            and one.repository in {repository, "team/*"}
            for one in found
        )
        attached_or_child = {part for one in here for part in parts_of(one)}
        for one in here:
            if not one.untagged:
                continue
            children = {p.digest for p in one.platforms} - {one.digest}
            is_lost = (
                one.content is ContentKind.ATTACHMENT
                and one.digest not in attached_or_child
            )
            may_be_nested = bool(children) and children <= {
                part.digest
                for other in here
                if not other.untagged or other.digest in needed
                for part in other.platforms
                if part.digest != other.digest
            }
            if one.digest in needed:
                answers[one.reference] = False
            elif has_gap or may_be_nested or is_lost:
                answers[one.reference] = None
            else:
                answers[one.reference] = True
    return answers


def parts_of(one: ImageRecord) -> set[str]:
    attached = {attachment.digest for attachment in one.attachments}
    return attached | {part.digest for part in one.platforms} - {one.digest}


@examples(100)
@given(reports())
def test_a_manifest_is_unused_only_if_no_tag_leads_to_it(found: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = write_report(Path(folder) / "r.jsonl", [*found, image()])
        with open_reports([report], views=("untagged",)) as connection:
            rows = connection.execute("SELECT reference, unused FROM untagged")
            assert dict(rows.fetchall()) == expected(found)
